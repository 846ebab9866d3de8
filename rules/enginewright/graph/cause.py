"""Why a target is not what it was, down to the root: the differences of its material, and those of the targets that made its inputs.

Early cutoff shows by absence: an input that was made again with the same bytes is no difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from enginewright.graph.difference import Difference, differences
from enginewright.graph.key import Material


class Fact(NamedTuple):
    """What is known of a target at some time: its material, and what else befell it, in words.

    In ``material`` the digest of an input that is yet to be made is empty.
    """

    material: Material
    events: tuple[str, ...] = ()


class Cause(NamedTuple):
    """A reason why a target is not what it was.

    ``difference`` has four kinds more here: ``event``, with the words as its name; ``new``, where there was nothing before and
    no event tells more; ``unknown``, where there was, but it is not known; ``bytes``, where the same material gave other bytes.
    ``target`` is the label of the target that makes the input in question; empty for everything else.
    """

    difference: Difference
    target: str = ""

    @property
    def possible(self) -> bool:
        """Whether this only may come to be: the input is yet to be made, and may have the same bytes again."""
        return self.difference.kind == "input" and self.difference.new == "" and self.difference.old is not None

    @property
    def upstream(self) -> bool:
        """Whether the reason for this lies in ``target``."""
        return bool(self.target) and self.difference.old is not None and self.difference.new is not None


Makers = Mapping[str, str]
"""The label of the target that makes each path."""


def makers(facts: Mapping[str, Fact]) -> dict[str, str]:
    """Who makes what; of two that made one path, the later in ``facts``."""
    return {path.rstrip("/"): label for label, fact in facts.items() for path in fact.material.outputs.values()}


def direct(before: Fact | None, after: Fact, made_by: Makers) -> list[Cause]:
    """The causes of one target, without those of the targets that it depends on."""
    events = [_cause("event", words) for words in after.events]
    if before is None:
        return events or [_cause("new")]
    found = differences(before.material, after.material)
    return [*events, *(Cause(each, made_by.get(each.path, "") if each.kind == "input" else "") for each in found)]


def explain(label: str, old: Mapping[str, Fact], new: Mapping[str, Fact]) -> dict[str, list[Cause]]:
    """The causes of ``label``, which is in ``new``, and of each target upstream that has a part in them, by label.

    Both mappings have at their end what was learnt last. What only may come to be is left out where nothing upstream is
    other than it was.
    """
    made_by = makers(old) | makers(new)
    found = {label: direct(old.get(label), new[label], made_by)}
    waiting = [label]
    while waiting:
        for cause in found[waiting.pop()]:
            if cause.upstream and cause.target not in found and cause.target in new:
                found[cause.target] = _behind(cause, old.get(cause.target), new[cause.target], made_by)
                waiting.append(cause.target)
    return _founded(found)


def _behind(asked: Cause, before: Fact | None, after: Fact, made_by: Makers) -> list[Cause]:
    """The causes of a target whose output changed, or may change."""
    if before is None:
        return [_cause("unknown")]
    causes = direct(before, after, made_by)
    if asked.possible:
        return causes
    differing = [each for each in causes if each.difference.kind != "event"]
    return differing or [*causes, Cause(Difference("bytes", "", asked.difference.old, asked.difference.new))]


def _founded(found: Mapping[str, list[Cause]]) -> dict[str, list[Cause]]:
    """Without the possible causes behind which there is no certain one."""
    users: dict[str, list[str]] = {}
    for label, causes in found.items():
        for cause in causes:
            users.setdefault(cause.target, []).append(label)
    waiting = [label for label, causes in found.items() if not all(each.possible for each in causes)]
    reached = set(waiting)
    while waiting:
        new = [label for label in users.get(waiting.pop(), ()) if label not in reached]
        reached.update(new)
        waiting += new
    return {label: [each for each in causes if not each.possible or each.target in reached] for label, causes in found.items()}


def _cause(kind: str, name: str = "") -> Cause:
    return Cause(Difference(kind, name, None, None))
