"""The plan of a build: what it would do, why, and what that would take. Nothing is changed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from enginewright.execute.build import Build
from enginewright.execute.explain import outlook, reasons
from enginewright.execute.history import Estimate, History
from enginewright.execute.ledger import Entry
from enginewright.graph.cause import Cause
from enginewright.graph.label import Label
from enginewright.graph.schedule import contracted, critical_path, makespan


@dataclass(frozen=True)
class Step:
    """What the next build would do with one target: ``status`` is "to run", "may run", "to restore" or "to skip".

    A target may run when one that it depends on is to run: if that makes the same bytes as before, it does not. ``reason`` is why
    it is skipped; ``estimate`` is None where nothing is known.
    """

    label: Label
    mnemonic: str
    status: str
    causes: Sequence[Cause]
    reason: str
    estimate: Estimate | None


@dataclass(frozen=True)
class Plan:
    """``steps`` are in dependency order, ``up_to_date`` is how many actions are left alone.

    The rest supposes that all that may run does, and that what nothing is known of (``unknown`` actions) takes nothing:
    ``seconds`` on the processes asked for; ``critical_path``, the chain that no number of processes makes shorter than
    ``critical_seconds``; the bytes that are written to the store and below build/ (where large files are links to the store).
    """

    steps: Sequence[Step]
    up_to_date: int
    unknown: int
    seconds: float
    critical_path: Sequence[Label]
    critical_seconds: float
    store_bytes: int
    output_bytes: int


def make_plan(build: Build, labels: Sequence[Label], pending: Collection[Label], last: dict[str, Entry], processes: int) -> Plan:
    """The plan for targets given with all they depend on, dependencies first.

    ``build`` only looks, and has judged them, with those skipped that cannot be built; ``pending`` are those that may have to run,
    ``last`` the last entries of the ledger.
    """
    actions = [label for label in labels if label not in build.graph.groups]
    may_run = set(pending)
    found = {label: status for label in actions if (status := outlook(build, may_run, label)) != "up to date"}
    causes = reasons(build, found, last)
    history = History(last, build.record)
    steps = []
    for label, status in found.items():
        action = build.graph.targets[label].action
        assert action is not None
        key = build.last_key(label) if status == "to restore" else build.previous_key(label)
        estimate = None if status == "to skip" else history.estimate(str(label), action.mnemonic, key)
        reason = build.outcomes[label].reason if status == "to skip" else ""
        steps.append(Step(label, action.mnemonic, status, causes.get(label, ()), reason, estimate))
    runs = {step.label: step.estimate for step in steps if step.status in ("to run", "may run")}
    seconds = {label: estimate.seconds if estimate else 0.0 for label, estimate in runs.items()}
    deps = contracted({label: build.graph.deps[label] for label in labels}, runs)
    path = critical_path(deps, seconds)
    return Plan(
        steps=steps,
        up_to_date=len(actions) - len(steps),
        unknown=sum(estimate is None for estimate in runs.values()),
        seconds=makespan(deps, seconds, processes),
        critical_path=path,
        critical_seconds=sum(seconds[label] for label in path),
        store_bytes=sum(estimate.size for estimate in runs.values() if estimate),
        output_bytes=sum(step.estimate.size for step in steps if step.estimate),
    )
