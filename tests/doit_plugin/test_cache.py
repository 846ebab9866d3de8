from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from throwaway import DOIT, Workspace

A, B, C, D = "models/x:a", "models/x:b", "models/x:c", "models/y:d"


@pytest.fixture
def built(workspace: Workspace) -> Workspace:
    """Four results, of which the store has three blobs: a and b have the same bytes, and both outputs of c."""
    workspace.build()
    return workspace


def cache(workspace: Workspace, *arguments: str, code: int = 0) -> Any:
    return json.loads(workspace.doit("cache", *arguments, "--json", code=code).stdout)


def blobs(workspace: Workspace) -> list[Path]:
    return sorted(workspace.store.glob("blobs/*/*"))


def records(workspace: Workspace) -> dict[str, Path]:
    """The record of each result in the store, by its label."""
    return {json.loads(path.read_text())["label"]: path for path in workspace.store.glob("actions/*/*.json")}


def change(workspace: Workspace, path: str, text: str) -> None:
    """Edit a source, and build anew what depends on it."""
    workspace.write({path: text})
    workspace.build()


def listing(folder: Path) -> list[tuple[Path, int, int]]:
    return sorted((path, stat.st_mtime_ns, stat.st_size) for path in folder.rglob("*") if (stat := path.lstat()))


def test_stats_of_a_store_that_is_not_there(workspace: Workspace) -> None:
    nothing = {"results": 0, "blobs": 0, "bytes": 0}
    assert cache(workspace, "stats") == {
        "store": str(workspace.store), **nothing, "quarantined": 0, "oldest_use": None, "newest_use": None, "workspace": nothing,
    }  # fmt: skip
    assert not workspace.store.exists()


def test_stats_count_what_is_there_and_what_is_this_workspaces(built: Workspace) -> None:
    change(built, "models/y/src.txt", "twenty-two\n")
    os.utime(records(built)[A], (1000, 1000))
    found = cache(built, "stats")
    sizes = [path.stat().st_size for path in blobs(built)]
    assert (found["results"], found["blobs"], found["bytes"]) == (5, 4, sum(sizes))
    assert found["workspace"] == {"results": 4, "blobs": 3, "bytes": sum(sizes) - len("two\n")}
    assert found["oldest_use"] == 1000 < found["newest_use"]


def test_stats_for_people(built: Workspace) -> None:
    lines = built.doit("cache", "stats").stdout.splitlines()
    assert lines[0].split() == ["store", str(built.store)]
    assert lines[1].split(maxsplit=1) == ["blobs", "3, 17 bytes"]
    assert lines[2].startswith("results         4, used between ")
    assert lines[4] == "this workspace  4 results, 3 blobs, 17 bytes"


def test_to_look_changes_nothing(built: Workspace) -> None:
    before = listing(built.root / "build"), listing(built.store)
    built.doit("cache", "stats")
    built.doit("cache", "gc", "--dry-run", "--max-size", "0")
    assert (listing(built.root / "build"), listing(built.store)) == before


def test_gc_removes_what_no_result_refers_to_and_keeps_all_results(built: Workspace) -> None:
    orphan = built.store / "blobs/ff" / ("f" * 32)
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"12345")
    change(built, "models/y/src.txt", "other\n")
    told = cache(built, "gc")
    assert (told["results"], told["blobs"], told["bytes"], told["dry_run"]) == (0, 1, 5, False)
    assert not orphan.exists()
    assert built.doit("cache", "gc").stdout.startswith("removed 0 results, 0 blobs: 0 bytes; ")


def test_gc_never_takes_what_this_workspace_refers_to(built: Workspace) -> None:
    before = set(blobs(built)), set(records(built).values())
    for path in ("models/x/src.txt", "models/y/src.txt"):
        change(built, path, "other\n")
    text = built.doit("cache", "gc", "--max-size", "1kB", "--older-than", "0s").stdout
    assert text.startswith("removed 4 results, 3 blobs: ")
    assert text.endswith("this is more than 1kB: what the last build of this workspace refers to stays\n")
    assert not before[0] & set(blobs(built)) and not before[1] & set(records(built).values())
    shutil.rmtree(built.root / "build/models")
    assert built.build().cached == {A, B, C, D}
    shutil.rmtree(built.root / "build")
    assert built.build().cached == {A, B, C, D}


