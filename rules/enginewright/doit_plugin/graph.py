"""``doit graph``: the targets, what they depend on, and which are stale, as a picture or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from enginewright.doit_plugin.command import Command
from enginewright.doit_plugin.document import output_option, write_document
from enginewright.doit_plugin.options import option
from enginewright.doit_plugin.query import find
from enginewright.doit_plugin.session import foresee, open_build
from enginewright.execute.explain import outlook
from enginewright.graph.dag import Graph
from enginewright.graph.label import Label
from enginewright.graph.svg import cards, draw

_FILE = "build/graph.svg"
_OPT_JSON = option("json", False, "write the graph as one JSON document instead, to standard output if no --output is given")
_STALE = ("to run", "may run", "to restore")


class GraphCommand(Command):
    """Draws the targets that expressions mean."""

    name = "graph"
    doc_purpose = "draw targets and their dependencies as an SVG"
    doc_usage = "[LABEL | PACKAGE | EXPRESSION ...]"
    doc_description = (
        "Writes one SVG file for a browser, in which stale targets are marked. Without arguments every target is drawn;"
        " otherwise those that the labels, packages and expressions of 'doit query' mean, as in: doit graph 'deps(images/minilm)'."
        " With --json the same targets are 'nodes', with what the next build would do with each in the words of 'doit plan', and the"
        " dependencies between them are 'edges'."
    )
    cmd_options = (output_option(_FILE), _OPT_JSON)

    def execute(self, params: Any, args: list[str]) -> int:
        """Draw what ``args`` mean."""
        self.load_settings(params)
        build = open_build(Path.cwd(), look_only=True)
        labels = {label for expression in args or ["*"] for label in find(build.graph, expression)}
        pending = set(foresee(build, labels))
        statuses = {label: outlook(build, pending, label) for label in build.graph.deps if label in labels}
        stale = {label for label, status in statuses.items() if status in _STALE}
        if params["json"]:
            text = json.dumps(_as_json(build.graph, statuses), indent=1) + "\n"
        else:
            skipped = {label for label, status in statuses.items() if status == "to skip"}
            text = draw(cards(build.graph, labels, stale=stale, skipped=skipped))
        said = f"{len(labels)} target{'s' * (len(labels) != 1)}, {len(stale)} stale"
        write_document(text, params["output"] or ("-" if params["json"] else _FILE), said)
        return 0


def _as_json(graph: Graph, statuses: Mapping[Label, str]) -> dict[str, Any]:
    return {
        "nodes": [_node(graph, label, status) for label, status in statuses.items()],
        "edges": [{"from": str(dep), "to": str(label)} for label in statuses for dep in graph.deps[label] if dep in statuses],
    }


def _node(graph: Graph, label: Label, status: str) -> dict[str, Any]:
    target = graph.targets[label]
    outputs = [artifact.path for artifact in target.action.outputs.values()] if target.action else []
    return {"label": str(label), "kind": target.kind, "status": status, "outputs": outputs}
