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
from enginewright.store.files import empty, link
from enginewright.store.scratch import Scratch

MEMORY = Path(os.path.realpath("/dev/shm"))


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
            folder = f"{self._out}/{number}"
            os.makedirs(folder, exist_ok=True)
            self._link(parent, folder)
        for name, artifact in action.inputs.items():
            with suppress(FileExistsError):  # two attributes may name one file
                self._link(artifact.path, inputs[name])

    def _link(self, path: str, to: str | Path) -> None:
        place = f"{self.root}/{path}"
        try:
            os.symlink(to, place)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(place), exist_ok=True)
            os.symlink(to, place)

    def refuse_strays(self, action: Action) -> None:
        """Raise ActionError for a file in ``root`` that is neither input nor output."""
        declared = {artifact.path for artifact in (*action.inputs.values(), *action.outputs.values())}
        waiting = [""]
        while waiting:
            below = waiting.pop()
            with os.scandir(f"{self.root}/{below}") as entries:
                for entry in entries:
                    path = below + entry.name
                    if path in declared:
                        continue
                    if not entry.is_dir():
                        raise ActionError(
                            f"wrote {path}, which is not among its declared outputs: write temporary files below tempfile.gettempdir()"
                        )
                    if entry.name != "__pycache__":
                        waiting.append(f"{path}/")

    def take_in_links(self, action: Action, inputs: Iterable[Path]) -> None:
        """Put the file itself in the place of each symbolic link to an input that an action made in its outputs.

        As a hard link where the file system can. The action cannot make one: in its sandbox, inputs and outputs are different
        mounts, and what it has a hard link to it could change.
        """
        made_links = [made for artifact in action.outputs.values() for made in _links(self.root / artifact.path)]
        if made_links:
            declared = tuple(os.path.realpath(each) for each in inputs)
            for made in made_links:
                real = os.path.realpath(made)
                known = any(real == each or real.startswith(f"{each}/") for each in declared)
                if known and os.path.isfile(real) and not link(real, made):
                    shutil.copy(real, made)


class Sandboxes:
    """Makes sandboxes, with what outputs go into below ``disk``; the folders there are used again and again."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self._memory: Scratch | None = None
        with suppress(OSError):  # there may be none, none for us, or no room in it
            self._memory = Scratch(MEMORY)
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
            if not memory.exists():
                for folder in (box.tmp, box._out, box.root, box.home):
                    folder.mkdir(parents=True, exist_ok=True)
            yield box
        finally:
            with suppress(OSError):  # what cannot be emptied is not used again
                for folder in (box.root, box.home, box.tmp):
                    empty(folder)
                with os.scandir(box._out) as numbered:
                    for each in numbered:
                        empty(each.path)
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
    if output.is_file():
        return []
    return [path for folder, _, names in os.walk(output) for name in names if (path := Path(folder, name)).is_symlink()]