def test_gc_takes_what_was_not_used_for_longest(built: Workspace, tmp_path: Path) -> None:
    for path in records(built).values():
        os.utime(path, (1000, 1000))
    other = built.clone(tmp_path / "other")
    assert other.build(D).cached == {D}  # a use, by another workspace
    bystander = other.clone(tmp_path / "bystander")
    assert cache(bystander, "gc", "--older-than", "30d", "--dry-run")["results"] == 3
    assert cache(bystander, "gc", "--older-than", "30d")["results"] == 3
    assert records(built).keys() == {D}
    assert bystander.build().built == {A, B, C}


def test_a_build_with_nothing_to_do_is_no_use(built: Workspace) -> None:
    for path in records(built).values():
        os.utime(path, (1000, 1000))
    assert built.build().up_to_date == {A, B, C, D}
    assert {path.stat().st_mtime for path in records(built).values()} == {1000}
    (built.root / "build/models/y/d/out.txt").unlink()
    built.build()
    assert {label for label, path in records(built).items() if path.stat().st_mtime > 1000} == {D}


def test_gc_removes_what_killed_builds_left_behind(built: Workspace) -> None:
    folder = built.root / "build/.enginewright"
    halves = [folder / "tmp/half", folder / ".abc.part", built.store / "actions/ab/.abc.part", built.store / "tmp/enginewright-x/half"]
    for half in halves:
        half.parent.mkdir(exist_ok=True)
        half.write_bytes(b"half")
    (folder / "tmp/folder/in/it").mkdir(parents=True)
    assert cache(built, "gc")["leftovers"] >= 5  # and what killed builds of other workspaces left in memory
    assert not any(half.exists() for half in halves)
    assert built.leftovers() == []
    assert built.build().up_to_date == {A, B, C, D}


def test_verify_finds_nothing_in_a_sound_store(built: Workspace) -> None:
    assert cache(built, "verify") == {"blobs": 3, "size": 17, "records": 4, "damaged": [], "unreadable": [], "incomplete": []}
    assert built.doit("cache", "verify").stdout == "verified 3 blobs, 17 bytes, and 4 results: all is well\n"


def test_verify_sets_aside_what_is_wrong_and_the_next_build_makes_it_again(built: Workspace) -> None:
    files = built.files()
    (damaged,) = (path for path in blobs(built) if path.read_bytes() == b"two\n")
    damaged.chmod(0o644)
    damaged.write_bytes(b"twx\n")
    keys = {label: path.stem for label, path in records(built).items()}
    records(built)[A].write_bytes(b"")
    told = cache(built, "verify", code=1)
    assert (told["damaged"], told["unreadable"], told["incomplete"]) == ([damaged.name], [keys[A]], [keys[D]])
    assert {path.name for path in (built.store / "quarantine").iterdir()} == {damaged.name, f"{keys[A]}.json"}
    assert cache(built, "stats")["quarantined"] == 2
    assert cache(built, "verify")["damaged"] == []
    shutil.rmtree(built.root / "build")
    report = built.build()
    assert (report.built, report.cached) == ({A, D}, {B, C})
    assert built.files() == files
    assert cache(built, "gc")["quarantined"] == 2
    assert not (built.store / "quarantine").exists()


def test_verify_says_what_is_wrong(built: Workspace) -> None:
    for path in blobs(built):
        path.unlink()
    text = built.doit("cache", "verify", code=1).stdout
    assert records(built) == {}
    assert text.count("refers to a blob that is not there; forgotten\n") == 4
    assert text.endswith("verified 0 blobs, 0 bytes, and 4 results: 4 wrong; the next builds make again what they need\n")


def test_progress_is_for_terminals(built: Workspace) -> None:
    assert built.doit("cache", "verify").stderr == ""
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        subprocess.run(
            [DOIT, "cache", "verify"], cwd=built.root, env=built.environment, stdout=subprocess.DEVNULL, stderr=theirs, check=True
        )
        os.close(theirs)
        assert b"verifying: " in terminal.read(1000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "doit cache: expected stats, gc or verify, got nothing"),
        (["clean"], "doit cache: expected stats, gc or verify, got clean"),
        (["gc", "verify"], "doit cache: expected stats, gc or verify, got gc verify"),
        (["verify", "--dry-run"], "doit cache verify: --max-size, --older-than and --dry-run are options of gc"),
        (["gc", "--max-size", "lots"], "--max-size: expected a size, such as 20GB, 500MB or 1.5TiB, got 'lots'"),
        (["gc", "--older-than", "30"], "--older-than: expected an age, such as 30d, 12h or 2w, got '30'"),
    ],
)
def test_mistakes_on_the_command_line(workspace: Workspace, arguments: list[str], message: str) -> None:
    assert workspace.refuse("cache", *arguments) == message
    assert not workspace.store.exists()
