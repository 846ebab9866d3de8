"""docs/tour.md, followed to the letter: what it says that commands print is what they print."""

from __future__ import annotations

from pathlib import Path

import pytest

from pages import alike, blocks, follow
from throwaway import Workspace

TOUR = Path(__file__).parents[2] / "docs/tour.md"


@pytest.fixture
def nowhere(tmp_path: Path) -> Workspace:
    """An empty folder, in which there is no workspace yet."""
    made = Workspace(tmp_path / "workspace", tmp_path / "store", tmp_path / "trace")
    made.root.mkdir()
    return made


def test_the_tour_is_true(nowhere: Workspace) -> None:
    found = blocks(TOUR.read_text())
    assert [language for language, _ in found].count("text") > 20
    follow(nowhere, found)


def test_what_is_not_true_is_noticed(nowhere: Workspace) -> None:
    follow(nowhere, [("sh", "echo 12 files, 3.4 s\n"), ("text", "12 files, 5.6 s\n")])
    with pytest.raises(AssertionError):
        follow(nowhere, [("sh", "echo 12 files, 3.4 s\n"), ("text", "13 files, 3.4 s\n")])
    with pytest.raises(AssertionError):
        follow(nowhere, [("sh", "false\n")])
    with pytest.raises(AssertionError, match="no command has said this"):
        follow(nowhere, [("text", "hello\n")])


def test_what_two_runs_differ_in() -> None:
    assert alike("x ran in build 20261123T061258Z-7330: 0.1 s, 14 MB of memory") == "x ran in build BUILD: TIME, MEMORY"
    assert alike("used between 2026-11-23 07:10 and 2026-11-23 07:12; 3 results, 12 ms") == "used between DATE and DATE; 3 results, TIME"
    assert alike("0f4495b6... -> ee5323f3..., 47 bytes, 3.5 kB") == "0f4495b6... -> ee5323f3..., 47 bytes, 3.5 kB"
