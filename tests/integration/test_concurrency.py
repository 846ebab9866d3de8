"""Many builds at once: in one workspace, on one store, of one graph; and while the store is cleared and checked."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

from mixed import LABELS, set_source, write_mixed
from throwaway import Workspace

ACTIONS = 1000 if os.environ.get("CI") else 200

WIDE = """
from enginewright import python_action

for name, inputs in {inputs}:
    python_action(name=name, function="make.py:join", inputs=inputs, outputs={{"out": "out.txt"}}, params={{"name": name}})
"""
JOIN = """
def join(inputs, outputs, params):
    texts = [inputs[name].read_text() for name in sorted(inputs)]
    outputs["out"].write_text(f"{params['name'][-1]} {sum(map(len, texts))}\\n" + "".join(texts)[:100])
"""


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """What it prints, once it has ended with this exit code."""
    out, err = process.communicate()
    assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
    assert "Traceback" not in out + err
    return out


def built_alone(workspace: Workspace, folder: Path) -> dict[str, str]:
    """The outputs that a copy of the workspace with a store of its own has."""
    clone = workspace.clone(folder, folder.with_name(f"{folder.name}-store"))
    clone.doit("build")
    return clone.files()


def test_two_builds_at_once_in_one_workspace_share_the_work(empty: Workspace, tmp_path: Path) -> None:
    write_mixed(empty)
    running = [empty.start("build", "--json") for _ in range(2)]
    reports = [json.loads(finish(each)) for each in running]
    assert sorted((each["built"], each["up_to_date"]) for each in reports) == [(0, len(LABELS)), (len(LABELS), 0)]
    assert empty.files() == built_alone(empty, tmp_path / "alone")
    assert empty.leftovers() == []


def test_ten_workspaces_build_on_one_store_at_once(empty: Workspace, tmp_path: Path) -> None:
    write_mixed(empty)
    workspaces = [empty.clone(tmp_path / str(i)) for i in range(10)]
    for i, each in enumerate(workspaces):
        set_source(each, i % 3)
    running = [each.start("build", "--json", "-n", "2") for each in workspaces]
    for each in running:
        report = json.loads(finish(each))
        assert report["built"] + report["cached"] == len(LABELS)
    expected = [built_alone(workspaces[i], tmp_path / f"alone{i}") for i in range(3)]
    for i, workspace in enumerate(workspaces):
        assert workspace.files() == expected[i % 3]
        assert workspace.leftovers() == []
    empty.doit("cache", "verify")
    assert list(empty.store.rglob("*.part")) == []


def test_builds_go_on_while_the_store_is_cleared_and_checked(empty: Workspace, tmp_path: Path) -> None:
    write_mixed(empty)
    expected = []
    for number in range(3):
        set_source(empty, number)
        expected.append(built_alone(empty, tmp_path / f"alone{number}"))
    bystanders = [empty.clone(tmp_path / f"bystander{i}") for i in range(3)]
    workspaces = [empty.clone(tmp_path / str(i)) for i in range(3)]
    for number in (0, 1, 0, 2):
        for each in workspaces:
            set_source(each, number)
        building = [each.start("build", "--json", "-n", "2") for each in workspaces]
        while any(each.poll() is None for each in building):
            # All that no last build of a bystander refers to may go, and that is all there is.
            clearing = [each.start("cache", "gc", "--max-size", "0") for each in bystanders[:2]]
            checking = bystanders[2].start("cache", "verify")
            for each in (*clearing, checking):
                finish(each)
        for each in building:
            report = json.loads(finish(each))
            assert report["built"] + report["cached"] + report["up_to_date"] == len(LABELS)
        for each in workspaces:
            assert each.files() == expected[number]
    empty.doit("cache", "verify")


def write_wide(workspace: Workspace) -> None:
    """Ten packages of actions, each of which reads the outputs of up to three before it, or a source."""
    chance = random.Random(0)
    labels: list[str] = []
    for package in range(10):
        inputs = []
        for number in range(ACTIONS // 10):
            some = chance.sample(labels[-100:], min(len(labels), chance.randrange(4)))
            inputs.append((f"t{number}", {f"in{i}": label for i, label in enumerate(some)} or {"src": "src.txt"}))
            labels.append(f"models/p{package}:t{number}")
        build_file = WIDE.format(inputs=inputs)
        workspace.write(
            {f"models/p{package}/{name}": text for name, text in (("BUILD.py", build_file), ("make.py", JOIN), ("src.txt", f"{package}\n"))}
        )


def contents(store: Path) -> tuple[dict[str, bytes], dict[str, object]]:
    """The blobs of a store, and the results by key, without what tells of the run."""
    blobs = {path.name: path.read_bytes() for path in store.glob("blobs/*/*")}
    results = {path.stem: json.loads(path.read_bytes())["outputs"] for path in store.glob("actions/*/*.json")}
    return blobs, results


def test_eight_actions_at_a_time_give_what_one_at_a_time_gives(empty: Workspace, tmp_path: Path) -> None:
    write_wide(empty)
    one = empty.clone(tmp_path / "one", tmp_path / "store of one")
    eight = empty.clone(tmp_path / "eight", tmp_path / "store of eight")
    for workspace, processes in ((one, "1"), (eight, "8")):
        report = json.loads(workspace.doit("build", "--json", "-n", processes).stdout)
        assert report["built"] == ACTIONS
    assert one.files() == eight.files()
    assert len(one.files()) == ACTIONS
    assert contents(one.store) == contents(eight.store)


def test_ctrl_c_stops_what_runs_and_tells_what_was_done(empty: Workspace) -> None:
    write_mixed(empty)
    empty.write(
        {
            "models/y/BUILD.py": """
                from enginewright import python_action
                for n in range(3):
                    python_action(name=f"stubborn{n}", function="make.py:sleep", outputs={"out": "out.txt"})
            """,
            "models/y/make.py": """
                import signal, subprocess, time

                def sleep(inputs, outputs, params):
                    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                        signal.signal(each, signal.SIG_IGN)
                    # In /proc is the number that it has outside a namespace of its own.
                    subprocess.Popen(["sh", "-c", "read pid _ < /proc/self/stat; echo asleep $pid; exec sleep 60"])
                    time.sleep(60)
            """,
        }
    )
    empty.doit("build", "models/x")
    build = empty.start("build", "-n", "3", process_group=0)
    logs = [empty.root / f"build/.enginewright/logs/models/y/stubborn{n}.log" for n in range(3)]
    while not all(log.exists() and log.read_text().endswith("\n") for log in logs):
        time.sleep(0.05)
    clock = time.monotonic()
    os.killpg(build.pid, signal.SIGINT)
    out = finish(build, code=130)
    took = time.monotonic() - clock
    print(f"{took:.2f} s from the signal to the exit")
    assert took < 30  # long before an action would have ended by itself
    assert out.splitlines()[-1].startswith(f"built 0, cached 0, up to date {len(LABELS)}, skipped 0, failed 3 in ")
    assert out.count("FAILED") == 0
    assert empty.leftovers() == []
