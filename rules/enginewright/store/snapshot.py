"""What a workspace remembers between builds: the stat and digest of every file it knows, and each target's last result.

One file, replaced whole: `marshal` of packed columns, the fastest of the formats tried for tens of thousands of files. Its head,
which tells what moved, is read at once; the larger rest, of which a build with nothing to do needs nothing, when it is asked for.
Both are checked by a checksum. It is a memory, not a truth: without it a build takes longer and does the same.
"""

from __future__ import annotations

import errno
import functools
import marshal
import os
import stat
import threading
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import xxhash

from enginewright.store.digest import Stat, file_digest
from enginewright.store.files import write_atomically

FORMAT = 3

GRANULARITY_NS = 20_000_000
"""How far apart two writes must be for the kernel to give them different times, with room to spare. A file that was hashed
sooner after its last change could change again without its stat moving, so such a stat is not relied on (as in git's
"racy" index entries)."""

_WORTH_THREADS = 8 << 20
"""Bytes from which reading files in threads is worth starting the threads. Hashing lets go of the interpreter's lock."""

_WORTH_A_PROCESS = 4_000
"""Files from which looking at half of them in another process is worth starting one, which takes a millisecond or two."""

_NEVER = Stat(-1, -1, -1, -1)
_GONE = Stat(-2, -2, -2, -2)
_START = 24
"""Bytes before the head: its checksum, and its length, little-endian."""
_FOLDER = "0" * 32
"""What stands for the digest of a folder, of which only the stat is known."""


class Built(NamedTuple):
    """A target's last result in this workspace: its action key, and its outputs' digests by name.

    ``key`` is empty after `doit forget`: the next build runs the action, cached or not.
    """

    key: str
    outputs: Mapping[str, str]


