"""The outputs of a workspace: whether they are in place, how they get there from the store, and how they go."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import xxhash

from enginewright.graph.action import Artifact
from enginewright.store.content import ContentStore
from enginewright.store.digest import Entry, encode_tree, tree_files
from enginewright.store.results import Output
from enginewright.store.snapshot import Snapshot


class Outputs:
    """The outputs below the workspace ``root``, which are placed from ``store`` by way of the folder ``staging`` beside them.

    ``placed`` says whether any was placed, or tried to be. What is looked at or placed is noted in ``snapshot``.
    """

    def __init__(self, root: Path, staging: Path, store: ContentStore, snapshot: Snapshot) -> None:
        self.placed = False
        self._root = root
        self._staging = staging
        self._store = store
        self._snapshot = snapshot

    def intact(self, artifact: Artifact, digest: str) -> bool:
        """Whether an output is in place, with the bytes of this digest."""
        if not artifact.tree:
            return self._snapshot.digest(artifact.path) == digest
        root = self._root / artifact.path
        if not root.is_dir() or root.is_symlink():
            return False
        try:
            entries = [
                Entry(name, os.access(path, os.X_OK), self._snapshot.digest(f"{artifact.path}/{name}") or "")
                for name, path in tree_files(root)
            ]
        except ValueError:
            return False
        self._watch_folders(artifact)
        return xxhash.xxh3_128_hexdigest(encode_tree(entries)) == digest

    def files(self, artifact: Artifact) -> Iterator[str]:
        """The path of an artifact or, of a tree, those of its files."""
        if artifact.tree:
            yield from (f"{artifact.path}/{name}" for name, _ in tree_files(self._root / artifact.path))
        else:
            yield artifact.path

    def untouched(self, artifact: Artifact, digest: str) -> bool:
        """Whether an output had these bytes when it was last looked at or placed, and nobody has written to it since."""
        if not artifact.tree:
            return self._snapshot.untouched(artifact.path, digest)
        paths = []
        for folder, _, files in os.walk(self._root / artifact.path):
            paths += [os.path.relpath(folder, self._root), *(os.path.relpath(f"{folder}/{name}", self._root) for name in files)]
        return bool(paths) and all(map(self._snapshot.untouched, paths))

    def stored(self, artifact: Artifact, digest: str) -> bool:
        """Whether an output could be placed, so far as can be told without reading it."""
        return self._store.has(digest, artifact.tree)

    def place(self, artifact: Artifact, digest: str) -> bool:
        """Put an output in place from the store; False when the store does not have it whole."""
        destination = self._root / artifact.path
        self.placed = True
        if not destination.parent.is_dir():
            self._make_way(artifact.path)
        if not artifact.tree:
            if destination.is_dir():
                self.remove(artifact.path)
            placed = self._store.place(digest, destination, self._staging)
            if placed:
                self._snapshot.placed(artifact.path, digest)
            return placed
        entries = self._store.tree(digest)
        if entries is None:
            return False
        with tempfile.TemporaryDirectory(dir=self._staging) as folder:
            new = Path(folder, "tree")
            new.mkdir()
            if not all(self._store.place(each.digest, new / each.path, self._staging, each.executable) for each in entries):
                return False
            self.remove(artifact.path)
            destination.parent.mkdir(parents=True, exist_ok=True)
            os.rename(new, destination)
        for each in entries:
            self._snapshot.placed(f"{artifact.path}/{each.path}", each.digest)
        self._watch_folders(artifact)
        return True

    def present(self, artifact: Artifact) -> bool:
        """Whether there is anything where an output goes."""
        return os.path.lexists(self._root / artifact.path)

    def leave_out(self, artifact: Artifact) -> None:
        """Have an output not be there, and not be missed."""
        if self.present(artifact):
            self.remove(artifact.path)
            self._snapshot.forget(artifact.path)

    def clear(self, former: Iterable[Output], declared: Collection[str]) -> None:
        """Take away outputs of an earlier result, but not what somebody has changed since, nor what holds, is or lies in ``declared``."""
        for output in former:
            artifact = Artifact(output.path, output.tree)
            related = (path == output.path or path.startswith(f"{output.path}/") or output.path.startswith(f"{path}/") for path in declared)
            if self.present(artifact) and not any(related) and self.intact(artifact, output.digest):
                self.leave_out(artifact)

    def remove(self, path: str) -> None:
        """Take a file or folder away; a folder by a rename first, so that half of one is never seen."""
        target = self._root / path
        if target.is_dir() and not target.is_symlink():
            old = self._staging / f"{threading.get_ident()}.old"
            shutil.rmtree(old, ignore_errors=True)  # of a build that was killed
            os.rename(target, old)
            shutil.rmtree(old)
        else:
            with suppress(FileNotFoundError, NotADirectoryError):
                target.unlink()

    def _make_way(self, path: str) -> None:
        """Take away the file that stands where an output needs a folder: what was declared before had an output there."""
        for parent in reversed(Path(self._root, path).parents):
            if not parent.is_dir():
                with suppress(FileNotFoundError, IsADirectoryError):  # what is placed at the same time may have been quicker
                    parent.unlink()
                return

    def _watch_folders(self, artifact: Artifact) -> None:
        """A file that is added to a tree shows by the stat of its folder."""
        folders = (folder for folder, _, _ in os.walk(self._root / artifact.path))
        self._snapshot.placed_folders(os.path.relpath(folder, self._root) for folder in folders)
