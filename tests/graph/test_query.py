from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginewright.graph.dag import Graph
from enginewright.graph.label import Label
from enginewright.graph.query import QueryError, query
from graphs import graph, label, random_graphs, target

# weights -> onnx -> engine_a, engine_b -> image, and beside it a -> b in another package.
EXAMPLE = graph(
    target(":weights", "checkpoint", src="net.pth"),
    target(":onnx", "onnx_model", [":weights"], outputs="[logits, probabilities]", dims="{batch: [1, 8]}"),
    target(":engine_a", "tensorrt_engine", [":onnx"], arch="sm_80", dims="[[1, 2], TensorSpec(shape=(3, 4)), {a: b, c: d}, x]"),
    target(":engine_b", "tensorrt_engine", [":onnx"], arch="sm_89", dims="[]"),
    target(":engine", "group", [":engine_a", ":engine_b"], members="[models/x:engine_a, models/x:engine_b]"),
    target("images/x:image", "image", [":engine_a", ":engine_b"], entrypoint="[]"),
    target("models/y/z:a", "python_action"),
    target("models/y/z:b+c", "python_action", ["models/y/z:a"]),
)
ALL = ["weights", "onnx", "engine_a", "engine_b", "engine", "image", "a", "b+c"]


def names(text: str) -> list[str]:
    return [found.name for found in query(EXAMPLE, text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Labels, packages, everything.
        ("models/x:onnx", ["onnx"]),
        ("//models/x:onnx", ["onnx"]),
        ("models/y/z", ["a", "b+c"]),
        ("models/...", [name for name in ALL if name != "image"]),
        ("//models/y/...", ["a", "b+c"]),
        ("models/x/...", ["weights", "onnx", "engine_a", "engine_b", "engine"]),
        *((everything, ALL) for everything in ("*", "//...", "...", "'*'")),
        ("'models/y/z:b+c'", ["b+c"]),
        (' "models/x:onnx"\n', ["onnx"]),
        # Dependencies, both ways.
        ("deps(models/x:engine_a)", ["weights", "onnx", "engine_a"]),
        ("deps(models/x:engine_a, 0)", ["engine_a"]),
        ("deps(models/x:engine_a,1)", ["onnx", "engine_a"]),
        ("deps(models/x:engine_a, 999999999)", ["weights", "onnx", "engine_a"]),
        ("rdeps(models/x:onnx)", ["onnx", "engine_a", "engine_b", "engine", "image"]),
        ("rdeps(models/x:onnx, 1)", ["onnx", "engine_a", "engine_b"]),
        ("rdeps( models/x:engine , 1 )", ["engine"]),
        # A path: one of the shortest, the same each time.
        ("somepath(images/x:image, models/x:weights)", ["weights", "onnx", "engine_a", "image"]),
        ("somepath(models/x, models/x:onnx)", ["onnx"]),
        ("somepath(models/x:weights, images/x:image)", []),
        ("somepath(models/y/z, models/x)", []),
        # Rules and attributes.
        ("kind(engine, *)", ["engine_a", "engine_b"]),
        ("kind('^image$', *)", ["image"]),
        ("kind(onnx.model, deps(images/x))", ["onnx"]),
        ("kind(group, models/y/z)", []),
        ("attr(arch, sm_80, *)", ["engine_a"]),
        ("attr('arch', 'sm_8', *)", []),
        ("attr(arch, sm_80, models/y/z)", []),
        ("attr(outputs, probabilities, *)", ["onnx"]),
        ("attr(outputs, '[logits, probabilities]', *)", ["onnx"]),
        ("attr(members, models/x:engine_b, *)", ["engine"]),
        *((f"attr(dims, '{item}', *)", ["engine_a"]) for item in ("[1, 2]", "TensorSpec(shape=(3, 4))", "{a: b, c: d}", "x")),
        *((f"attr(dims, '{no_item}', *)", []) for no_item in ("1", "a: b", "batch", "")),
        # Operators: from left to right, whichever they are.
        ("models/y/z + models/x:onnx", ["onnx", "a", "b+c"]),
        ("models/y/z union models/x:onnx", ["onnx", "a", "b+c"]),
        ("models/x - models/x:onnx -models/x:engine", ["weights", "engine_a", "engine_b"]),
        ("models/x except deps(models/x:engine)", []),
        ("deps(images/x)^models/x", ["weights", "onnx", "engine_a", "engine_b"]),
        ("models/y/z intersect models/y/z:a", ["a"]),
        ("models/x:onnx + models/y/z ^ models/y/z:a", ["a"]),
        ("models/x:onnx + (models/y/z ^ models/y/z:a)", ["onnx", "a"]),
        ("models/x:onnx - models/x:onnx + models/x:onnx", ["onnx"]),
        ("((models/x:onnx))", ["onnx"]),
    ],
)
def test_an_expression_means_targets_in_the_order_of_their_dependencies(text: str, expected: list[str]) -> None:
    assert names(text) == expected


