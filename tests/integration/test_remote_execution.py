"""Actions on the workers of a real REAPI engine: BuildGrid over PostgreSQL, with two workers of different platforms."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

import cacheservers
from faulty import Faults, proxy
from reapi import engine as reapi
from throwaway import MEASURED, PYPROJECT, Pipe, Report, Workspace

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

BUILD = """
from enginewright import python_action

python_action(name="a", function="make.py:copy", inputs={"in": "in.txt"}, outputs={"out": "a.txt"})
python_action(name="far", function="make.py:copy", inputs={"in": ":a"}, outputs={"out": "far.txt"}, requires=%s)
python_action(name="b", function="make.py:copy", inputs={"in": ":far"}, outputs={"out": "b.txt"})
"""

CHAIN = """
from enginewright import python_action

python_action(name="first", function="make.py:copy", inputs={"in": "in.txt"}, outputs={"out": "first.txt"}, params={"times": 100_000})
python_action(name="second", function="make.py:last", inputs={"in": ":first"}, outputs={"out": "second.txt"})
python_action(name="third", function="make.py:copy", inputs={"in": ":first"}, outputs={"out": "third.txt"})
"""
LAST = """
def last(inputs, outputs, params):
    trace(outputs)
    outputs["out"].write_text(inputs["in"].read_text().splitlines()[-1])
"""

BUILD_MEASURED = (
    MEASURED
    + """
measured(name="a", function="make.py:measure", inputs={"in": "in.txt"}, outputs={"out": "a.txt", "cache": "cache.txt"})
"""
)
MEASURE = """
def measure(inputs, outputs, params):
    trace(outputs)
    text = inputs["in"].read_text()
    offered = outputs["cache"].with_name("cache.txt.previous")
    outputs["out"].write_text(text)
    outputs["cache"].write_text((offered.read_text() if offered.exists() else "") + text)
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[reapi.Engine]:
    """The engine with its two workers; a test that stops either starts it again."""
    if why := reapi.missing():
        assert "CI" not in os.environ, why
        pytest.skip(why)
    with reapi.running([{"gpu_arch": "sm_75"}, {"gpu_arch": "sm_80"}]) as started:
        yield started


@pytest.fixture
def other(engine: reapi.Engine) -> Iterator[reapi.Engine]:
    """The engine, with its server running and both workers started anew at the end, whatever became of them."""
    yield engine
    for worker in engine.workers.values():
        worker.kill()
    if engine.process.poll() is not None:
        engine.start()
    for worker in engine.workers.values():
        worker.start()


@pytest.fixture
def remote(empty: Workspace, engine: reapi.Engine) -> Callable[..., Workspace]:
    """A workspace whose target ``far`` has these requirements, and whose actions may run on the engine."""

    def make(requires: str = "{}", build: str = BUILD, **settings: str) -> Workspace:
        told = {"executor": f"grpc://{engine.address}", **{name.replace("_", "-"): value for name, value in settings.items()}}
        lines = [f"{name} = {value if value[0] in '{[0123456789' else repr(value)}\n" for name, value in told.items()]
        empty.write({
            "pyproject.toml": '[tool.doit]\nloader = "enginewright"\n\n[tool.enginewright.remote]\n' + "".join(lines),
            "models/x/BUILD.py": build % requires if "%" in build else build,
            "models/x/make.py": empty.make,
            "models/x/in.txt": f"{time.time_ns()}\n",  # so that no test finds results of another
        })  # fmt: skip
        return empty

    return make


class Gate:
    """An action, the target ``far``, that says when it runs, and goes on when it is told to."""

    def __init__(self, folder: Path) -> None:
        self._pipe = Pipe(folder / "here")
        self._until = folder / "until"
        params = f'{{}}, params={{"here": "{folder}/here", "until": "{folder}/until"}}'
        self.build = params, BUILD.replace('"make.py:copy", inputs={"in": ":a"}', '"make.py:wait", inputs={"in": ":a"}')

    def wait(self) -> int:
        """Wait until it runs, and return its process."""
        return int(self._pipe.wait())

    def open(self) -> None:
        self._until.touch()


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


