"""The folders an action runs in, and what may be left in them.

``root`` mirrors the workspace: the declared inputs are symbolic links in it, at their workspace paths, and outputs are written
at theirs. It lies in memory where the machine has a file system for that, because making and removing folders is most of what a
small action would cost otherwise; the folders that outputs are written into are links from there to the store's disk.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from enginewright.errors import ActionError
from enginewright.graph.action import Action
from enginewright.store.files import link
from enginewright.store.scratch import Scratch

MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Sandbox:
    """The folders of one action: its ``root``, ``home`` and ``tmp``. All it may write to is below ``places``."""

    root: Path
    home: Path
    tmp: Path
    places: tuple[Path, Path]
    _out: Path

    def stage(self, action: Action, inputs: Mapping[str, Path]) -> None:
        """Link the inputs, by name, to where they lie, and make the folders that outputs go into."""
        for number, parent in enumerate(sorted({os.path.dirname(artifact.path) for artifact in action.outputs.values()})):
            folder = self._out / str(number)
            folder.mkdir(exist_ok=True)
            link = self.root / parent
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(folder)
        for name, artifact in action.inputs.items():
            place = self.root / artifact.path
            place.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):  # two attributes may name one file
                place.symlink_to(inputs[name])

    def refuse_strays(self, action: Action) -> None:
        """Raise ActionError for a file in ``root`` that is neither input nor output."""
        declared = {artifact.path for artifact in (*action.inputs.values(), *action.outputs.values())}
        for folder, subfolders, files in os.walk(self.root, followlinks=True):
            below = os.path.relpath(folder, self.root)
            paths = {name: os.path.normpath(os.path.join(below, name)) for name in (*subfolders, *files)}
            subfolders[:] = [name for name in subfolders if paths[name] not in declared and name != "__pycache__"]
            for name in files:
                if paths[name] not in declared:
                    raise ActionError(
                        f"wrote {paths[name]}, which is not among its declared outputs: write temporary files below tempfile.gettempdir()"
                    )

    def take_in_links(self, action: Action, inputs: Iterable[Path]) -> None:
        """Put the file itself in the place of each symbolic link to an input that an action made in its outputs.

        As a hard link where the file system can. The action cannot make one: in its sandbox, inputs and outputs are different
        mounts, and what it has a hard link to it could change.
        """
        declared = tuple(os.path.realpath(each) for each in inputs)
        for artifact in action.outputs.values():
            for made in _links(self.root / artifact.path):
                real = os.path.realpath(made)
                known = any(real == each or real.startswith(f"{each}/") for each in declared)
                if known and os.path.isfile(real) and not link(real, made):
                    shutil.copy(real, made)


class Sandboxes:
    """Makes sandboxes, with what outputs go into below ``disk``; the folders there are used again and again."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self._memory = Scratch(MEMORY) if os.access(MEMORY, os.W_OK | os.X_OK) else None
        self._numbers = count()
        self._free: list[str] = []
        self._lock = threading.Lock()

    @contextmanager
    def take(self) -> Iterator[Sandbox]:
        """An empty sandbox, emptied again at the end."""
        with self._lock:
            number = self._free.pop() if self._free else str(next(self._numbers))
        disk = self._disk / number
        memory = (self._memory.path if self._memory else self._disk) / f"{number}-root"
        box = Sandbox(root=memory / "root", home=memory / "home", tmp=disk / "tmp", places=(disk, memory), _out=disk / "out")
        try:
            for folder in (box.tmp, box._out, box.root, box.home):
                folder.mkdir(parents=True, exist_ok=True)
            yield box
        finally:
            shutil.rmtree(memory, ignore_errors=True)
            for folder in (box.tmp, *box._out.glob("*")):
                if folder.exists():  # on a full disk it may not have come so far
                    _empty(folder)
            with self._lock:
                self._free.append(number)

    def close(self) -> None:
        """Remove what is in memory; what is on disk goes with ``disk``."""
        if self._memory:
            self._memory.close()


def _links(output: Path) -> list[Path]:
    """The symbolic links in an output, or the output itself if it is one."""
    if output.is_symlink():
        return [output]
    return [path for folder, _, names in os.walk(output) for name in names if (path := Path(folder, name)).is_symlink()]


def _empty(folder: Path) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                os.unlink(entry.path)