@pytest.mark.parametrize(
    ("text", "problem", "at"),
    [
        ("", "expected a label, a package, a function or '(', but the expression ends", 0),
        ("models/x + ", "expected a label, a package, a function or '(', but the expression ends", 10),
        ("models/x + + models/x", "expected a label, a package, a function or '(', but found '+'", 11),
        ("models/x union", "expected a label, a package, a function or '(', but the expression ends", 14),
        ("union", "expected a label, a package, a function or '(', but found 'union'", 0),
        ("models/x models/y", "expected an operator (+, -, ^) or the end, but found 'models/y'", 9),
        ("models/x)", "expected an operator (+, -, ^) or the end, but found ')'", 8),
        ("(models/x", "expected an operator (+, -, ^) or ')', but the expression ends", 9),
        ("deps(models/x = 1)", "expected an operator (+, -, ^) or ')', but found '='", 14),
        ("deps(models/x, one)", "expected a depth, a whole number, but found 'one'", 15),
        ("deps(models/x, -1)", "expected a depth, a whole number, but found '-'", 15),
        ("deps(models/x, 1, 2)", "expected an operator (+, -, ^) or ')', but found ','", 16),
        ("somepath(models/x)", "expected ',' and an expression, but found ')'", 17),
        ("kind(, models/x)", "expected a pattern of rule names, but found ','", 5),
        ("attr(arch, models/x)", "expected ',' and an expression, but found ')'", 19),
        ("attr(arch)", "expected ',' and a value, but found ')'", 9),
        ("*engine", "expected a label, a package, a function or '(', but found '*'", 0),
        ("'models/x", "the quote ' is never closed", 0),
        ('kind("engine, *)', 'the quote " is never closed', 5),
        ("rdep(models/x)", "no function 'rdep' (did you mean 'rdeps'?)", 0),
        ("path(models/x)", "no function 'path' (did you mean 'somepath'?)", 0),
        ("deps(models/xx)", "no package 'models/xx' (did you mean 'models/x'?)", 5),
        ("deps(models/x:onxn)", "no target 'onxn' in package 'models/x' (did you mean 'onnx'?)", 5),
        ("model/...", "no package 'model' (did you mean 'models/x'?)", 0),
        ("models/x + models/x:", "'models/x:' is not a label: '' is not a target name", 11),
        ("kind(onnx_modle, *)", "no target is of a kind 'onnx_modle' (did you mean 'onnx_model'?)", 5),
        ("kind('*', *)", "'*' is not a regular expression: nothing to repeat at position 0", 5),
        ("attr(arhc, sm_80, *)", "no target has an attribute 'arhc' (did you mean 'arch'?)", 5),
        ("(" * 101 + "models/x", "parentheses are nested more than 100 deep", 100),
    ],
)
def test_a_mistake_is_shown_with_a_caret_and_what_was_expected(text: str, problem: str, at: int) -> None:
    with pytest.raises(QueryError) as caught:
        query(EXAMPLE, text)
    assert str(caught.value) == f"{problem}\n  {text}\n  {' ' * at}^"


def test_of_an_expression_of_several_lines_the_one_with_the_mistake_is_shown() -> None:
    with pytest.raises(QueryError) as caught:
        query(EXAMPLE, "models/x +\n\tdeps(models/xx) +\nmodels/x")
    assert str(caught.value) == "no package 'models/xx' (did you mean 'models/x'?)\n   deps(models/xx) +\n        ^"


def test_an_expression_may_be_as_long_as_it_likes() -> None:
    assert names(" + ".join(["models/x:onnx"] * 5000)) == ["onnx"]
    assert names("(" * 99 + "models/x:onnx" + ")" * 99) == ["onnx"]


def test_a_chain_may_be_longer_than_pythons_stack() -> None:
    chain = graph(target(":t0"), *(target(f":t{i}", deps=[f":t{i - 1}"]) for i in range(1, 5000)))
    assert len(query(chain, "deps(models/x:t4999)")) == len(query(chain, "rdeps(models/x:t0)")) == 5000
    assert len(query(chain, "somepath(models/x:t4999, models/x:t0)")) == 5000