def refusal(workspace: Workspace) -> str:
    """Why the target ``far`` was not even begun."""
    report = Report.of(workspace.doit("build", "--json", code=1))
    assert report.failed == {"models/x:far"}
    return str(report.actions["models/x:far"]["reason"])


def ran(engine: reapi.Engine) -> Counter[str]:
    """How many actions each worker has run so far."""
    return Counter({name: len(worker.ran()) for name, worker in engine.workers.items()})


def unfinished(engine: reapi.Engine) -> set[reapi.Span]:
    """What workers have begun and not ended, what they were killed over among it."""
    return {span for worker in engine.workers.values() for span in worker.ran() if not span.end}


def log(workspace: Workspace, name: str = "far") -> str:
    return workspace.read(f"build/.enginewright/logs/models/x/{name}.log")


def wait_for(what: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.05)


@pytest.mark.parametrize(("arch", "worker"), [("sm_75", "worker-0"), ("sm_80", "worker-1")])
def test_what_this_machine_lacks_runs_on_the_worker_that_has_it(
    remote: Callable[..., Workspace], engine: reapi.Engine, arch: str, worker: str
) -> None:
    workspace, before = remote(f'{{"gpu": "{arch}"}}'), ran(engine)
    report = workspace.build()
    assert report.built == {"models/x:a", "models/x:far", "models/x:b"}
    assert ran(engine) - before == Counter({worker: 1})
    assert workspace.read("build/models/x/b/b.txt") == workspace.read("models/x/in.txt")
    assert log(workspace) == "copying in\n"
    record = report.actions["models/x:far"]
    assert record["executor"] == f"grpc://{engine.address}" and record["host"] and record["peak_rss"] > 1 << 20
    assert not report.actions["models/x:a"]["executor"]
    host = record["host"]
    assert f"ran on {host}, a worker of grpc://{engine.address}, in build" in workspace.doit("why", "models/x:far").stdout
    workspace.doit("report")
    assert f">built on {host}<" in workspace.read("build/report.html")
    assert workspace.build().up_to_date == report.built
    (workspace.root / "build/models/x/far/far.txt").unlink()
    assert workspace.build().cached == {"models/x:far"}


def test_a_plan_counts_on_the_executor(remote: Callable[..., Workspace]) -> None:
    workspace = remote('{"gpu": "sm_75"}')
    planned = workspace.doit("plan").stdout
    assert "to skip 0" in planned and "models/x:far" in planned


def test_never_leaves_out_what_this_machine_cannot_run(remote: Callable[..., Workspace], engine: reapi.Engine) -> None:
    workspace, before = remote('{"gpu": "sm_75"}'), ran(engine)
    report = workspace.build("--remote-execution=never")
    assert report.skipped == {"models/x:far", "models/x:b"} and ran(engine) == before
    assert report.actions["models/x:far"]["reason"].startswith("needs a GPU of architecture sm_75")


def test_always_and_the_exceptions_to_it(remote: Callable[..., Workspace], engine: reapi.Engine) -> None:
    workspace, before = remote(execution="always,models/x:b=never"), ran(engine)
    report = workspace.build()
    assert {label for label, each in report.actions.items() if each["executor"]} == {"models/x:a", "models/x:far"}
    assert sum((ran(engine) - before).values()) == 2


def test_a_choice_that_is_none(remote: Callable[..., Workspace]) -> None:
    said = remote().refuse("build", "--remote-execution=sometimes")
    assert "there is no 'sometimes' (there are: always, auto, never)" in said


def test_a_property_that_no_worker_knows_is_an_error_with_those_there_are(remote: Callable[..., Workspace]) -> None:
    workspace = remote('{"platform.colour": "blue"}')
    reason = refusal(workspace)
    assert "colour" in reason and "Known properties are" in reason and "gpu-arch" in reason


def test_an_action_that_waits_in_vain_for_a_worker(remote: Callable[..., Workspace]) -> None:
    workspace = remote('{"platform.pool": "empty"}', queue_timeout="1")
    assert refusal(workspace) == "no worker of the remote executor took it in 1 s; it asks for pool=empty"


