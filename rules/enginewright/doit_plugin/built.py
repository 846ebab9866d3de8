"""Outputs for a command that does something with them: built first, so that nothing stale goes anywhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from doit.exceptions import InvalidCommand

from enginewright.doit_plugin.build import BuildCommand
from enginewright.doit_plugin.session import foresee, open_build, select
from enginewright.errors import with_article
from enginewright.execute.build import Build
from enginewright.execute.memory import open_snapshot
from enginewright.execute.outcome import Status
from enginewright.graph.label import Label


def outputs_of(patterns: Sequence[str], names: Collection[str], what: str, by_label: Collection[str] = ()) -> dict[Label, Path]:
    """Of the targets that ``patterns`` select, those with an output of one of these names (as ``layout``), and its path.

    An output of a name in ``by_label`` counts too where a label names its target, not only a package. Raises doit's InvalidCommand for
    the label of a target that has none, which ``what`` says in words, and where nothing is selected.
    """
    build = open_build(Path.cwd(), look_only=True)
    chosen = select(build, patterns)
    named = select(build, each) if (each := [text for text in patterns if ":" in text]) else set()
    outputs: dict[Label, Path] = {}
    for label in build.graph.deps:
        action = build.graph.targets[label].action
        wanted = (*names, *by_label) if label in named else names
        found = [action.outputs[name] for name in wanted if name in action.outputs] if action is not None else []
        if label in chosen and found:
            outputs[label] = Path(found[0].path)
    for label in sorted(named - outputs.keys()):
        raise InvalidCommand(f"{label} is {with_article(build.graph.targets[label].kind)}, which makes no {what}")
    if not outputs:
        raise InvalidCommand(f"nothing in {', '.join(patterns)} makes an {what}")
    _leave_out_skipped(build, outputs, outputs.keys() - named)
    return outputs


def _leave_out_skipped(build: Build, outputs: dict[Label, Path], unnamed: set[Label]) -> None:
    """Take away, saying so, what only a package selects and this machine cannot build; of what a label names, the build says it."""
    if unnamed:
        foresee(build, unnamed)
        for label in sorted(unnamed):
            outcome = build.outcomes.get(label)
            if outcome is not None and outcome.status is Status.SKIPPED:
                print(f"left out {label}: it {outcome.reason}", file=sys.stderr)
                del outputs[label]
        if not outputs:
            raise InvalidCommand("nothing that is selected can be built on this machine")


def bring_up_to_date(labels: Iterable[Label | str], **given: Any) -> int:
    """Build targets, and return the exit code of that. What it says goes to standard error: the other is for the command's own word.

    ``given`` are options of `doit build`, by their names there.
    """
    from enginewright.doit_plugin.execution import build_selection

    defaults: dict[str, Any] = {str(option["name"]): option["default"] for option in BuildCommand.cmd_options}
    # Whatever else is left in a shared cache, these are to be here.
    options = {**defaults, "remote_download": "toplevel", **given}
    with redirect_stdout(sys.stderr):
        return build_selection([str(label) for label in labels], options, open_snapshot(Path.cwd()), time.monotonic())
