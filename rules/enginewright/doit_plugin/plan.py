"""``doit plan``: what a build would do, why, and what it would take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from doit.exceptions import InvalidCommand

from enginewright.doit_plugin.build import OPT_COMPRESSION, OPT_PROCESSES, choose_compression
from enginewright.doit_plugin.causes import as_json, first
from enginewright.doit_plugin.command import Command
from enginewright.doit_plugin.options import OPT_JSON
from enginewright.doit_plugin.session import foresee, open_build, select, user_errors
from enginewright.execute.ledger import LEDGER, fold, read
from enginewright.execute.plan import Plan, Step, make_plan


class PlanCommand(Command):
    """Judges as `doit build` does, and says what that would lead to. Changes nothing."""

    name = "plan"
    doc_purpose = "say what a build would do, why, and what it would take"
    doc_usage = "[LABEL | PACKAGE ...]"
    doc_description = (
        "Lists what would run, be restored or be skipped, each with its reason, and how many actions are up to date. What depends on"
        " something that runs may run, unless that makes the same bytes again. Time, memory and size are those of the target's"
        " last run, or else the median of the same kind of action."
    )
    cmd_options = (OPT_PROCESSES, OPT_COMPRESSION, OPT_JSON)

    def execute(self, params: Any, args: list[str]) -> int:
        """Print the plan for what ``args`` select."""
        self.loader.setup(params)
        processes = params["num_process"]
        if processes < 1:
            raise InvalidCommand(f"-n {processes}: at least one action must run at a time")
        choose_compression(params)
        build = open_build(Path.cwd(), look_only=True)
        wanted = build.graph.closure(select(build, args))
        pending = foresee(build, wanted)
        with user_errors():
            plan = make_plan(build, wanted, pending, fold(read(Path(LEDGER))), processes)
        if params["json"]:
            print(json.dumps(_as_json(plan, processes), indent=1))
        else:
            print(*_lines(plan, processes), sep="\n")
        return 0


def _lines(plan: Plan, processes: int) -> Iterator[str]:
    for step in plan.steps:
        yield f"{step.status:11} {step.label}: {step.reason or first(step.causes)}{_expected(step)}"
    counts = {status: sum(step.status == status for step in plan.steps) for status in ("to run", "may run", "to restore", "to skip")}
    yield ", ".join(f"{status} {number}" for status, number in {**counts, "up to date": plan.up_to_date}.items())
    if plan.unknown:
        yield f"time: unknown for {plan.unknown} of them, which are left out of what follows"
    if plan.seconds:
        yield f"time: at most {_duration(plan.seconds)} with -n {processes}"
        yield f"critical path: {_duration(plan.critical_seconds)}, {' -> '.join(map(str, plan.critical_path))}"
    if plan.output_bytes:
        yield f"disk: {_size(plan.store_bytes)} in the store, {_size(plan.output_bytes)} below build/"


def _expected(step: Step) -> str:
    if step.status not in ("to run", "may run"):
        return ""
    known = step.estimate
    if known is None:
        return " (time and memory unknown)"
    return f" ({_duration(known.seconds)}, {_size(known.peak_rss)} of memory: {known.basis})"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _size(number: float) -> str:
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def _as_json(plan: Plan, processes: int) -> dict[str, Any]:
    steps = [_step_as_json(step) for step in plan.steps]
    return {**vars(plan), "processes": processes, "steps": steps, "critical_path": list(map(str, plan.critical_path))}


def _step_as_json(step: Step) -> dict[str, Any]:
    (causes,) = as_json({"": step.causes}).values()
    return {**vars(step), "label": str(step.label), "causes": causes, "estimate": step.estimate and vars(step.estimate)}