def test_a_failure_is_told_as_if_it_had_happened_here_and_is_not_kept(remote: Callable[..., Workspace], engine: reapi.Engine) -> None:
    workspace = remote(
        "{}", BUILD.replace('"make.py:copy", inputs={"in": ":a"}', '"make.py:fail", inputs={"in": ":a"}'), execution="always"
    )
    for _ in range(2):  # the engine keeps what failed, too
        before = ran(engine)
        report = workspace.build(code=1)
        assert "there is no such thing" in report.actions["models/x:far"]["reason"]
        assert log(workspace).startswith("about to fail")
        assert "WARNING" not in report.text
        assert not (workspace.root / "build/models/x/far/far.txt").exists()
        assert sum((ran(engine) - before).values()) >= 1


def test_an_action_that_takes_too_long(remote: Callable[..., Workspace], gate: Gate) -> None:
    workspace = remote(*gate.build, execution="models/x:far=always", timeout="3")
    assert re.match(r"was stopped on worker-\d after 3 s", refusal(workspace))


def test_a_worker_with_another_toolchain_refuses(remote: Callable[..., Workspace]) -> None:
    workspace = remote('{"platform.gpu-arch": "sm_75"}, packages=["xxhash"]', workers="['workers.json']")
    described = subprocess.run(
        [sys.executable, "-m", "enginewright.execute.run_action", "--describe", "xxhash"], capture_output=True, text=True, check=True
    ).stdout  # fmt: skip
    workspace.write({"workers.json": re.sub(r'"xxhash": "[^"]*"', '"xxhash": "0.1"', described)})
    reason = refusal(workspace)
    assert "another toolchain than the action's key names: xxhash is" in reason and "0.1 in the key" in reason
    workspace.write({"workers.json": described})
    assert workspace.build().built == {"models/x:far", "models/x:b"}


def test_a_distribution_that_only_workers_have(remote: Callable[..., Workspace]) -> None:
    workspace = remote('{"gpu": "sm_75"}, packages=["tensorrt"]', workers="['workers.json']")
    workspace.write({"workers.json": "{}"})
    assert "is not what `python -m enginewright.execute.run_action --describe` writes" in workspace.refuse("build")
    workspace.write(
        {"workers.json": '{"platform": "linux-x86_64-cpython-3.11.0", "gpus": ["sm_75"], "toolchains": {"tensorrt": {"tensorrt": "10.9"}}}'}
    )
    reason = refusal(workspace)
    assert "'tensorrt' is not installed" in reason  # on the worker: here its key could be told


def test_ctrl_c_calls_off_what_runs_there(remote: Callable[..., Workspace], engine: reapi.Engine, gate: Gate) -> None:
    workspace, before = remote(*gate.build, execution="models/x:far=always"), unfinished(engine)
    running = workspace.start("build")
    process = gate.wait()
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    wait_for(lambda: not Path(f"/proc/{process}").exists(), 20)
    wait_for(lambda: unfinished(engine) <= before, 20)


def test_no_server(remote: Callable[..., Workspace]) -> None:
    workspace = remote('{"gpu": "sm_75"}', executor="grpc://127.0.0.1:9")
    report = workspace.build()
    assert report.built == {"models/x:a"} and report.skipped == {"models/x:far", "models/x:b"}
    assert report.text.count("WARNING: ") == 1 and "grpc://127.0.0.1:9 cannot be reached" in report.text
    assert report.actions["models/x:far"]["reason"].endswith("; grpc://127.0.0.1:9 is not there")
    named = workspace.doit("build", "models/x:far", code=3).stderr
    assert "ERROR: models/x:far needs a GPU of architecture sm_75" in named and "; grpc://127.0.0.1:9 is not there" in named


def test_inputs_that_the_storage_has_need_not_come_here(remote: Callable[..., Workspace], tmp_path: Path) -> None:
    first = remote('{"gpu": "sm_75"}')
    first.build()
    fresh = first.clone(tmp_path / "fresh", tmp_path / "fresh-store")
    fresh.write({"models/x/BUILD.py": BUILD % '{"gpu": "sm_75"}, params={"times": 2}'})
    assert fresh.build("models/x:far").built == {"models/x:far"}
    assert not (fresh.root / "build/models/x/a/a.txt").exists()
    assert fresh.read("build/models/x/far/far.txt") == 2 * first.read("models/x/in.txt")
    assert fresh.build("models/x:far").built == set()
    assert fresh.build().built == {"models/x:b"}


