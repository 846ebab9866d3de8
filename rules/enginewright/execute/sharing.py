"""What a build has of a cache that it shares with other machines: results by their actions, and the bytes they refer to.

An action is named there as the Remote Execution API names it, so what a remote executor's worker made and what a build put there are
the same entries. The file `enginewright.execute.description.RECORD` among the outputs says what the API has no place for: how the outputs
are named in a store, and what the run took.

A result that was found does not mean that its bytes are here: they are fetched when they are needed. Until then the store has but the
listings of its trees, and ``claims`` what the cache said of its files; only bytes that were read here come into ``known``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import xxhash

from enginewright.errors import WorkspaceError, in_words
from enginewright.execute.description import DESCRIPTION, RECORD, Record, Stored, describe, read_record, stored_outputs, write_record
from enginewright.execute.spawn import Input, Spawn
from enginewright.graph.action import Action, Artifact
from enginewright.graph.label import Label
from enginewright.remote.cache import SharedCache
from enginewright.remote.digest import Digest
from enginewright.remote.messages import (
    File,
    RemoteAction,
    RemoteResult,
    merkle_tree,
    read_result,
    remote_action,
    tree_message,
    write_result,
)
from enginewright.store.content import ContentStore
from enginewright.store.digest import Entry, encode_tree, file_digest, tree_files
from enginewright.store.lock import shared
from enginewright.store.results import Output, Result
from enginewright.store.strong import StrongDigests

LOOKUPS = 16
"""Targets that are judged at a time, as each waits for answers most of the time."""

_UPLOADS = 4

GPU_PROPERTY = "gpu-arch"
PROPERTY = "platform."
"""What the names of execution requirements begin with that are platform properties of a remote executor's."""


def platform_properties(requires: Mapping[str, str], properties: Mapping[str, str]) -> dict[str, str]:
    """The platform properties of an action with these execution requirements; ``properties`` are those of all actions."""
    own = {name.removeprefix(PROPERTY): value for name, value in requires.items() if name.startswith(PROPERTY)}
    gpu = {GPU_PROPERTY: requires["gpu"]} if "gpu" in requires else {}
    return {**properties, **gpu, **own}


