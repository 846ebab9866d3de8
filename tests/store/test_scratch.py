from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from enginewright.store.scratch import Scratch, sweep

HOLD = """
import sys
from pathlib import Path
from enginewright.store.scratch import Scratch

made = Scratch(Path(sys.argv[1]))
(made.path / "folder").mkdir()
(made.path / "folder" / "file").touch()
print(made.path, flush=True)
sys.stdin.read()
"""


def test_a_scratch_folder_is_empty_and_goes_with_all_that_is_in_it(tmp_path: Path) -> None:
    one, other = Scratch(tmp_path), Scratch(tmp_path)
    assert one.path != other.path
    assert list(one.path.iterdir()) == []
    (one.path / "folder").mkdir()
    one.close()
    assert list(tmp_path.iterdir()) == [other.path]


def test_a_folder_is_swept_once_its_process_is_killed_and_not_before(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    folder = Path(holder.stdout.readline().strip())
    assert sweep(tmp_path) == []
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    assert (folder / "folder" / "file").exists()
    assert sweep(tmp_path) == [folder]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_may_be_deeper_than_python_calls_itself_and_longer_than_a_path(tmp_path: Path) -> None:
    one = Scratch(tmp_path)
    here = os.open(one.path, os.O_DIRECTORY)
    for name in ["d"] * 1500 + ["long" * 60] * 30:
        os.mkdir(name, dir_fd=here)
        deeper = os.open(name, os.O_DIRECTORY, dir_fd=here)
        os.close(os.open("file", os.O_CREAT, dir_fd=here))
        os.close(here)
        here = deeper
    os.close(here)
    one.close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_may_hold_some_that_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Scratch(tmp_path)
    (one.path / "a/b").mkdir(parents=True)
    for folder in (one.path / "a/b", one.path / "a"):
        folder.chmod(0)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    changed: list[str] = []
    change = os.chmod
    monkeypatch.setattr(os, "chmod", lambda path, mode: (changed.append(path), change(path, mode)))
    one.close()
    assert changed == [f"{one.path}/a", f"{one.path}/a/b"]
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_a_scratch_folder_is_not_swept(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "enginewright-file").touch()
    (tmp_path / "enginewright-link").symlink_to(tmp_path / "folder")
    assert sweep(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == 3


def test_making_a_folder_and_sweeping_at_once_takes_none_away(tmp_path: Path) -> None:
    def make(_: int) -> bool:
        made = Scratch(tmp_path)
        try:
            (made.path / "file").touch()
            return True
        finally:
            made.close()

    # One that is made and not yet locked looks like one whose process is gone.
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(make, range(400)))
    assert list(tmp_path.iterdir()) == []
