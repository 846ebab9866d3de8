"""One ``doit build`` in which something may be stale: judge, run what must run, sum up."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from doit.control import TaskControl
from doit.dependency import Dependency, DependencyStatus
from doit.exceptions import InvalidCommand
from doit.runner import ERROR, MThreadRunner
from doit.task import Stream

from enginewright.doit_plugin.build import summary_line
from enginewright.doit_plugin.command import interrupted
from enginewright.doit_plugin.database import Database
from enginewright.doit_plugin.nodes import nodes, skip_ignored
from enginewright.doit_plugin.reporter import BuildReporter, describe
from enginewright.doit_plugin.session import lock, open_build, select, user_errors
from enginewright.doit_plugin.units import show_size
from enginewright.errors import in_words
from enginewright.execute.build import Build
from enginewright.execute.memory import STATE
from enginewright.execute.outcome import Outcome, Status
from enginewright.graph.label import Label
from enginewright.store.snapshot import Snapshot

if TYPE_CHECKING:
    from enginewright.remote.cache import Traffic

_QUIET = 5.0
"""Seconds after which it is said what is waited for."""

_NO_TARGETS = (
    "there are no targets: a BUILD.py declares them, in a folder that matches the setting packages of [tool.enginewright] in"
    " pyproject.toml [default: models/* and images/*]"
)


def build_selection(args: list[str], params: Mapping[str, Any], snapshot: Snapshot, started: float) -> int:
    """Build what ``args`` select, with the options ``params`` of the command, and return the exit code.

    ``started`` is the time by the monotonic clock from which the build is counted.
    """
    out = sys.stderr if params["json"] else sys.stdout
    with lock(Path.cwd()):
        build = _open(params, snapshot)
        if not build.graph.targets:
            print(_NO_TARGETS, file=sys.stderr)
        chosen = select(build, args)
        wanted = build.graph.closure(chosen)
        if params["locked"]:
            from enginewright.doit_plugin.lock import refuse_unlocked

            refuse_unlocked(Path.cwd(), build, wanted)
        asked = build.graph.unfold(chosen)
        named = [Label.parse(text) for text in args if ":" in text]
        try:
            try:
                code = _run(build, wanted, asked, named, params, out)
                build.finish(_Waiting())
            finally:
                build.close(args)
        except KeyboardInterrupt as by:
            code = interrupted(by)
        except OSError as error:
            print(f"ERROR: {in_words(error)}", file=sys.stderr)
            code = ERROR
    if build.sharing is not None and build.sharing.unwritten:
        code = _report(build.sharing.unwritten, code, build.sharing.cache.required)
    outcomes, settled = _conclude(build, wanted)
    seconds = time.monotonic() - started
    if params["json"]:
        outcomes += [Outcome(label, Status.UP_TO_DATE, key=build.last_key(label)) for label in settled]
        json.dump(_as_json(build, outcomes, seconds), sys.stdout, indent=1)
        print()
        settled = []
    counts = Counter(outcome.status.value for outcome in outcomes)
    counts[Status.UP_TO_DATE.value] += len(settled)
    if build.sharing is not None:
        print(_traffic_line(build.sharing.cache.traffic), file=out)
    print(summary_line(counts, seconds), file=out)
    return code


class _Waiting:
    """Says, now and then, how many results have yet to be written to the remote cache when nothing else is left to do."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _QUIET

    def __call__(self, left: int) -> None:
        if time.monotonic() >= self._next:
            self._next += _QUIET
            print(f"writing {left} result{'s' * (left > 1)} to the remote cache", file=sys.stderr, flush=True)


@contextmanager
def _telling(build: Build) -> Iterator[None]:
    """Say, now and then, what has come from the remote cache while targets are judged."""
    if build.sharing is None:
        yield
        return
    traffic, ended = build.sharing.cache.traffic, threading.Event()

    def tell() -> None:
        while not ended.wait(_QUIET):
            print(f"remote cache: {traffic.hits} hits and {show_size(traffic.bytes_down)} so far", file=sys.stderr, flush=True)

    telling = threading.Thread(target=tell, name="telling", daemon=True)
    telling.start()
    try:
        yield
    finally:
        ended.set()
        telling.join()


def _report(unwritten: list[tuple[Label, str]], code: int, required: bool) -> int:
    """Say which results the remote cache does not have now; the exit code of a build that would have ended with ``code``."""
    label, reason = unwritten[0]
    more = f" and {len(unwritten) - 1} more" if len(unwritten) > 1 else ""
    print(f"{'ERROR' if required else 'WARNING'}: not written to the remote cache: {label}{more}: {reason}", file=sys.stderr)
    return code or (ERROR if required else 0)


def _traffic_line(traffic: Traffic) -> str:
    down = f"{traffic.blobs_down} blobs, {show_size(traffic.bytes_down)} down"
    up = f"{traffic.blobs_up} blobs, {show_size(traffic.bytes_up)} up"
    trouble = [f"{count} {what}" for count, what in ((traffic.refused, "refused"), (traffic.failures, "failed")) if count]
    return ", ".join([f"remote cache: {traffic.hits} hits, {traffic.misses} misses", down, up, *trouble])