def test_what_no_action_here_needs_stays_there(remote: Callable[..., Workspace], engine: reapi.Engine) -> None:
    read = Counter[str]()

    def count(method: str, data: bytes) -> bytes:
        read[method] += len(data)
        return data

    with proxy(engine.address, Faults(mangle=count)) as address:
        workspace = remote(build=CHAIN, executor=f"grpc://{address}", execution="always,models/x:third=never")
        workspace.write({"models/x/make.py": workspace.make + LAST})
        first, line = workspace.root / "build/models/x/first/first.txt", workspace.read("models/x/in.txt")
        assert workspace.build("models/x:second").built == {"models/x:first", "models/x:second"}
        assert workspace.read("build/models/x/second/second.txt") == line.strip()
        assert not first.exists() and read["Read"] < 10_000
        assert workspace.build("models/x:second").up_to_date == {"models/x:first", "models/x:second"}
        assert f", a worker of grpc://{address}" in workspace.doit("why", "models/x:second").stdout
        assert workspace.build("models/x:third").built == {"models/x:third"}
        assert first.read_text() == 100_000 * line == workspace.read("build/models/x/third/third.txt")
        assert read["Read"] < len(first.read_bytes()) + 20_000


def test_what_was_left_there_and_lost_is_made_again(remote: Callable[..., Workspace], engine: reapi.Engine) -> None:
    workspace = remote(build=CHAIN, execution="always,models/x:third=never", download="minimal")
    workspace.write({"models/x/make.py": workspace.make + LAST})
    assert workspace.build("models/x:second").built == {"models/x:first", "models/x:second"}
    assert not (workspace.root / "build/models/x/second").exists()
    content = 100_000 * workspace.read("models/x/in.txt")
    (blob,) = (engine.folder / "cas").rglob(f"*{hashlib.sha256(content.encode()).hexdigest()[2:]}*")
    blob.unlink()
    assert workspace.build("models/x:third").built >= {"models/x:first", "models/x:third"}
    assert workspace.read("build/models/x/first/first.txt") == content


def test_what_the_last_run_offers_goes_along(remote: Callable[..., Workspace], engine: reapi.Engine, tmp_path: Path) -> None:
    workspace = remote(build=BUILD_MEASURED, execution="always")
    workspace.write({"models/x/make.py": workspace.make + MEASURE})
    for word in ("one,", f"{time.time_ns()},"):
        workspace.write({"models/x/in.txt": word})
        assert workspace.build().built == {"models/x:a"}
    assert workspace.read("build/models/x/a/cache.txt") == f"one,{word}"
    # What came of it is the result of the action itself, for everybody.
    fresh = workspace.clone(tmp_path / "fresh", tmp_path / "fresh-store")
    assert fresh.build().cached == {"models/x:a"}
    assert fresh.read("build/models/x/a/cache.txt") == f"one,{word}"
    # Who may not write it there runs the action as it is.
    workspace.write({"models/x/in.txt": f"{time.time_ns()},"})
    assert workspace.build("--remote-mode=read").built == {"models/x:a"}
    assert workspace.read("build/models/x/a/cache.txt") == workspace.read("models/x/in.txt")
    assert fresh.build().up_to_date == {"models/x:a"}


