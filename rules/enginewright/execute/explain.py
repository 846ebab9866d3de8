"""Explaining a target by the ledger: why a past build ran it, why the next one would, and how it differs from another machine's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from enginewright.execute.build import Build
from enginewright.execute.ledger import Entry, Line, fold, state_after
from enginewright.execute.outcome import Status
from enginewright.graph.cause import Cause, Fact, direct, explain, makers
from enginewright.graph.key import Material
from enginewright.graph.label import Label
from enginewright.store.results import Result

Records = Callable[[str], Result | None]
"""The record of an action key, for what the ledger no longer holds."""


@dataclass(frozen=True)
class Explanation:
    """What became of a target, and why.

    ``status`` is that of a ledger's entry, or "up to date", where ``build`` is the id of a build; for what the next build would do
    it is "to run", "may run", "to restore" or "to skip", and ``build`` is empty. ``reason`` is why it was skipped, or failed.
    "different" and "the same" are for two workspaces, with the other as ``reason``, "unknown" for a target without history.
    ``where`` is, for what a remote worker ran, `` on`` and its host. ``causes`` are those of `enginewright.graph.cause.explain`.
    """

    label: str
    status: str
    build: str = ""
    reason: str = ""
    causes: Mapping[str, list[Cause]] = field(default_factory=dict)
    where: str = ""


def past(lines: Sequence[Line], label: str, build: str, records: Records) -> Explanation:
    """Why the build of this id did with a target what it did."""
    state = state_after(lines, build)
    line = next((line for line in lines if line.id == build), None)
    entry = line.targets.get(label) if line else state.get(label)
    if entry is None:
        return Explanation(label, "up to date", build)
    if entry.status == "skipped" or entry.material is None:
        return Explanation(label, entry.status, build, entry.reason)
    earlier = [] if line is None else lines[: lines.index(line)]
    reason = entry.reason if entry.status == "failed" else ""
    told = "was told to run though it was up to date" if entry.status == "built" and entry.key == entry.previous else ""
    old, new = _asked(label, entry.material, "" if reason else entry.reason or told, entry.previous, earlier, records)
    record = records(entry.key) if entry.status == "built" else None
    where = f" on {record.host}, a worker of {record.executor}," if record is not None and record.executor else ""
    return Explanation(label, entry.status, build, reason, explain(label, old, {**facts(state), label: new}), where)


def ahead(lines: Sequence[Line], build: Build, pending: Collection[Label], label: Label) -> Explanation | None:
    """Why the next build would do something about a target; None when it is up to date.

    ``build`` is one that only looks, and has judged the target and all it depends on, with those skipped that cannot be built;
    ``pending`` are those that may have to run.
    """
    status = outlook(build, pending, label)
    if status == "up to date":
        return None
    if status == "to skip":
        return Explanation(str(label), status, reason=build.outcomes[label].reason)
    new = present(build, build.graph.closure([label]), fold(lines))
    reason, previous = build.reason(label), build.previous_key(label)
    old, new[str(label)] = _asked(str(label), new[str(label)].material, reason, previous, lines, build.record)
    return Explanation(str(label), status, causes=explain(str(label), old, new))


def reasons(build: Build, labels: Collection[Label], last: Mapping[str, Entry]) -> dict[Label, list[Cause]]:
    """The direct causes for which targets are not up to date, without what is behind them; none for those that are skipped."""
    made_by = makers(facts(last))  # of what is no longer declared too
    for label in build.graph.closure(labels):
        if (action := build.graph.targets[label].action) is not None:
            made_by |= {artifact.path: str(label) for artifact in action.outputs.values()}
    now = present(build, labels, last)
    return {
        label: direct(_before(build.previous_key(label), last.get(str(label)), build.record), now[str(label)], made_by)
        for label in labels
        if str(label) in now
    }


def outlook(build: Build, pending: Collection[Label], label: Label) -> str:
    """What the next build would do with a target: "up to date" for nothing, or one of the words of `Explanation`."""
    outcome = build.outcomes.get(label)
    if label in pending:
        return "to run" if all(build.done(dep) for dep in build.graph.deps[label]) else "may run"
    foreseen = {Status.SKIPPED: "to skip", Status.CACHED: "to restore"}
    return foreseen.get(outcome.status, "up to date") if outcome is not None else "up to date"


def compared(label: str, old: Mapping[str, Fact], new: Mapping[str, Fact]) -> dict[str, list[Cause]]:
    """How a target, which both must know, differs between two workspaces, whatever befell it in either."""
    return explain(label, _materials(old), _materials(new))


def present(build: Build, labels: Iterable[Label], last: Mapping[str, Entry]) -> dict[str, Fact]:
    """What is known of targets now, but for those that are skipped; ``last`` are their last entries in the ledger."""
    return {
        str(label): Fact(build.material(label), _events(build.reason(label), build.previous_key(label), last.get(str(label))))
        for label in labels
        if label not in build.graph.groups and not _skipped(build, label)
    }


def facts(state: Mapping[str, Entry]) -> dict[str, Fact]:
    """What is known of the targets in a state of the ledger."""
    return {
        label: Fact(entry.material, (entry.reason,) if entry.reason and entry.status != "failed" else ())
        for label, entry in state.items()
        if entry.material is not None
    }


def _asked(
    label: str, material: Material, reason: str, previous: str, earlier: Sequence[Line], records: Records
) -> tuple[dict[str, Fact], Fact]:
    """What was known when a target had its previous key, and the fact about it since then."""
    last = fold(earlier).get(label)
    events = _events(reason, previous, last)
    if last is not None and previous in ("", last.key):
        return facts(state_after(earlier, last.build)), Fact(material, events)
    before = _before(previous, last, records)
    if before is None:
        return {}, Fact(material, (*events, "what it was before is not known any more") if previous else events)
    return {label: before}, Fact(material, events)


def _before(previous: str, last: Entry | None, records: Records) -> Fact | None:
    """What is known of a target that had the key ``previous``."""
    if last is not None and last.material is not None and previous in ("", last.key):
        return Fact(last.material)
    record = records(previous) if previous else None
    return Fact(Material(**record.material)) if record else None


def _events(reason: str, previous: str, last: Entry | None) -> tuple[str, ...]:
    """What befell a target since its last entry that its material does not tell."""
    if reason:
        return (reason,)
    if last is None or previous:
        return ()
    return (f"failed in build {last.build}" if last.status == "failed" else "this workspace no longer knew of it",)


def _skipped(build: Build, label: Label) -> bool:
    outcome = build.outcomes.get(label)
    return outcome is not None and outcome.status is Status.SKIPPED


def _materials(facts: Mapping[str, Fact]) -> dict[str, Fact]:
    return {label: Fact(fact.material) for label, fact in facts.items()}