def _open(params: Mapping[str, Any], snapshot: Snapshot) -> Build:
    pins = None
    if params["locked"]:
        from enginewright.doit_plugin.lock import read_lock
        from enginewright.release.pins import pins_of

        pins = pins_of(read_lock(Path.cwd()))
    return open_build(Path.cwd(), snapshot=snapshot, processes=params["num_process"], options=params, pins=pins)


class _Ignored(Dependency):  # type: ignore[misc]  # doit has no type information
    """doit's database, asked only for what `doit ignore` put into it: what is up to date is the build's own affair."""

    def get_status(self, task: Any, tasks_dict: Mapping[str, Any], get_log: bool = False) -> DependencyStatus:
        status = DependencyStatus(get_log)
        status.status = "up-to-date" if task.target.action is not None and task.current() else "run"
        return status

    def save_success(self, task: Any, result_hash: str | None = None) -> None:
        pass

    def remove_success(self, task: Any) -> None:
        pass

    def close(self) -> None:
        pass


def _run(build: Build, wanted: list[Label], asked: set[Label], named: Iterable[Label], params: Mapping[str, Any], out: TextIO) -> int:
    with user_errors(), _telling(build):
        pending = build.pending(wanted, asked)
    for label in named:
        if reason := build.cannot_run(label):
            raise InvalidCommand(f"{label} {reason}")
    if pending or params["verbose"]:
        with user_errors():
            isolation = build.isolation
        if params["verbose"]:
            print(f"sandbox: {isolation}", file=out)
    database = _Ignored(Database, f"{STATE}/doit.json")
    tasks = nodes(build, pending)
    skip_ignored(build, tasks, database)
    for label, outcome in build.outcomes.items():
        action = build.graph.targets[label].action
        if action is not None and outcome.status in (Status.CACHED, Status.SKIPPED):
            print(f"{'':8}{describe(outcome, action.mnemonic)}", file=out)
    if not pending:
        return 0
    if len(tasks) > len(remaining := [label for label in pending if label not in build.outcomes]):
        tasks = nodes(build, remaining)
    control = TaskControl(tasks)
    control.process([task.name for task in tasks])
    runner = MThreadRunner(
        database,
        BuildReporter(out, {"verbose": params["verbose"]}),
        params["continue"],
        stream=Stream(2),
        num_process=min(params["num_process"] + build.remote_jobs, len(tasks)),  # each is a thread
    )
    code = runner.run_all(control.task_dispatcher())
    # doit calls a task whose dependency failed an error; what went wrong is the failure before it.
    failed = any(outcome.status is Status.FAILED for outcome in build.outcomes.values())
    return 1 if code == ERROR and failed else int(code)


def _conclude(build: Build, wanted: list[Label]) -> tuple[list[Outcome], list[Label]]:
    """The outcomes of the actions of ``wanted``, which are in order of dependency, and those that were known to be up to date.

    What doit did not come to was skipped.
    """
    blocked: dict[Label, str] = {}
    outcomes, settled = [], []
    for label in wanted:
        if label in build.graph.groups:
            continue
        outcome = build.outcomes.get(label)
        if outcome is None and build.done(label):
            settled.append(label)
            continue
        if outcome is None:
            reason = next((blocked[dep] for dep in build.graph.deps[label] if dep in blocked), "was not reached")
            outcome = Outcome(label, Status.SKIPPED, reason=reason)
            if reason != "was not reached":
                blocked[label] = reason
        elif outcome.status is Status.FAILED:
            blocked[label] = f"depends on {label}, which failed"
        outcomes.append(outcome)
    return outcomes, settled


def _as_json(build: Build, outcomes: list[Outcome], seconds: float) -> dict[str, Any]:
    summary: dict[str, Any] = {status.value.replace(" ", "_"): sum(outcome.status is status for outcome in outcomes) for status in Status}
    if build.sharing is not None:
        summary["remote"] = vars(build.sharing.cache.traffic)
    return {**summary, "seconds": round(seconds, 3), "actions": [_action_as_json(build, outcome) for outcome in outcomes]}


def _action_as_json(build: Build, outcome: Outcome) -> dict[str, Any]:
    action = build.graph.targets[outcome.label].action
    assert action is not None
    record: dict[str, Any] = {"label": str(outcome.label), "mnemonic": action.mnemonic, "status": outcome.status.value}
    if outcome.reason:
        record["reason"] = outcome.reason
    if outcome.status in (Status.BUILT, Status.FAILED) and build.log(outcome.label).exists():
        record["log"] = str(build.log(outcome.label).relative_to(Path.cwd()))
    result = build.record(outcome.key) if outcome.key else None
    if result is not None:
        record |= {
            "key": result.key,
            "seconds": round(result.seconds, 3),
            "peak_rss": result.peak_rss,
            "sandbox": result.sandbox,
            "host": result.host,
            "executor": result.executor,
            "outputs": [{"path": each.path, "digest": each.digest, "size": each.size} for each in result.outputs.values()],
        }
    return record
