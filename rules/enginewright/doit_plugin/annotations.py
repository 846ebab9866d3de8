"""What to annotate: what failed in a build, with the line of the user's that is to blame."""

from __future__ import annotations

from pathlib import Path

from doit.exceptions import InvalidCommand, InvalidDodoFile

from enginewright.doit_plugin.session import open_build, user_errors
from enginewright.doit_plugin.why import build_id
from enginewright.execute.ledger import LEDGER, read
from enginewright.graph.label import Label
from enginewright.report.annotations import Annotation, place


def to_annotate(root: Path, build: str) -> list[Annotation]:
    """What failed in a build of the workspace at ``root``, the last if ``build`` is empty; or why the workspace cannot be loaded.

    Raises doit's InvalidCommand where there is no such build.
    """

    def known(path: str) -> bool:
        return not path.startswith("/") and ".." not in path.split("/") and (root / path).is_file()

    try:
        graph = open_build(root, look_only=True).graph
    except (InvalidDodoFile, InvalidCommand) as error:
        return [Annotation(*place(str(error), "dodo.py", 1, known), "the workspace cannot be loaded", str(error))]
    with user_errors():
        lines = read(root / LEDGER)
    if not build and not any(line.id for line in lines):
        return []
    chosen = build_id(lines, build or "-1")
    found = []
    for text, entry in next(line.targets for line in lines if line.id == chosen).items():
        if entry.status == "failed":
            target = graph.targets.get(Label.parse(text))
            declared = target.location if target else ("dodo.py", 1)
            found.append(Annotation(*place(entry.reason, *declared, known), f"{text} failed", entry.reason))
    return found
