"""The remote executor: an action on a worker of a REAPI executor, with its inputs, outputs and log carried there and back.

Beside `enginewright.execute.local`, and called in the same way.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import xxhash

from enginewright.errors import ActionError
from enginewright.execute.description import FAILED, RECORD, REFUSED, Record, Stored, read_record
from enginewright.execute.sharing import Sharing, check_result, platform_properties, result_of_record
from enginewright.execute.spawn import Spawn
from enginewright.graph.action import Action
from enginewright.remote.adapter import SMALL, Adapter
from enginewright.remote.attempts import patiently
from enginewright.remote.digest import Digest
from enginewright.remote.errors import WrongBytesError
from enginewright.remote.execution import LONG, Executed, Execution, GaveUpError, InputsMissingError, NoWorkerError, Printed
from enginewright.remote.messages import RemoteAction, RemoteResult
from enginewright.store.content import ContentStore
from enginewright.store.digest import Entry, encode_tree
from enginewright.store.lock import shared
from enginewright.store.results import Output, Result

_ATTEMPTS = 3

_UPLOADS = 4
"""Actions whose inputs are sent at a time: an executor that many builds come to at once is to be asked little at once."""


class RemoteExecutor:
    """Runs actions on an executor's workers. ``storage`` is what it takes inputs from and puts outputs into.

    Outputs go into ``store``, checked. ``sharing`` says how actions are named beyond this machine, and is the cache that ``storage``
    belongs to if ``shares``. ``properties`` are the platform
    properties of all of them; ``timeout`` is for how many seconds an action may run, ``patience`` for how many it may wait for a
    worker; None leaves both to the executor. ``name`` stands in records. ``tell`` is given what a user should know, a line at a time.
    """

    def __init__(
        self,
        name: str,
        execution: Execution,
        storage: Adapter,
        store: ContentStore,
        sharing: Sharing,
        shares: bool,
        properties: Mapping[str, str],
        timeout: float | None,
        patience: float | None,
        tell: Callable[[str], None],
    ) -> None:
        self.name = name
        self._execution = execution
        self._storage = storage
        self._store = store
        self._sharing = sharing
        self._shares = shares
        self._properties = properties
        self._timeout = timeout
        self._patience = patience
        self._tell = tell
        self._told: set[str] = set()
        self._stopped = threading.Event()
        self._uploading = threading.Semaphore(_UPLOADS)

    @contextmanager
    def run(self, spawn: Spawn, log: Path, stays: bool, bring: Callable[[], None]) -> Iterator[Result]:
        """Run an action and store its outputs, which nobody takes out of the store before the context is left; with ``stays`` they are
        left where they are, and can be had of the shared cache.

        Raises ActionError with the reason when it fails; RemoteError when the executor fails, and the action might be run elsewhere.
        What it prints goes to ``log``. Inputs need not lie on this machine as long as the storage has them; ``bring`` is called when it
        has not, and puts them where they are to lie, or raises ActionError.

        What is offered to the action is sent along if the result, which the executor keeps under another name then, can be written under
        the action's own.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        properties = platform_properties(spawn.action.requires, self._properties)
        offering = bool(spawn.offered) and self._sharing.writable
        try:
            remote = self._sharing.action(spawn, offering)
            sources = self._sharing.sources(spawn, offering)
        except ValueError as error:
            raise ActionError(str(error)) from None

        def show(data: bytes) -> None:
            with open(log, "ab") as printed:
                printed.write(data)

        executed = self._execute(remote, sources, properties, bring, show)
        _complete(log, self._printed(executed.stdout))
        reason = ""
        if executed.late or executed.result.exit_code:
            reason = self._printed(executed.stderr).decode(errors="replace").strip()
        _judge(executed, reason, properties, self._timeout)
        with shared(self._store.root):
            data, record = self._record(spawn.action, executed.result)
            if stays:
                outputs = self._sharing.claimed(spawn.action, record)
            else:
                outputs = {name: self._output(name, spawn.action, record.outputs[name]) for name in spawn.action.outputs}
            if offering and self._shares:
                self._sharing.rename(spawn, executed.result, data)
            yield result_of_record(spawn, record, outputs, self.name)

    def stop(self) -> None:
        """Call off what runs, and start nothing more."""
        self._stopped.set()
        self._execution.stop()

    def close(self) -> None:
        """Close the connections and the store."""
        self._execution.close()
        self._storage.close()
        self._store.close()

    def _execute(
        self,
        action: RemoteAction,
        sources: Mapping[Digest, Path],
        properties: Mapping[str, str],
        bring: Callable[[], None],
        show: Callable[[bytes], None],
    ) -> Executed:
        """Have an action run, with all that it needs in the executor's storage, which may lose some of it again at any time."""
        use_cached = True
        for attempt in range(_ATTEMPTS):
            with self._uploading:
                patiently(lambda: self._upload(action, sources, bring), self._stopped)
            try:
                executed = self._execution.run(action.digest, self._patience, use_cached, show, lambda: self._waits(properties))
            except InputsMissingError:
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
            except NoWorkerError as error:
                raise NoWorkerError(f"{error}; it asks for {_shown(properties)}") from None
            if not executed.cached or executed.result.exit_code == 0:
                return executed
            use_cached = False  # some executors keep what failed, too
        raise GaveUpError(f"{self.name} gives an old failure for the result, however often it is asked to run the action")

    def _waits(self, properties: Mapping[str, str]) -> None:
        """Tell, once of workers with the same properties, what is waited for: there may be none."""
        shown = _shown(properties)
        if shown not in self._told:
            self._told.add(shown)
            self._tell(f"an action that asks {self.name} for {shown} has waited {LONG:g} s for a worker, and waits on")

    def _upload(self, action: RemoteAction, sources: Mapping[Digest, Path], bring: Callable[[], None]) -> None:
        missing = self._storage.missing({*action.messages, *sources})
        if not all(sources[digest].exists() for digest in missing - action.messages.keys()):
            bring()
        small = {digest: action.messages[digest] for digest in missing & action.messages.keys()}
        for digest in missing - small.keys():
            if digest.size <= SMALL:
                small[digest] = sources[digest].read_bytes()
            else:
                self._storage.write(digest, sources[digest])
        self._storage.write_small(small)

    def _record(self, action: Action, result: RemoteResult) -> tuple[bytes, Record]:
        """The record of an action's run, as bytes and read. Raises ActionError when it is not one of what the result has."""
        worker = result.worker or "a remote worker"
        if RECORD not in result.files:
            raise ActionError(f"{worker} sent no record of its run: a worker needs this version of Enginewright")
        try:
            data = self._bytes(result.files[RECORD].digest)
            record = read_record(data)
            check_result(result, record, action)
        except ValueError as error:
            raise ActionError(f"the result that {worker} sent cannot be used: {error}") from None
        return data, record

    def _output(self, name: str, action: Action, files: Sequence[Stored]) -> Output:
        artifact, size = action.outputs[name], sum(each.size for each in files)
        for each in files:
            self._fetch(each)
        if not artifact.tree:
            return Output(artifact.path, files[0].digest, size)
        listing = encode_tree([Entry(each.path, each.executable, each.digest) for each in files])
        return Output(artifact.path, self._store.add_bytes(listing), size, tree=True)

    def _fetch(self, file: Stored) -> None:
        """Put a file of an output into the store, which may have it."""
        if self._store.has(file.digest):
            return
        place = self._store.scratch / f"{file.digest}.{threading.get_ident()}.fetched"
        local = xxhash.xxh3_128()

        def fetch() -> None:
            local.reset()
            with open(place, "wb") as into:

                def keep(data: bytes) -> None:
                    local.update(data)
                    into.write(data)

                self._read(Digest(file.strong, file.size), keep)

        try:
            patiently(fetch, self._stopped)
            if local.hexdigest() != file.digest:
                raise ActionError(f"the record that {self.name} gave misnames {file.path or 'an output'}")
            self._store.add_file(place, file.digest, file.executable)
        finally:
            place.unlink(missing_ok=True)

    def _printed(self, printed: Printed) -> bytes:
        return printed.raw or self._bytes(printed.digest)

    def _bytes(self, digest: Digest) -> bytes:
        def fetch() -> bytes:
            parts: list[bytes] = []
            self._read(digest, parts.append)
            return b"".join(parts)

        return patiently(fetch, self._stopped) if digest.size else b""

    def _read(self, digest: Digest, into: Callable[[bytes], object]) -> None:
        """Fetch bytes, and check them. Raises RemoteError when they are gone, WrongBytesError when they are others."""
        state = hashlib.sha256()

        def take(data: bytes) -> None:
            state.update(data)
            into(data)

        if digest.size and not self._storage.read(digest, take):
            raise GaveUpError(f"{self.name} has lost {digest}, which is part of a result it just gave")
        if digest.size and state.hexdigest() != digest.hash:
            raise WrongBytesError(f"{self.name} gave other bytes than {digest}")


def _complete(log: Path, printed: bytes) -> None:
    """Have a log hold what was printed, of which a part may stand there already: who watches the file sees it once."""
    before = log.read_bytes() if log.exists() else b""
    if printed.startswith(before):
        with open(log, "ab") as rest:
            rest.write(printed[len(before) :])
    else:
        log.write_bytes(printed)


def _shown(properties: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in properties.items()) or "no platform properties"


def _judge(executed: Executed, reason: str, properties: Mapping[str, str], timeout: float | None) -> None:
    """Raise ActionError unless an action came to its end well. ``reason`` is what it wrote to standard error."""
    worker, code = executed.result.worker or "a remote worker", executed.result.exit_code
    if executed.late:
        limit = f"{timeout:g} s" if timeout else "as long as the executor allows"
        raise ActionError(f"was stopped on {worker} after {limit}: {executed.message}")
    if code == FAILED:
        raise ActionError(reason)
    if code == REFUSED:
        raise ActionError(f"cannot run there: {reason}")
    if code:
        raise ActionError(
            f"could not be started on {worker} ({_shown(properties)}), exit code {code}: {reason or 'it printed nothing'}\n"
            "a worker needs python3 with Enginewright and the action's distributions on its PATH"
        )