class Sharing:
    """A shared cache, for one build. All methods may be called from any thread, and raise WorkspaceError if the cache is required.

    ``properties`` and ``timeout`` (seconds) are part of every action there, as of those that are executed remotely. Once it is closed,
    ``unwritten`` has the results that were not written, and why.
    """

    def __init__(
        self,
        cache: SharedCache,
        store: ContentStore,
        claims: Path,
        properties: Mapping[str, str],
        timeout: float | None = None,
    ) -> None:
        self.cache = cache
        self._store = store
        self._known = StrongDigests(store.root / "strong")
        self._claims = StrongDigests(claims)
        self._properties = properties
        self._timeout = timeout
        self._names: dict[str, Digest] = {}
        self._answers: dict[str, Result | None] = {}
        self._fetching: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(_UPLOADS, thread_name_prefix="upload")
        self._uploads: list[tuple[Label, Future[str]]] = []
        self.unwritten: list[tuple[Label, str]] = []

    @property
    def readable(self) -> bool:
        """Whether bytes can be had of it."""
        return self.cache.reads and not self.cache.lost

    @property
    def writable(self) -> bool:
        """Whether it takes results."""
        return self.cache.writes and not self.cache.lost

    def action(self, spawn: Spawn, offering: bool = False) -> RemoteAction:
        """An action as other machines know it; to run it once with what is offered to it, ``offering``, it has another name.

        Raises ValueError when an input has other bytes by now, or a name that is not UTF-8; OSError.
        """
        action = spawn.action
        offered = spawn.offered if offering else {}
        return remote_action(
            contents={DESCRIPTION: describe(spawn.label, action, spawn.material, offered)},
            inputs={path: file for path, file, _ in self._files(spawn.whole if offering else spawn)},
            input_folders=[each.path for each in action.inputs.values() if each.tree],
            outputs=[*(each.path for each in action.outputs.values() if not each.tree), RECORD],
            output_folders=[each.path for each in action.outputs.values() if each.tree],
            properties=platform_properties(action.requires, self._properties),
            timeout=self._timeout,
        )

    def sources(self, spawn: Spawn, offering: bool = False) -> dict[Digest, Path]:
        """Where the bytes of an action's inputs lie on this machine. Raises as `action` does."""
        return {file.digest: location for _, file, location in self._files(spawn.whole if offering else spawn)}

    def _files(self, spawn: Spawn) -> Iterator[tuple[str, File, Path]]:
        """The files of an action's inputs: the path in the workspace, what they are beyond this machine, and where they lie."""
        for name, artifact in spawn.action.inputs.items():
            location, digest = spawn.inputs[name].location, spawn.inputs[name].digest
            if not artifact.tree:
                yield artifact.path, File(self._strong(digest, location)), location
                continue
            for entry in self._entries(spawn.inputs[name]):
                strong = self._strong(entry.digest, location / entry.path)
                yield f"{artifact.path}/{entry.path}", File(strong, entry.executable), location / entry.path

    def _name(self, spawn: Spawn) -> Digest | None:
        """The digest of an action there; None when it cannot have one."""
        if spawn.key not in self._names:
            try:
                self._names[spawn.key] = self.action(spawn).digest
            except (OSError, ValueError):
                return None
        return self._names[spawn.key]

    def look_up(self, spawn: Spawn) -> Result | None:
        """The result that the cache has of an action, if it is one; its bytes need not be here. It is asked once."""
        if spawn.key not in self._answers:
            name = self._name(spawn)
            if name is None or not self.readable:
                return None
            data = self.cache.get_result(name, [RECORD])
            self._answers[spawn.key] = None if data is None else self._read(spawn, data)
            self.cache.found(self._answers[spawn.key] is not None)
        return self._answers[spawn.key]

    def disown(self, key: str) -> None:
        """Take the result of a key for none: its bytes cannot be had."""
        self._answers[key] = None

    def _read(self, spawn: Spawn, data: bytes) -> Result | None:
        try:
            found = read_result(data)
            if found.exit_code:  # some executors keep what failed, too
                return None
            record = self._record(found)
            if record is None:
                return None
            check_result(found, record, spawn.action)
            outputs = self.claimed(spawn.action, record)
        except ValueError as error:
            self.cache.refuse(f"a result of {spawn.label} that cannot be used ({error})")
            return None
        return result_of_record(spawn, record, outputs)

    def _record(self, found: RemoteResult) -> Record | None:
        """The record that belongs to a result. None when the cache has lost it."""
        if RECORD not in found.files:
            raise ValueError("it has no record")
        digest = found.files[RECORD].digest
        data = found.contents.get(RECORD)
        if data is None:
            data = self.cache.get_small(digest)
        elif Digest.of(data) != digest:
            raise ValueError("its record has another digest")
        return None if data is None else read_record(data)

    def claimed(self, action: Action, record: Record) -> dict[str, Output]:
        """The outputs of an action by the record of it that the cache has: their bytes need not be here."""
        return {name: self._claim(artifact, record.outputs[name]) for name, artifact in action.outputs.items()}

    def _claim(self, artifact: Artifact, files: Sequence[Stored]) -> Output:
        """Take note of what the cache said of the files of an output."""
        for each in files:
            if self._known.get(each.digest) is None:
                self._claims.note(each.digest, each.strong, each.size)
        if not artifact.tree:
            return Output(artifact.path, files[0].digest, files[0].size)
        listing = encode_tree([Entry(each.path, each.executable, each.digest) for each in files])
        return Output(artifact.path, self._store.add_bytes(listing), sum(each.size for each in files), tree=True)

    def claim(self, digest: str, strong: str, size: int) -> None:
        """Take somebody's word for the SHA-256 and the size of the bytes with this digest, by which the cache can be asked for them."""
        if self._known.get(digest) is None:
            self._claims.note(digest, strong, size)

    def offers(self, digest: str, tree: bool) -> bool:
        """Whether the cache had all the bytes of an output when it was last asked, so far as they are not in the store."""
        blobs = self._blobs(digest, tree)
        return blobs is not None and all(
            self._store.has(each.digest) or self._claims.get(each.digest) or self._known.get(each.digest) for each in blobs
        )

    def fetch(self, digest: str, tree: bool) -> bool:
        """Get into the store what it lacks of an output's bytes, and say whether all are there."""
        blobs = self._blobs(digest, tree)
        if blobs is None or not self.cache.reads:
            return False
        lacking = [each for each in blobs if not self._store.has(each.digest)]
        if len(lacking) < 2:
            return all(map(self._fetch, lacking))
        with ThreadPoolExecutor(_UPLOADS) as pool:
            return all(pool.map(self._fetch, lacking))

    def _blobs(self, digest: str, tree: bool) -> list[Entry] | None:
        return self._store.tree(digest) if tree else [Entry("", False, digest)]

    def _fetch(self, wanted: Entry) -> bool:
        strong = self._known.get(wanted.digest) or self._claims.get(wanted.digest)
        if strong is None:
            return False
        with self._alone(wanted.digest):
            if self._store.has(wanted.digest):  # another target needed it, too
                return True
            blob = Digest(*strong)
            state = xxhash.xxh3_128()
            file = self._store.scratch / f"{wanted.digest}.{threading.get_ident()}.fetched"

            def update(data: bytes) -> None:
                if data:
                    state.update(data)
                else:
                    state.reset()

            try:
                if not self.cache.get_file(blob, file, update):
                    return False
                if state.hexdigest() != wanted.digest:
                    self.cache.refuse(f"a result whose record misnames {blob}")
                    return False
                self._store.add_file(file, wanted.digest, wanted.executable)
            finally:
                file.unlink(missing_ok=True)
            self._known.note(wanted.digest, *strong)
            return True

    @contextmanager
    def _alone(self, digest: str) -> Iterator[None]:
        with self._lock:
            lock = self._fetching.setdefault(digest, threading.Lock())
        with lock:
            yield

    def offer(self, spawn: Spawn, result: Result) -> None:
        """Have a result and its bytes written to the cache, beside what else goes on."""
        name = self._name(spawn) if self.writable else None
        if name is not None:
            self._uploads.append((spawn.label, self._pool.submit(self._upload, name, result)))

    def rename(self, spawn: Spawn, found: RemoteResult, record: bytes) -> None:
        """Have the result that an executor gave of an action with what was offered to it written as that of the action alone, beside what
        else goes on."""
        name = self._name(spawn)
        if name is not None:
            result = write_result(found.files, found.folders, {RECORD: record})
            self._uploads.append((spawn.label, self._pool.submit(self._put, name, result, {}, {})))

    def _upload(self, action: Digest, result: Result) -> str:
        """Write a result; why it could not be done, or nothing."""
        try:
            with shared(self._store.root):
                outputs = stored_outputs(self._store, self._known, result.outputs)
                gpu = str(result.material["requires"].get("gpu", ""))
                record = write_record(
                    Record(result.started, result.seconds, result.peak_rss, result.host, gpu, result.sandbox, outputs)
                )  # fmt: skip
                small = {Digest.of(record): record}
                files: dict[str, File] = {RECORD: File(Digest.of(record))}
                folders: dict[str, Digest] = {}
                for name, output in result.outputs.items():
                    if output.tree:
                        inside = {each.path: File(Digest(each.strong, each.size), each.executable) for each in outputs[name]}
                        tree = tree_message(inside)
                        # Each folder by itself as well: some servers give a result only while they have all of them.
                        small |= {**merkle_tree(inside)[1], Digest.of(tree): tree}
                        folders[output.path] = Digest.of(tree)
                    else:
                        files[output.path] = File(Digest(outputs[name][0].strong, outputs[name][0].size))
                sources = {Digest(each.strong, each.size): self._store.path(each.digest) for some in outputs.values() for each in some}
                return self._put(action, write_result(files, folders, {RECORD: record}), small, sources)
        except OSError as error:
            return in_words(error)
        except ValueError as error:
            return str(error)

    def _put(self, action: Digest, result: bytes, small: Mapping[Digest, bytes], sources: Mapping[Digest, Path]) -> str:
        try:
            done = self.cache.put(action, result, small, sources)
        except OSError as error:
            return in_words(error)
        except WorkspaceError as error:
            return str(error)
        return "" if done else self.cache.lost or "the cache did not take it"

    @property
    def uploading(self) -> int:
        """How many results have yet to be written."""
        return sum(not future.done() for _, future in self._uploads)

    def close(self) -> None:
        """Let go of the cache; what has not been written by now is not written."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        left = [label for label, future in self._uploads if not future.done() or future.cancelled()]
        self.unwritten = [(label, future.result()) for label, future in self._uploads if future.done() and not future.cancelled()]
        self.unwritten = [(label, reason) for label, reason in self.unwritten if reason] + [(label, "the build ended") for label in left]
        self.cache.close()
        self._store.close()

    def _strong(self, digest: str, file: Path) -> Digest:
        known = self._known.get(digest)
        if known is None and not file.is_file():
            known = self._claims.get(digest)
        return Digest(*(known or self._known.of(digest, file)))

    def _entries(self, tree: Input) -> list[Entry]:
        """The files of an input that is a tree; of one that is not here, as its listing has them."""
        found = self._store.tree(tree.digest)
        if found is not None:
            return found
        return [Entry(name, os.access(path, os.X_OK), file_digest(path)) for name, path in tree_files(tree.location)]


def result_of_record(spawn: Spawn, record: Record, outputs: Mapping[str, Output], executor: str = "") -> Result:
    """The result of an action that ran on another machine, on a worker of ``executor`` if that is given."""
    return Result(
        key=spawn.key, label=str(spawn.label), material=vars(spawn.material), outputs=outputs, started=record.started,
        seconds=record.seconds, peak_rss=record.peak_rss, host=record.host, sandbox=record.sandbox, executor=executor,
    )  # fmt: skip


def check_result(found: RemoteResult, record: Record, action: Action) -> None:
    """Raise ValueError unless a record speaks of the files that its result has, and they are an action's outputs."""
    if found.exit_code:
        raise ValueError(f"it failed with exit code {found.exit_code}")
    if record.outputs.keys() != action.outputs.keys():
        raise ValueError("it has other outputs")
    for name, artifact in action.outputs.items():
        files = record.outputs[name]
        if artifact.tree:
            paths = [each.path for each in files]
            if artifact.path not in found.folders or "" in paths or len(set(paths)) < len(paths):
                raise ValueError(f"it lacks the folder {artifact.path}")
        elif artifact.path not in found.files or [each.path for each in files] != [""]:
            raise ValueError(f"it lacks the file {artifact.path}")
        elif Digest(files[0].strong, files[0].size) != found.files[artifact.path].digest:
            raise ValueError(f"its record speaks of another {artifact.path}")
