"""Builds on a disk that is full, with a little more room each time: every write comes to be the one that fails."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from enginewright.oci.layout import read_image
from mixed import write_mixed
from registries import Registry
from small_disk import mounted
from throwaway import DOIT, Workspace

SIZE, FILES = 24 << 20, 400


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system."""
    with mounted(tmp_path / "disk", f"size={SIZE},nr_inodes={FILES}") as folder:
        yield folder


class Bytes:
    """Takes all the room there is for bytes."""

    steps = [4096] * 8 + [64 * 4096] * 40

    def __init__(self, disk: Path) -> None:
        self._filler = disk / "filler"
        self._filler.touch()
        self.fill()

    def fill(self) -> None:
        stat = os.statvfs(self._filler.parent)
        with open(self._filler, "r+b") as filler:
            os.posix_fallocate(filler.fileno(), 0, self._filler.stat().st_size + stat.f_bfree * stat.f_bsize)

    def give(self, count: int) -> None:
        os.truncate(self._filler, max(0, self._filler.stat().st_size - count))


class Files:
    """Takes all the room there is for files and folders."""

    steps = [1] * 200

    def __init__(self, disk: Path) -> None:
        self._filler = disk / "filler"
        self._filler.mkdir()
        self.fill()

    def fill(self) -> None:
        for number in range(FILES):
            try:
                (self._filler / str(number)).touch()
            except OSError:
                break

    def give(self, count: int) -> None:
        for path in list(self._filler.iterdir())[:count]:
            path.unlink()


@pytest.mark.parametrize("filler", [Bytes, Files])
@pytest.mark.parametrize("full", ["store", "workspace"])
def test_a_full_disk_is_told_and_harms_nothing(
    empty: Workspace, tmp_path: Path, disk: Path, full: str, filler: type[Bytes] | type[Files]
) -> None:
    write_mixed(empty)
    empty.doit("build")
    expected = empty.files()
    store = disk / "store" if full == "store" else tmp_path / "another store"
    workspace = empty.clone((disk if full == "workspace" else tmp_path) / "another", store)
    room = filler(disk)
    codes = []
    for more in room.steps if os.environ.get("CI") else [*room.steps[:8], *(4 * step for step in room.steps[8:])]:
        done = subprocess.run(
            [DOIT, "build", "--continue", "-n", "2"], cwd=workspace.root, env=workspace.environment, text=True, capture_output=True
        )
        told = done.stdout + done.stderr
        codes.append(done.returncode)
        assert "Traceback" not in told
        assert workspace.files().items() <= expected.items()
        if done.returncode == 0:
            break
        assert "No space left on device" in told and "make room there" in told, told
        if len(codes) % 5 == 0:
            workspace.doit("cache", "verify")
        room.give(more)
    assert codes[-1] == 0 and len(codes) > 8 and set(codes[:-1]) <= {1, 2, 3}, codes
    assert workspace.files() == expected
    workspace.doit("cache", "verify")
    room.fill()
    # A disk that is full is the time to make room.
    workspace.doit("cache", "gc", "--max-size", "1kB")
    assert workspace.leftovers() == []
    assert workspace.doit("build").stdout.startswith("built 0, cached 0, ")


def test_a_pull_onto_a_full_disk_goes_on_once_there_is_room(empty: Workspace, disk: Path, registry: Registry) -> None:
    empty.write({"images/x/BUILD.py": 'from enginewright import files_layer, image\nfiles_layer(name="l", files={"/f": "f"})\n'
                 'image(name="i", layers=[":l"])\n'})  # fmt: skip
    (empty.root / "images/x/f").write_bytes(os.urandom(4 << 20))
    to = f"{registry.host}/full:1"
    empty.doit("push", "images/x:i", "--to", to)
    room = Bytes(disk)
    room.give(3 << 20)
    done = empty.doit("pull", to, "--to", str(disk / "copy"), "-j", "1", code=1)
    (last,) = done.stderr.splitlines()[-1:]
    assert last.startswith(f"ERROR: No space left on device: {disk / 'copy/blobs'}") and last.endswith("; make room there, and pull again")
    assert not (disk / "copy/index.json").exists()
    room.give(8 << 20)
    assert json.loads(empty.doit("pull", to, "--to", str(disk / "copy"), "--json").stdout)["received"] < 2 << 20
    assert read_image(disk / "copy").layers