class Snapshot:
    """The files and targets of one workspace, kept in ``path``. Paths are relative to ``root``, or absolute."""

    def __init__(self, root: Path, path: Path) -> None:
        self._root = root
        self._path = path
        # What was loaded stays packed, four stat columns and a digest a file; what this build learns lies over it.
        self._head = _Head()
        self._columns = array("q")
        self._learnt: dict[str, tuple[Stat, str] | None] = {}
        self._changed = False
        self._looked_at: set[str] = set()
        self._loaded = self._stat_of_file()
        self._load()

    def is_current(self) -> bool:
        """Whether the file this was loaded from is still the one that is there."""
        return self._stat_of_file() == self._loaded

    def _stat_of_file(self) -> Stat | None:
        try:
            return Stat.of(os.stat(self._path))
        except OSError:
            return None

    @functools.cached_property
    def moved(self) -> list[str]:
        """The known files and folders whose stat is not what it was when they were last looked at, or that are gone.

        Found out once, when it is first asked for. What cannot be looked at has moved.
        """
        count = len(self._head.paths)
        if count < _WORTH_A_PROCESS or (os.cpu_count() or 1) == 1 or threading.active_count() > 1:
            return self._moved_among(0, count)
        # Half of them in another process: threads of Python would take turns.
        read, write = os.pipe()
        process = os.fork()
        if process == 0:
            status = 1
            try:
                with open(write, "wb") as told:
                    told.write(marshal.dumps(self._moved_among(count // 2, count)))
                status = 0
            finally:
                os._exit(status)
        os.close(write)
        with open(read, "rb") as telling:
            found = self._moved_among(0, count // 2)
            data = telling.read()
        _, status = os.waitpid(process, 0)
        return found + (marshal.loads(data) if status == 0 else self._moved_among(count // 2, count))

    def _moved_among(self, start: int, end: int) -> list[str]:
        """Those of the known files from number ``start`` up to ``end`` that have `moved`."""
        found = []
        columns = iter(self._columns[start * 4 : end * 4])
        # From the current folder the kernel has less of a path to walk.
        root = "" if os.getcwd() == str(self._root) else f"{self._root}/"
        paths = self._head.paths[start:end]
        for path, size, mtime, ctime, inode in zip(paths, columns, columns, columns, columns):
            try:
                now = os.stat(path if path[0] == "/" else root + path)
            except OSError:
                if size != _GONE.size:
                    found.append(path)
                continue
            if now.st_mtime_ns != mtime or now.st_ctime_ns != ctime or now.st_size != size or now.st_ino != inode:
                found.append(path)
        return found

    def digest(self, path: str) -> str | None:
        """The digest of a file, read only when its stat has moved since it was last hashed. None when there is no file."""
        full = self._root / path
        self._looked_at.add(path)
        try:
            found = os.stat(full)
            before = Stat.of(found)
            known = self._known(path)
            if known is not None and known[0] == before:
                return known[1]
            if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for, a device read without end
                raise IsADirectoryError
            digest = file_digest(full)
            after = Stat.of(os.stat(full))
        except OSError as error:
            if error.errno != errno.ELOOP and not isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError)):
                raise
            if self._known(path) is not None:
                self._learnt[path] = None
            return None
        settled = before == after and time.time_ns() - after.ctime_ns > GRANULARITY_NS
        self._learnt[path] = (after if settled else _NEVER, digest)
        return digest

    def read_ahead(self, paths: Iterable[str]) -> None:
        """Read all of these files that have to be read, several at a time, so that `digest` finds them known."""
        sizes = {path: size for path in dict.fromkeys(paths) if (size := self._to_read(path)) is not None}
        if sum(sizes.values()) >= _WORTH_THREADS and len(sizes) > 1:
            from concurrent.futures import ThreadPoolExecutor  # 5 ms that most builds can spare

            with ThreadPoolExecutor(os.cpu_count()) as pool:
                # The largest first, so that the last to end is a small one.
                list(pool.map(self.digest, sorted(sizes, key=sizes.__getitem__, reverse=True)))

    def _to_read(self, path: str) -> int | None:
        """The size of a file that has to be read to know its digest; None for one that is known or not there."""
        try:
            now = Stat.of(os.stat(self._root / path))
        except OSError:  # `digest` says what is wrong
            return None
        known = self._known(path)
        return now.size if known is None or known[0] != now else None

    def placed(self, path: str, digest: str) -> None:
        """Take note of a file that was put there just now, with these bytes."""
        self._learnt[path] = (Stat.of(os.stat(self._root / path)), digest)
        self._looked_at.add(path)

    def untouched(self, path: str, digest: str = "") -> bool:
        """Whether a file or folder is the one that is known, by this digest if it is given, and was not written since.

        Another name for it changes neither.
        """
        known = self._known(path)
        try:
            now = Stat.of(os.stat(self._root / path))
        except OSError:
            return False
        return known is not None and digest in ("", known[1]) and known[0]._replace(ctime_ns=now.ctime_ns) == now

    def watch(self, paths: Iterable[str]) -> None:
        """Take note of the stat of files and folders whose bytes are not asked for, so that `moved` finds a change.

        To be called before they are read. What does not exist may be watched too.
        """
        for path in paths:
            try:
                now = Stat.of(os.stat(self._root / path))
                if time.time_ns() - now.ctime_ns <= GRANULARITY_NS:
                    now = _NEVER
            except OSError:
                now = _GONE
            known = self._known(path)
            if known is None or known[0] != now:
                self._learnt[path] = (now, _FOLDER if known is None else known[1])

    def placed_folders(self, paths: Iterable[str]) -> None:
        """Take note of folders in which everything is known, so that `moved` finds what is added to them."""
        for path in paths:
            self._learnt[path] = (Stat.of(os.stat(self._root / path)), _FOLDER)

    def linked(self, paths: Iterable[str]) -> None:
        """Take note that files may have been given another name: that moves their ctime, not their bytes."""
        self._looked_at.update(paths)

    def forget(self, path: str) -> None:
        """Forget a file, or a folder and what is below it, that was taken away."""
        if self._known(path) is not None:
            self._learnt[path] = None
        elif any(each.startswith(f"{path}/") for each in (*self._learnt, *self._index)):
            self._learnt |= dict.fromkeys(each for each in (*self._learnt, *self._index) if each.startswith(f"{path}/"))

    def keep_only(self, paths: set[str]) -> None:
        """Forget every file but these, and those below them."""
        for path in [*self._index, *self._learnt]:
            if path not in paths and not any(parent in paths for parent in _parents(path)):
                self._learnt[path] = None

    @functools.cached_property
    def _targets(self) -> dict[str, tuple[str, dict[str, str]]]:
        targets: dict[str, tuple[str, dict[str, str]]] = marshal.loads(self._rest.targets) if self._rest.targets else {}
        return targets

    def target(self, label: str) -> Built | None:
        """The last result of a target in this workspace, if there is one."""
        found = self._targets.get(label)
        return None if found is None else Built(*found)

    def targets(self) -> dict[str, Built]:
        """The last results of all targets that have one in this workspace, by label."""
        return {label: Built(*found) for label, found in self._targets.items() if found[0]}

    def set_target(self, label: str, built: Built | None) -> None:
        """Record a target's result; None to forget it."""
        new = None if built is None else (built.key, dict(built.outputs))
        if self._targets.get(label) == new:
            return
        self._changed = True
        if new is None:
            self._targets.pop(label, None)
        else:
            self._targets[label] = new

    @property
    def memory(self) -> bytes:
        """Whatever the build chose to keep beside the files it speaks of, replaced together with them. Read at once: for a few bytes."""
        return self._head.memory

    @property
    def attachment(self) -> bytes:
        """The same for more than a few bytes, read when it is asked for. Empty when what was kept is damaged."""
        return self._rest.attachment

    def remember(self, memory: bytes, attachment: bytes) -> None:
        """Replace ``memory`` and ``attachment``."""
        self._changed |= memory != self.memory or attachment != self.attachment
        self._rest = self._rest._replace(attachment=attachment)
        self._head = self._head._replace(memory=memory)

    def keep_only_targets(self, labels: set[str]) -> None:
        """Forget every target but these."""
        for label in self._targets.keys() - labels:
            self.set_target(label, None)

    def save(self) -> None:
        """Write the snapshot, unless nothing in it changed."""
        self._follow_links()
        if not self._learnt and not self._changed:
            return
        if any(self._learnt[path] is None for path in self._learnt.keys() & self._index.keys()):
            self._leave_out()
        columns, digests, index = self._columns[:], bytearray(self._rest.digests), dict(self._index)
        for path, entry in self._learnt.items():
            if entry is None:
                continue
            i = index.setdefault(path, len(index))
            columns[4 * i : 4 * i + 4] = array("q", entry[0])
            digests[16 * i : 16 * i + 16] = bytes.fromhex(entry[1])
        rest = self._rest._replace(digests=bytes(digests), targets=marshal.dumps(self._targets, 4))
        packed_rest = marshal.dumps(tuple(rest), 4)
        checksum = xxhash.xxh3_128_digest(packed_rest)
        packed = marshal.dumps((FORMAT, checksum, "\0".join(index), columns.tobytes(), self.memory), 4)
        write_atomically(self._path, b"".join((xxhash.xxh3_128_digest(packed), len(packed).to_bytes(8, "little"), packed, packed_rest)))
        self._head, self._rest = _Head(checksum, list(index), self.memory), rest
        self._columns, self._index, self._learnt, self._changed = columns, index, {}, False

    def _leave_out(self) -> None:
        """Pack what was loaded anew, without the files that are forgotten."""
        kept = {path: self._packed(i) for path, i in self._index.items() if self._learnt.get(path, path) is not None}
        self._columns = array("q", [number for stat, _ in kept.values() for number in stat])
        self._rest = self._rest._replace(digests=b"".join(bytes.fromhex(digest) for _, digest in kept.values()))
        self._index = dict(zip(kept, range(len(kept))))

    def _packed(self, i: int) -> tuple[Stat, str]:
        return Stat(*self._columns[4 * i : 4 * i + 4]), self._rest.digests[16 * i : 16 * i + 16].hex()

    def _known(self, path: str) -> tuple[Stat, str] | None:
        if path in self._learnt:
            return self._learnt[path]
        i = self._index.get(path)
        return None if i is None else self._packed(i)

    def _follow_links(self) -> None:
        """Record the stat of linked files anew: linking a file moves the ctime of all its names, not its bytes.

        Only a ctime that moved alone, on a read-only file with several names that this build has looked at, is taken for that.
        """
        for path in self._looked_at:
            known = self._known(path)
            if known is None:
                continue
            try:
                result = os.stat(self._root / path)
            except OSError:
                continue
            now = Stat.of(result)
            alone = now != known[0] and now._replace(ctime_ns=known[0].ctime_ns) == known[0]
            if alone and result.st_nlink > 1 and not result.st_mode & 0o222:
                self._learnt[path] = (now, known[1])

    def _load(self) -> None:
        try:
            with open(self._path, "rb", buffering=0) as file:
                start = file.read(_START)
                length = int.from_bytes(start[16:], "little")
                # A damaged length must not ask for memory.
                data = file.read(length) if length <= os.fstat(file.fileno()).st_size else b""
        except OSError:
            return
        # marshal trusts its input, so nothing but what save() wrote may reach it.
        if len(start) < _START or xxhash.xxh3_128_digest(data) != start[:16]:
            return
        content = marshal.loads(data)
        if content[0] == FORMAT:
            _, rest, paths, columns, memory = content
            self._head = _Head(rest, paths.split("\0") if paths else (), memory, _START + length)
            self._columns.frombytes(columns)

    @functools.cached_property
    def _index(self) -> dict[str, int]:
        """The place of each file that was loaded, and whose digest too."""
        known = len(self._rest.digests) // 16
        return dict(zip(self._head.paths, range(known)))

    @functools.cached_property
    def _rest(self) -> _Rest:
        """What follows the head. When it is damaged, or of another snapshot by now, nothing that was loaded counts."""
        if self._head.rest:
            with suppress(OSError), open(self._path, "rb", buffering=0) as file:
                file.seek(self._head.end)
                data = file.read()
                if xxhash.xxh3_128_digest(data) == self._head.rest:
                    return _Rest(*marshal.loads(data))
        self._head, self._columns = _Head(), array("q")
        return _Rest()


class _Head(NamedTuple):
    """The checksum of the rest, the files in the order of their columns, and where in the file the rest begins."""

    rest: bytes = b""
    paths: Sequence[str] = ()
    memory: bytes = b""
    end: int = 0


class _Rest(NamedTuple):
    digests: bytes = b""
    targets: bytes = b""
    attachment: bytes = b""


def _parents(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path