def test_an_executor_that_is_one_process(empty: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "casd"
    folder.mkdir()
    with cacheservers.running(cacheservers.casd_that_runs_actions(folder)) as server:
        empty.write({
            "pyproject.toml": f'{PYPROJECT}[tool.enginewright.remote]\nexecutor = "grpc://{server.address}"\nexecution = "always"\n',
            "models/x/BUILD.py": BUILD % "{}",
            "models/x/make.py": empty.make.replace("    trace(outputs)\n", ""),  # what runs there cannot reach the test
            "models/x/in.txt": "some text\n",
        })  # fmt: skip
        report = Report.of(empty.doit("build", "--json"))
        assert report.built == {"models/x:a", "models/x:far", "models/x:b"}
        assert {each["executor"] for each in report.actions.values()} == {f"grpc://{server.address}"}
        assert empty.read("build/models/x/b/b.txt") == "some text\n" and log(empty) == "copying in\n"
        fresh = empty.clone(tmp_path / "fresh", tmp_path / "fresh-store")
        assert Report.of(fresh.doit("build", "--json")).cached == report.built


def test_no_server_that_is_required(remote: Callable[..., Workspace]) -> None:
    said = remote('{"gpu": "sm_75"}', executor="grpc://127.0.0.1:9").refuse("build", "--remote-required")
    assert "grpc://127.0.0.1:9 cannot be reached" in said and said.endswith("(--remote-required)")


def test_calls_that_fail_are_made_again(remote: Callable[..., Workspace], engine: reapi.Engine) -> None:
    faults = Faults(fails=lambda method, number: number % 5 == 0)
    with proxy(engine.address, faults) as address:
        workspace = remote('{"gpu": "sm_75"}', executor=f"grpc://{address}")
        report = workspace.build()
    assert report.built == {"models/x:a", "models/x:far", "models/x:b"}
    assert sum(faults.calls.values()) > 10 and "WARNING" not in report.text
    assert workspace.read("build/models/x/b/b.txt") == workspace.read("models/x/in.txt")


def test_an_executor_that_is_full_is_asked_again(remote: Callable[..., Workspace], engine: reapi.Engine) -> None:
    # More often than a call is made that fails for another reason.
    full = {"FindMissingBlobs": 6, "Execute": 1}
    faults = Faults(code=grpc.StatusCode.RESOURCE_EXHAUSTED)
    faults.fails = lambda method, number: faults.calls[method] <= full.get(method, 0)
    with proxy(engine.address, faults) as address:
        workspace = remote('{"gpu": "sm_75"}', executor=f"grpc://{address}")
        report = workspace.build()
    assert report.built == {"models/x:a", "models/x:far", "models/x:b"} and "WARNING" not in report.text
    assert all(faults.calls[method] > times for method, times in full.items())


def test_an_executor_that_stays_full_counts_as_one_without_workers(remote: Callable[..., Workspace], engine: reapi.Engine) -> None:
    faults = Faults(fails=lambda method, number: method == "Execute", code=grpc.StatusCode.RESOURCE_EXHAUSTED)
    with proxy(engine.address, faults) as address:
        workspace = remote('{"gpu": "sm_75"}', executor=f"grpc://{address}", queue_timeout="1")
        assert "no worker of the remote executor took it in 1 s" in refusal(workspace)


def test_bytes_that_are_not_those_of_the_result_are_refused(remote: Callable[..., Workspace], engine: reapi.Engine) -> None:
    def mangle(method: str, data: bytes) -> bytes:
        return data.replace(b"1", b"2") if method == "Read" else data

    with proxy(engine.address, Faults(mangle=mangle)) as address:
        workspace = remote("{}", executor=f"grpc://{address}", execution="models/x:far=always")
        report = Report.of(workspace.doit("build", "--json"))
    assert "gave other bytes than" in report.text and report.text.count("WARNING") == 1
    assert not report.actions["models/x:far"]["executor"]  # it was run here after all
    assert workspace.read("build/models/x/b/b.txt") == workspace.read("models/x/in.txt")


def test_the_same_action_of_several_builds_runs_once(remote: Callable[..., Workspace], engine: reapi.Engine, tmp_path: Path) -> None:
    first = remote("{}", execution="always")
    workspaces = [first, *(first.clone(tmp_path / f"clone-{i}", tmp_path / f"store-{i}") for i in range(3))]
    before = ran(engine)
    started = [workspace.start("build", "--json") for workspace in workspaces]
    for running in started:
        _, err = running.communicate(timeout=100)
        assert running.returncode == 0, err
    assert sum((ran(engine) - before).values()) == 3
    assert len({workspace.read("build/models/x/b/b.txt") for workspace in workspaces}) == 1


def test_check_says_which_workers_there_are_for_the_targets(remote: Callable[..., Workspace]) -> None:
    workspace = remote('{"gpu": "sm_75"}, packages=["xxhash"]', queue_timeout="60")
    steps = json.loads(workspace.doit("remote", "check", "--json").stdout)["steps"]
    told = {step["text"].partition(": ")[0]: step["text"] for step in steps if step["name"] == "worker"}
    assert told["any worker"] == "any worker: not tried: with execution auto no action asks for one" and len(told) == 2
    assert re.fullmatch(r"gpu-arch=sm_75: worker-0 on \S+, GPU: sm_75, toolchain as in keys", told["gpu-arch=sm_75"])


def test_check_says_what_is_wrong_with_workers(remote: Callable[..., Workspace]) -> None:
    workspace = remote('{"gpu": "sm_75"}, packages=["xxhash"]', workers="['workers.json']", queue_timeout="60")
    described = workspace.doit("remote", "describe", "--property=gpu-arch=sm_75").stdout
    workspace.write({"workers.json": re.sub(r'"xxhash": "[^"]*"', '"xxhash": "0.1"', described)})
    done = workspace.doit("remote", "check", code=1)
    assert re.search(r"FAILED +worker .* gpu-arch=sm_75: .*: xxhash is \S+ there, and 0.1 in keys", done.stdout)
    workspace.write({"workers.json": described})
    assert "FAILED" not in workspace.doit("remote", "check").stdout
    everywhere = workspace.doit("remote", "check", "--remote-execution=models/x:a=always").stdout
    assert re.search(r"ok +worker +\d+ ms, any worker: worker-", everywhere)
    assert workspace.build().built == {"models/x:a", "models/x:far", "models/x:b"}


def test_check_says_when_there_is_no_worker(remote: Callable[..., Workspace]) -> None:
    workspace = remote('{"platform.pool": "empty"}', queue_timeout="1")
    assert "pool=empty: no worker of the remote executor took it in 1 s" in workspace.doit("remote", "check", code=1).stdout
    assert "pool=none: no worker" in workspace.refuse("remote", "describe", "--property=pool=none")


def test_burst_benchmark_runs_and_meets_its_targets(engine: reapi.Engine, tmp_path: Path) -> None:
    out = tmp_path / "burst.json"
    done = subprocess.run([sys.executable, BENCHMARKS / "burst.py", "--quick", "--json", out], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [row for table in json.loads(out.read_text())["tables"] for row in table["rows"]]
    assert len(rows) >= 5 and all(row["met"] is not False for row in rows), done.stdout


def test_a_worker_that_dies_is_replaced_by_another(remote: Callable[..., Workspace], other: reapi.Engine, gate: Gate) -> None:
    workspace, before = remote(*gate.build, execution="models/x:far=always"), unfinished(other)
    running = workspace.start("build", "--json")
    gate.wait()
    (span,) = unfinished(other) - before
    first = next(worker for worker in other.workers.values() if span in worker.ran())
    first.kill()
    gate.open()
    _, err = running.communicate(timeout=100)
    assert running.returncode == 0, err
    second = next(worker for worker in other.workers.values() if worker is not first)
    assert second.ran()[-1].action == span.action
    assert workspace.read("build/models/x/b/b.txt") == workspace.read("models/x/in.txt")


def test_a_server_that_goes_away_for_good(remote: Callable[..., Workspace], other: reapi.Engine, gate: Gate) -> None:
    workspace = remote(*gate.build, execution="models/x:far=always")
    running = workspace.start("build", "--json")
    gate.wait()
    other.stop()
    gate.open()
    out, err = running.communicate(timeout=100)
    assert running.returncode == 0, err
    assert err.count("what this machine can run is run here") == 1
    (record,) = (each for each in json.loads(out)["actions"] if each["label"] == "models/x:far")
    assert not record["executor"]
    assert workspace.read("build/models/x/b/b.txt") == workspace.read("models/x/in.txt")


def test_a_server_that_is_started_anew_goes_on_with_what_it_had(remote: Callable[..., Workspace], other: reapi.Engine, gate: Gate) -> None:
    workspace = remote(*gate.build, execution="models/x:far=always")
    running = workspace.start("build")
    gate.wait()
    other.stop()
    other.start()
    gate.open()
    out, err = running.communicate(timeout=100)
    assert running.returncode == 0, out + err
    assert "WARNING" not in err
    assert workspace.read("build/models/x/b/b.txt") == workspace.read("models/x/in.txt")
