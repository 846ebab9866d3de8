"""Builds beside each other, and builds that are interrupted or killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from throwaway import Pipe, Report, Workspace

A, B, C, D = "models/x:a", "models/x:b", "models/x:c", "models/y:d"


def until(condition: Callable[[], object]) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise TimeoutError


def ended(process: int) -> bool:
    """Whether a process is no more, or a zombie that nothing reaps."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


class Slow:
    """A workspace whose models/x:a waits until it is told to go on."""

    def __init__(self, workspace: Workspace, folder: Path) -> None:
        self.workspace = workspace
        self._here, self._go = Pipe(folder / "here"), folder / "go"
        self._started: list[subprocess.Popen[str]] = []
        declared = workspace.read("models/x/BUILD.py").replace(":copy", ":wait", 1)
        params = f'params={{"here": "{self._here.path}", "until": "{self._go}"}}, outputs'
        workspace.write({"models/x/BUILD.py": declared.replace("outputs", params, 1)})

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """`doit`, in a process group of its own, as a shell would start it."""
        self._started.append(self.workspace.start(*arguments, process_group=0))
        return self._started[-1]

    def action(self) -> int:
        """The process that the action has started, once it runs."""
        return int(self._here.wait())

    def go_on(self) -> None:
        self._go.touch()

    def close(self) -> None:
        self._go.touch()
        for process in self._started:
            process.kill()
            process.communicate()


@pytest.fixture
def slow(workspace: Workspace, tmp_path: Path) -> Iterator[Slow]:
    made = Slow(workspace, tmp_path)
    yield made
    made.close()


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    out, err = process.communicate()
    assert "Traceback" not in out + err
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.mark.parametrize("second", [["build", "--json"], ["clean"], ["run", "models/x"], ["cache", "gc"]])
def test_a_second_command_waits_for_the_build_and_says_so(slow: Slow, second: list[str]) -> None:
    first = slow.start("build", "--json")
    slow.action()
    waiting = slow.start(*second)
    assert waiting.stderr is not None
    assert waiting.stderr.readline() == f"waiting for another build in this workspace to end (process {first.pid})\n"
    # What only looks need not wait.
    assert "models/x:a" in slow.workspace.doit("list", "--all", "-s").stdout
    assert waiting.poll() is None
    slow.go_on()
    assert Report.of(finish(first)).built == {A, B, C, D}
    done = finish(waiting)
    assert done.returncode == 0
    if second == ["build", "--json"]:
        assert Report.of(done).up_to_date == {A, B, C, D}
    assert slow.workspace.leftovers() == []


def test_an_input_that_changes_meanwhile_fails_the_action(slow: Slow) -> None:
    build = slow.start("build", "--json", "models/x")
    slow.action()
    slow.workspace.write({"models/x/src.txt": "three\n"})
    slow.go_on()
    report = Report.of(finish(build))
    assert report.failed == {A}
    assert report.actions[A]["reason"] == "its input models/x/src.txt changed while it ran: the result was thrown away; build again"
    assert not list(slow.workspace.store.glob("actions/*/*.json"))


def test_two_workspaces_build_on_one_store(workspace: Workspace, tmp_path: Path) -> None:
    other = workspace.clone(tmp_path / "other")
    for _ in range(3):
        reports = [Report.of(finish(each)) for each in [each.start("build", "--json") for each in (workspace, other)]]
        assert [report.code for report in reports] == [0, 0]
        assert all(report.built | report.cached | report.up_to_date == {A, B, C, D} for report in reports)
        assert workspace.files() == other.files()
        for each in (workspace, other):
            source = each.root / "models/x/src.txt"
            source.write_text(source.read_text() + "again\n")
    assert workspace.leftovers() == other.leftovers() == []


def test_ctrl_c_stops_the_build_and_its_actions(slow: Slow) -> None:
    slow.workspace.build(D)
    build = slow.start("build", "--json")
    action = slow.action()
    os.killpg(build.pid, signal.SIGINT)
    done = finish(build)
    assert done.returncode == 130
    assert "\ninterrupted\n" in done.stderr
    assert ended(action)
    report = Report.of(done)
    assert (report.failed, report.skipped, report.up_to_date) == ({A}, {B, C}, {D})
    assert report.actions[A]["reason"] == "was interrupted"
    assert slow.workspace.files().keys() == {"models/y/d/out.txt"}
    assert slow.workspace.leftovers() == []

    slow.go_on()
    report = slow.workspace.build()
    assert (report.built, report.up_to_date) == ({A, B, C}, {D})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_so_does_what_a_ci_system_or_a_closed_terminal_sends(slow: Slow, number: signal.Signals) -> None:
    build = slow.start("build", "--json")
    action = slow.action()
    build.send_signal(number)
    done = finish(build)
    assert done.returncode == 128 + number
    assert "\ninterrupted\n" in done.stderr
    assert ended(action)
    assert Report.of(done).actions[A]["reason"] == "was interrupted"
    assert slow.workspace.leftovers() == []


def test_ctrl_c_ends_the_wait_for_another_build(slow: Slow) -> None:
    first = slow.start("build", "--json")
    slow.action()
    second = slow.start("build")
    assert second.stderr is not None
    second.stderr.readline()
    os.killpg(second.pid, signal.SIGINT)
    done = finish(second)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
    slow.go_on()
    assert Report.of(finish(first)).built == {A, B, C, D}


def test_ctrl_c_stops_a_run_too(slow: Slow) -> None:
    for arguments in (["run", A], ["run", "-n", "2", A]):
        run = slow.start(*arguments)
        action = slow.action()
        os.killpg(run.pid, signal.SIGINT)
        run.communicate()
        assert run.returncode == -signal.SIGINT
        assert ended(action)
        assert slow.workspace.files() == {}
        assert slow.workspace.leftovers() == []


def test_a_killed_build_loses_what_it_was_at_and_nothing_else(slow: Slow) -> None:
    build = slow.start("build", "-n", "2")
    slow.action()
    until(lambda: "models/y/d/out.txt" in slow.workspace.files())
    build.kill()
    build.communicate()
    assert slow.workspace.files().keys() == {"models/y/d/out.txt"}
    slow.go_on()
    report = slow.workspace.build()
    assert (report.built, report.cached) == ({A, B, C}, {D})


CAREFUL = '''

def careful(inputs, outputs, params):
    """Say so when it runs, and when it has put away what it had; it is asked to once, and in the middle of that not again."""
    import time

    def end(*_):
        raise SystemExit

    signal.signal(signal.SIGTERM, end)
    try:
        shell('echo runs > "$1"', params["here"])
        time.sleep(60)
    finally:
        time.sleep(params["seconds"])
        shell('echo "put away" > "$1"', params["here"])
'''


@pytest.mark.parametrize("seconds", [0.5, 6])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_action_has_time_to_put_away_what_it_has_outside_its_sandbox(
    empty: Workspace, tmp_path: Path, number: signal.Signals, seconds: float
) -> None:
    here = Pipe(tmp_path / "here")
    params = {"here": str(here.path), "seconds": seconds}
    declared = f"python_action(name='a', function='make.py:careful', outputs={{'out': 'out.txt'}}, params={params})\n"
    empty.write({"models/x/BUILD.py": f"from enginewright import python_action\n\n{declared}", "models/x/make.py": empty.make + CAREFUL})
    build = empty.start("build")
    assert here.wait() == "runs"
    build.send_signal(number)
    assert here.wait() == "put away"
    build.communicate()
