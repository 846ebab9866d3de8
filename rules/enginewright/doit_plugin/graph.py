"""``doit graph``: a picture of the targets, what they depend on, and which are stale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from enginewright.doit_plugin.command import Command, write_out
from enginewright.doit_plugin.query import find
from enginewright.doit_plugin.session import open_build, user_errors
from enginewright.execute.build import Status
from enginewright.graph.svg import draw

_OPT_OUTPUT = {
    "name": "output", "short": "o", "long": "output", "type": str, "default": "build/graph.svg",
    "help": "the file to write; - for standard output [default: %(default)s]",
}  # fmt: skip


class GraphCommand(Command):
    """Draws the targets that expressions mean."""

    name = "graph"
    doc_purpose = "draw targets and their dependencies as an SVG"
    doc_usage = "[LABEL | PACKAGE | EXPRESSION ...]"
    doc_description = (
        "Writes one SVG file for a browser, in which stale targets are marked. Without arguments every target is drawn;"
        " otherwise those that the labels, packages and expressions of 'doit query' mean, as in: doit graph 'deps(images/minilm)'."
    )
    cmd_options = (_OPT_OUTPUT,)

    def execute(self, params: Any, args: list[str]) -> int:
        """Draw what ``args`` mean."""
        self.load_settings(params)
        build = open_build(Path.cwd(), look_only=True)
        labels = {label for expression in args or ["*"] for label in find(build.graph, expression)}
        with user_errors():
            pending = build.pending(build.graph.closure(labels))
            skipped = {label for label in labels if build.cannot_run(label)}
            restored = {label for label, outcome in build.outcomes.items() if outcome.status is Status.CACHED}
            stale = restored.union(pending) - skipped
            picture = draw(build.graph, labels, stale=stale, skipped=skipped)
            if params["output"] == "-":
                write_out(picture)
                return 0
            # Not put in place by a rename, which would replace what a link or a device leads to.
            output = Path(params["output"])
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(picture, encoding="utf-8")
        print(f"{output}: {len(labels)} target{'s' * (len(labels) != 1)}, {len(stale & labels)} stale")
        return 0
