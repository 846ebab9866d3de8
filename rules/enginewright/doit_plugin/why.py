"""``doit why``: what made a target run, or would, down to the source, parameter, code file or version that changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from doit.exceptions import InvalidCommand

from enginewright.doit_plugin.causes import as_json, tree
from enginewright.doit_plugin.command import Command
from enginewright.doit_plugin.options import OPT_JSON, option
from enginewright.doit_plugin.session import foresee, open_build, select, user_errors
from enginewright.execute.build import Build
from enginewright.execute.explain import Explanation, ahead, compared, facts, past, present
from enginewright.execute.ledger import LEDGER, Line, fold, read, state_after
from enginewright.graph.label import Label

OPT_BUILD = option("build", "", "a past build: its id, or -1 for the last one, -2 for the one before")
_OPT_AGAINST = option("against", "", f"compare with the ledger of another workspace or machine: a copy of its {LEDGER}")

_HEADS = {
    "to run": "{label} is going to run, because",
    "may run": "{label} may have to run, because",
    "to restore": "{label} is going to be restored from the store, because",
    "to skip": "{label} is skipped: it {reason}",
    "built": "{label} ran{where} in build {build}, because",
    "cached": "{label} was restored from the store in build {build}, because",
    "failed": "{label} ran in build {build}, where it failed, because",
    "skipped": "{label} was skipped in build {build}: it {reason}",
    "up to date": "{label}: build {build} did nothing about it; it was up to date, not asked for, or behind something that failed",
    "unknown": "{label} is up to date, and the ledger has no build that did anything about it",
    "different": "{label} is not what it is in {reason}, because",
    "the same": "{label} has nothing that differs from what it has in {reason}",
}


class WhyCommand(Command):
    """Explains one target from the ledger and the workspace as it is. Changes nothing."""

    name = "why"
    doc_purpose = "explain why a target ran, or would run"
    doc_usage = "LABEL"
    doc_description = (
        "Says why the next build would run or restore the target; when it is up to date, why the last build that did"
        " something about it did. Each input that changed is followed to the target that made it, down to what is the"
        " cause. An input that was made again with the same bytes is no cause, and not named."
    )
    cmd_options = (OPT_BUILD, _OPT_AGAINST, OPT_JSON)

    def execute(self, params: Any, args: list[str]) -> int:
        """Explain the one target in ``args``."""
        if len(args) != 1 or ":" not in args[0]:
            raise InvalidCommand("doit why takes one label, as in: doit why models/minilm:onnx")
        self.loader.setup(params)
        build = open_build(Path.cwd(), look_only=True)
        with user_errors():
            lines = read(Path(LEDGER))
        label = _label(build, lines, args[0])
        chosen = build_id(lines, params["build"]) if params["build"] else ""
        if params["against"]:
            explanation = _against(build, lines, chosen, label, Path(params["against"]))
        else:
            explanation = _explain(build, lines, chosen, label)
        if params["json"]:
            print(json.dumps({**vars(explanation), "causes": as_json(explanation.causes)}, indent=1))
        else:
            causes = list(tree(explanation.causes, label))
            head = _HEADS[explanation.status].format(**vars(explanation))
            print(head if causes else head.removesuffix(", because"), *causes, sep="\n")
        return 0


def _label(build: Build, lines: Sequence[Line], text: str) -> str:
    """The label that was asked about: of a target there is, or of one that the ledger remembers."""
    bare = text.removeprefix("//")
    if bare in fold(lines):
        return bare
    (label,) = select(build, [bare])
    if label in build.graph.groups:
        members = ", ".join(map(str, build.graph.deps[label][:8]))
        raise InvalidCommand(f"{label} is a group, which has no action: ask about one of its members ({members})")
    return str(label)


def build_id(lines: Sequence[Line], text: str) -> str:
    """The id of a past build that the ledger has, given as it or as how far back it is."""
    ids = [line.id for line in lines if line.id]
    if text in ids:
        return text
    if text.startswith("-") and text[1:].isdecimal() and 0 < int(text[1:]) <= len(ids):
        return ids[int(text)]
    there = f"it has {len(ids)}, the last of them {', '.join(ids[-3:])}" if ids else "it has none"
    raise InvalidCommand(f"--build {text}: no such build in {LEDGER}: {there}")


def _explain(build: Build, lines: Sequence[Line], chosen: str, label: str) -> Explanation:
    if chosen:
        return past(lines, label, chosen, build.record)
    parsed = Label.parse(label)
    if parsed in build.graph.deps and (found := ahead(lines, build, foresee(build, [parsed]), parsed)):
        return found
    entry = fold(lines).get(label)
    return past(lines, label, entry.build, build.record) if entry else Explanation(label, "unknown")


def _against(build: Build, lines: Sequence[Line], chosen: str, label: str, other: Path) -> Explanation:
    """Compare the workspace as it is, or as the chosen build left it, with the state of another ledger."""
    if not other.exists() or other.is_dir():  # it may be a pipe: --against <(ssh ci cat ...)
        raise InvalidCommand(f"--against {other}: there is no such file; it is to be a copy of the {LEDGER} of another workspace")
    with user_errors():
        theirs = fold(read(other))
    if chosen:
        ours = facts(state_after(lines, chosen))
    else:
        parsed = Label.parse(label)
        foresee(build, [parsed])
        ours = present(build, build.graph.closure([parsed]), {})
    for place, known in ((other, facts(theirs)), ("this workspace", ours)):
        if label not in known:
            raise InvalidCommand(f"--against {other}: nothing is known of {label} in {place}")
    causes = compared(label, facts(theirs), ours)
    where = f"{other} since build {theirs[label].build}"
    return Explanation(label, "different" if causes[label] else "the same", chosen, where, causes)
