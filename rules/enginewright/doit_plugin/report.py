"""``doit report``: a past build as one HTML page, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from doit.exceptions import InvalidCommand

from enginewright.doit_plugin.annotations import to_annotate
from enginewright.doit_plugin.causes import first
from enginewright.doit_plugin.command import Command
from enginewright.doit_plugin.document import output_option, write_document
from enginewright.doit_plugin.options import option
from enginewright.doit_plugin.picture import picture
from enginewright.doit_plugin.session import user_errors
from enginewright.doit_plugin.why import OPT_BUILD, build_id
from enginewright.execute.explain import facts
from enginewright.execute.ledger import LEDGER, Entry, Line, fold, read
from enginewright.graph.cause import Fact, Makers, direct, makers
from enginewright.graph.key import Material
from enginewright.report.annotations import FORMS, render
from enginewright.report.history import Action, History, critical_path
from enginewright.report.page import page
from enginewright.store.reproducibility import Reproducibilities, Reproducibility
from enginewright.store.results import ActionCache, Result
from enginewright.workspace.settings import read_settings

_FILE = "build/report.html"
_OPT_JSON = option("json", False, "write what the page tells as one JSON document instead, to standard output if no --output is given")
_OPT_ANNOTATIONS = option(
    "annotations",
    "",
    "write what failed instead, with file and line, as github (commands in its log) or gitlab (a code quality report) shows it",
)

Records = Callable[[str], Result | None]
"""The record of an action key."""


class ReportCommand(Command):
    """Reads the ledger and the store, not the BUILD.py files: a build can be reported on when these have gone wrong since."""

    name = "report"
    doc_purpose = "write a build as one HTML page: what ran when and why, the critical path, times, sizes"
    doc_usage = ""
    doc_description = (
        "Reports on the last build that did anything, or the one that --build names. The page needs nothing but itself, so it"
        " can be kept or sent as it is. With --json, what it tells of the build and of each of its actions is data for scripts."
        " With --annotations, a service for continuous integration can show what failed beside the line that is to blame."
    )
    cmd_options = (output_option(_FILE), OPT_BUILD, _OPT_JSON, _OPT_ANNOTATIONS)

    def execute(self, params: Any, args: list[str]) -> int:
        """Write the page, or the document, and say where it is."""
        if args:
            raise InvalidCommand(f"doit report takes no targets, and was given {args[0]!r}: --build chooses the build")
        if params["annotations"] not in ("", *FORMS):
            raise InvalidCommand(f"--annotations={params['annotations']}: there are {' and '.join(FORMS)}")
        self.loader.setup(params)
        if params["annotations"]:
            text = render(to_annotate(Path.cwd(), params["build"]), params["annotations"])
            write_document(text, params["output"] or "-", "what went wrong")
            return 0
        with user_errors():
            settings = read_settings(Path.cwd())
            lines = read(Path(LEDGER))
        if not any(line.id for line in lines):
            raise InvalidCommand(f"there is no build to report on in {LEDGER}: run doit build first")
        chosen = build_id(lines, params["build"] or "-1")
        at = next(i for i, line in enumerate(lines) if line.id == chosen)
        before = fold(lines[:at])
        with user_errors():
            found = history(lines[at], before, ActionCache(settings.store / "actions").get, Reproducibilities(settings.store).get)
            critical = [action.label for action in critical_path(found.ran)]
            if params["json"]:
                text = json.dumps(_as_json(found, critical), indent=1) + "\n"
            else:
                text = page(found, picture(lines[at], before, critical))
        write_document(text, params["output"] or ("-" if params["json"] else _FILE), f"build {chosen}")
        return 0


def history(line: Line, before: Mapping[str, Entry], records: Records, again: Callable[[str], Reproducibility | None]) -> History:
    """A line of the ledger with what the store and the state ``before`` it tell of its actions; ``again`` finds what verifying did."""
    made_by = makers(facts({**before, **line.targets}))
    actions = [_action(label, line, before.get(label), made_by, records) for label in line.targets]
    classes = {label: found.reproducible for label, entry in line.targets.items() if entry.key and (found := again(entry.key))}
    actions = [replace(action, reproducible=classes.get(action.label, "")) for action in actions]
    return History(line.id, line.started, line.seconds, line.args, line.host, line.processes, actions)


def _as_json(found: History, critical: Sequence[str]) -> dict[str, Any]:
    """The names of actions are those of `doit build --json` where both have them."""
    actions = []
    for action in found.actions:
        outputs = [{"path": path, "size": size} for path, size in action.outputs.items()]
        known = {**vars(action), "mnemonic": action.kind, "seconds": action.seconds, "outputs": outputs}
        del known["kind"]
        actions.append(known)
    return {**vars(found), "critical_path": critical, "actions": actions}


def _action(label: str, line: Line, last: Entry | None, made_by: Makers, records: Records) -> Action:
    entry = line.targets[label]
    material = entry.material
    if material is None:
        return Action(label, entry.status, reason=entry.reason, began=entry.began, ended=entry.ended, worker=entry.worker)
    result = records(entry.key) if entry.status in ("built", "cached") else None
    return Action(
        label,
        entry.status,
        material.mnemonic,
        entry.reason or _reason(material, entry.previous, last, made_by, records),
        entry.began,
        entry.ended,
        entry.worker,
        entry.peak_rss,
        saved=result.seconds if result and entry.status == "cached" else 0.0,
        outputs={output.path: output.size for output in result.outputs.values()} if result else {},
        host=result.host if result and result.executor else "",
        deps=sorted({made_by[path] for path, _ in material.inputs.values() if made_by.get(path) in line.targets}),
    )


def _reason(material: Material, previous: str, last: Entry | None, made_by: Makers, records: Records) -> str:
    """What differs from the material that the target's key before was of; `doit why` follows it upstream."""
    old = None
    if last is not None and last.key == previous:
        old = last.material
    elif previous and (record := records(previous)):
        old = Material(**record.material)
    elif last is not None and last.status == "failed":
        return f"failed in build {last.build}"
    return first(direct(Fact(old) if old else None, Fact(material), made_by))