def test_targets_are_not_looked_at_unless_their_rule_or_attributes_matter() -> None:
    bare = Graph(EXAMPLE.deps, {}, ())
    for text in ("*", "models/x", "models/...", "deps(images/x) ^ rdeps(models/x:onnx, 1)", "somepath(images/x, models/x:onnx)"):
        assert query(bare, text) == query(EXAMPLE, text)


def test_a_workspace_without_targets() -> None:
    assert query(graph(), "deps(*)") == []


@given(st.text("()+-^,*'\" .:/ax0", max_size=30) | st.text(max_size=10))
def test_any_text_is_an_expression_or_a_mistake(text: str) -> None:
    try:
        assert set(query(EXAMPLE, text)) <= set(EXAMPLE.deps)
    except QueryError as error:
        assert re.fullmatch(r".+\n  .*\n  +\^", str(error))


# Expressions, each with the set that it means.
Meaning = tuple[str, frozenset[Label]]


def _union(labels: frozenset[Label]) -> Meaning:
    return " + ".join(f"'{each}'" for each in sorted(labels)), labels


def _chain(operators: list[str], operands: list[Meaning]) -> Meaning:
    text, found = operands[0]
    text = f"({text})"
    for operator, (other_text, other) in zip(operators, operands[1:]):
        text += f" {operator} ({other_text})"
        found = found | other if operator in ("+", "union") else found - other if operator in ("-", "except") else found & other
    return text, found


OPERANDS = st.frozensets(st.sampled_from(list(EXAMPLE.deps)), min_size=1, max_size=4).map(_union)
OPERATORS = st.sampled_from(["+", "-", "^", "union", "except", "intersect"])
EXPRESSIONS = st.recursive(
    OPERANDS,
    lambda inner: st.builds(_chain, st.lists(OPERATORS, min_size=3, max_size=3), st.lists(inner, min_size=1, max_size=4)),
    max_leaves=6,
)


@given(EXPRESSIONS)
def test_operators_are_those_of_sets(expression: Meaning) -> None:
    text, expected = expression
    assert query(EXAMPLE, text) == [each for each in EXAMPLE.deps if each in expected]


@given(OPERANDS, OPERANDS, OPERANDS)
def test_the_laws_of_sets_hold(one: Meaning, other: Meaning, third: Meaning) -> None:
    a, b, c = f"({one[0]})", f"({other[0]})", f"({third[0]})"
    assert names(f"{a} + {b}") == names(f"{b} + {a}")
    assert names(f"{a} ^ {b}") == names(f"{b} ^ {a}")
    assert names(f"{a} ^ ({b} + {c})") == names(f"({a} ^ {b}) + ({a} ^ {c})")
    assert names(f"* - ({a} + {b})") == names(f"(* - {a}) ^ (* - {b})")
    assert names(f"deps({a} + {b})") == names(f"deps({a}) + deps({b})")
    assert names(f"rdeps(rdeps({a}))") == names(f"rdeps({a})")


@given(random_graphs(), st.data())
def test_what_a_target_depends_on_is_what_it_is_a_dependent_of(found: Graph, data: st.DataObject) -> None:
    one, other = (data.draw(st.sampled_from(list(found.deps))) for _ in range(2))
    depth = data.draw(st.sampled_from(["", ", 0", ", 1", ", 2", ", 3"]))
    assert (one in query(found, f"deps({other}{depth})")) == (other in query(found, f"rdeps({one}{depth})"))
    assert query(found, f"deps({one})") == found.closure([one])
    assert query(found, f"rdeps({one})") == found.dependents([one])
    assert query(found, f"deps({one}, 2)") == query(found, f"deps(deps({one}, 1), 1)")


@given(random_graphs(), st.data())
def test_a_path_is_a_shortest_chain_of_dependencies(found: Graph, data: st.DataObject) -> None:
    start, end = (data.draw(st.sampled_from(list(found.deps))) for _ in range(2))
    path = query(found, f"somepath({start}, {end})")
    assert bool(path) == (end in query(found, f"deps({start})"))
    if path:
        assert (path[0], path[-1]) == (end, start)
        assert all(before in found.deps[after] for before, after in pairwise(path))
        assert start not in query(found, f"rdeps({end}, {max(len(path) - 2, 0)}) - {end}")


def test_labels_are_relative_to_the_workspace_only() -> None:
    with pytest.raises(QueryError, match="':onnx' is not a label"):
        query(EXAMPLE, ":onnx")
    assert query(EXAMPLE, "models/x:onnx") == [label(":onnx")]
