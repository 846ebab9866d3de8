"""``doit query``: which targets there are, what they depend on, and what depends on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from doit.exceptions import InvalidCommand

from enginewright.doit_plugin.command import Command
from enginewright.doit_plugin.options import option
from enginewright.doit_plugin.session import open_build
from enginewright.graph.dag import Graph, Target
from enginewright.graph.label import Label
from enginewright.graph.query import QueryError, query

_OPT_JSON = option("json", False, "write what was declared of each target to standard output, as JSON")


class QueryCommand(Command):
    """Lists the targets that an expression means."""

    name = "query"
    doc_purpose = "list targets by their dependencies, rules and attributes"
    doc_usage = "EXPRESSION"
    doc_description = (
        "Lists targets, each after those it depends on. An expression is a label, a package, PACKAGE/... or * for all;"
        " deps(X) or rdeps(X), with a depth as deps(X, 1) if need be; somepath(X, Y); kind(PATTERN, X);"
        " attr(NAME, VALUE, X); or X + Y, X - Y, X ^ Y (union, except, intersect) of others. For instance:"
        " doit query 'attr(arch, sm_80, deps(images/minilm))'. docs/query.md has it all."
    )
    cmd_options = (_OPT_JSON,)

    def execute(self, params: Any, args: list[str]) -> int:
        """Print what ``args``, put together, mean."""
        if not args:
            raise InvalidCommand("which targets? Give an expression, as in: doit query 'deps(PACKAGE)'; 'doit help query' has more")
        self.load_settings(params)
        graph = open_build(Path.cwd(), look_only=True).graph
        labels = find(graph, " ".join(args))
        if params["json"]:
            print(json.dumps([_as_json(graph.targets[label]) for label in labels], indent=1))
        else:
            print("".join(f"{label}\n" for label in labels), end="")
        return 0


def find(graph: Graph, expression: str) -> list[Label]:
    """The targets that an expression means. Raises doit's InvalidCommand, with the place, where it makes no sense."""
    try:
        return query(graph, expression)
    except QueryError as error:
        raise InvalidCommand(str(error)) from None


def _as_json(target: Target) -> dict[str, Any]:
    return {
        "label": str(target.label),
        "kind": target.kind,
        "declared": str(target.location),
        "attributes": dict(target.attributes),
        "deps": [str(dep) for dep in target.deps],
    }
