from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginewright.errors import DeclarationError
from enginewright.graph.action import Action
from enginewright.graph.attributes import AttributeProblem, Needs
from enginewright.graph.dag import Graph, analyse
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Declared, Group, Location, Lookup, Rule


@dataclass(frozen=True, kw_only=True)
class Model(Rule):
    kind: ClassVar[str] = "model"
    provides: ClassVar[Mapping[str, str]] = {"onnx": ".onnx"}

    deps: tuple[Label, ...] = ()

    def action(self, context: Context) -> Action:
        inputs = {str(dep): artifact for dep in self.deps for artifact in context.outputs(dep).values()}
        return Action("Model", "rules:model", inputs, {"onnx": context.output(".onnx")})


@dataclass(frozen=True, kw_only=True)
class Engine(Rule):
    kind: ClassVar[str] = "engine"
    provides: ClassVar[Mapping[str, str]] = {"engine": ".engine", "sidecar": ".json"}

    model: Annotated[Label, Needs("onnx")]

    def action(self, context: Context) -> Action:
        outputs = {name: context.output(suffix) for name, suffix in self.provides.items()}
        return Action("Engine", "rules:engine", {"model": context.input(self.model, "onnx")}, outputs)


@dataclass(frozen=True, kw_only=True)
class Matrix(Rule):
    """An engine for each architecture, and a group."""

    kind: ClassVar[str] = "matrix"

    model: Label
    archs: tuple[str, ...]

    def expand(self, package: str, lookup: Lookup) -> Iterator[Rule]:
        if not isinstance(lookup(self.model), Model):
            raise AttributeProblem("model", "expected a model")
        engines = [Engine(name=f"{self.name}_{arch}", model=self.model) for arch in self.archs]
        yield from engines
        yield Group(name=self.name, members=tuple(Label(package, engine.name) for engine in engines))


@dataclass(frozen=True, kw_only=True)
class Tree(Rule):
    kind: ClassVar[str] = "tree"

    suffix: str = ""
    problem: str = ""

    def action(self, context: Context) -> Action:
        if self.problem:
            raise AttributeProblem("problem", self.problem)
        return Action("Tree", "rules:tree", {}, {"tree": context.output(self.suffix, tree=True)})


def label(text: str) -> Label:
    return Label.parse(text, "models/x")


def model(name: str, *deps: str) -> Model:
    return Model(name=name, deps=tuple(map(label, deps)))


def graph(*rules: Rule, **packages: list[Rule]) -> Graph:
    """Analyses rules of models/x, declared on lines 1, 2, ..., and those of other packages below models."""
    return analyse(
        {
            f"models/{package}": [Declared(rule, Location(f"models/{package}/BUILD.py", line)) for line, rule in enumerate(found, 1)]
            for package, found in {"x": list(rules), **packages}.items()
        }
    )


def problem(*rules: Rule, **packages: list[Rule]) -> str:
    with pytest.raises(DeclarationError) as caught:
        graph(*rules, **packages)
    return str(caught.value)


def names(found: Graph) -> list[str]:
    return [str(each) for each in found.targets]


def test_targets_become_actions_after_what_they_depend_on() -> None:
    found = graph(
        Group(name="all", members=(label(":engine"), label(":a"))),
        Engine(name="engine", model=label(":b")),
        model("b", ":a", "models/y:c", ":a"),
        model("a"),
        y=[model("c")],
    )
    assert names(found) == ["models/x:a", "models/y:c", "models/x:b", "models/x:engine", "models/x:all"]
    target = found.targets[label(":b")]
    assert target.deps == (label(":a"), label("models/y:c"))
    assert target.action is not None
    assert [each.path for each in target.action.inputs.values()] == ["build/models/x/a.onnx", "build/models/y/c.onnx"]
    assert str(target) == "models/x/BUILD.py:3: model(name='b')"
    assert found.targets[label(":all")].action is None


def test_a_declaration_may_stand_for_several_targets() -> None:
    found = graph(Matrix(name="engines", model=label(":m"), archs=("sm_80", "sm_90")), model("m"))
    assert names(found) == ["models/x:m", "models/x:engines_sm_80", "models/x:engines_sm_90", "models/x:engines"]
    assert {str(each.location) for each in found.targets.values()} == {"models/x/BUILD.py:1", "models/x/BUILD.py:2"}


def test_a_name_declared_twice_is_refused_with_both_places() -> None:
    assert problem(model("a"), model("b"), Tree(name="a")) == (
        "models/x/BUILD.py:3: tree(name='a'): the name 'a' is taken by a model declared at models/x/BUILD.py:1"
    )
    assert problem(model("m"), Engine(name="e_sm_80", model=label(":m")), Matrix(name="e", model=label(":m"), archs=("sm_80",))) == (
        "models/x/BUILD.py:3: engine(name='e_sm_80'): the name 'e_sm_80' is taken by a engine declared at models/x/BUILD.py:2"
    )


def test_one_name_in_two_packages_is_two_targets() -> None:
    assert names(graph(model("a"), y=[model("a")])) == ["models/x:a", "models/y:a"]


def test_a_label_of_nothing_is_refused_with_the_nearest_there_is() -> None:
    assert problem(model("weights"), model("onnx", ":weigths")) == (
        "models/x/BUILD.py:2: model(name='onnx'): deps[0]: there is no target 'models/x:weigths' (did you mean 'weights'?)"
    )
    assert problem(model("a", ":zzz")).endswith("deps[0]: there is no target 'models/x:zzz' (there are: a)")
    assert problem(model("onnx", "model/x:onnx")).endswith("deps[0]: there is no package 'model/x' (did you mean 'models/x'?)")
    assert problem(Matrix(name="e", model=label(":m"), archs=()), model("n")) == (
        "models/x/BUILD.py:1: matrix(name='e'): there is no target 'models/x:m' (there are: e, n)"
    )


def test_a_target_without_the_output_that_is_needed_is_refused_with_what_it_provides() -> None:
    start = "models/x/BUILD.py:1: engine(name='e'): model: expected a target that provides 'onnx', but models/x:"
    engine = Engine(name="e", model=label(":m"))
    assert problem(engine, Engine(name="m", model=label(":n")), model("n")) == f"{start}m is an engine, which provides engine, sidecar"
    assert problem(engine, Tree(name="m")) == f"{start}m is a tree"
    assert problem(engine, Group(name="m", members=(label(":n"),)), model("n")) == (
        f"{start}m is a group: name one of its members (models/x:n)"
    )


def test_a_cycle_is_refused_with_every_step_and_its_place() -> None:
    assert problem(model("z", ":a"), model("a", ":b"), model("b", "models/y:c"), y=[model("c", "models/x:a")]) == (
        "models/x/BUILD.py:2: models/x:a depends on itself: models/x:a (models/x/BUILD.py:2) -> models/x:b (models/x/BUILD.py:3)"
        " -> models/y:c (models/y/BUILD.py:1) -> models/x:a (models/x/BUILD.py:2)"
    )
    assert problem(model("a", ":a")) == (
        "models/x/BUILD.py:1: models/x:a depends on itself: models/x:a (models/x/BUILD.py:1) -> models/x:a (models/x/BUILD.py:1)"
    )


def test_a_chain_may_be_longer_than_pythons_stack() -> None:
    chain = [model(f"m{i}", f":m{i + 1}") for i in range(5000)]
    found = graph(*chain, model("m5000"))
    assert names(found)[0] == "models/x:m5000"
    assert len(found.closure([label(":m0")])) == 5001


def test_two_targets_must_not_write_one_path() -> None:
    assert problem(Tree(name="a", suffix=".b.onnx"), model("a.b")) == (
        "models/x/BUILD.py:2: model(name='a.b'): writes build/models/x/a.b.onnx, as does models/x:a (models/x/BUILD.py:1): rename one"
    )


@pytest.mark.parametrize("order", [1, -1])
def test_a_target_must_not_write_into_the_folder_of_another(order: int) -> None:
    tree, inside = Declared(Tree(name="t"), Location("models/x/BUILD.py", 1)), Declared(model("m"), Location("models/x/t/BUILD.py", 1))
    packages = {"models/x": [tree], "models/x/t": [inside]}
    with pytest.raises(DeclarationError) as caught:
        analyse(dict(list(packages.items())[::order]))
    assert str(caught.value) == (
        "models/x/t/BUILD.py:1: model(name='m'): writes build/models/x/t/m.onnx,"
        " inside build/models/x/t, which models/x:t (models/x/BUILD.py:1) writes: rename one"
    )


def test_a_problem_found_during_analysis_is_told_with_its_place() -> None:
    assert problem(Tree(name="t", problem="no")) == "models/x/BUILD.py:1: tree(name='t'): problem: no"
    assert problem(Tree(name="t"), Matrix(name="e", model=label(":t"), archs=())) == (
        "models/x/BUILD.py:2: matrix(name='e'): model: expected a model"
    )


@given(st.lists(st.sets(st.integers(0, 14)), min_size=1, max_size=15), st.randoms(use_true_random=False))
def test_the_order_and_the_closure_hold_for_any_graph_without_cycles(edges: list[set[int]], random: object) -> None:
    rules = [model(f"t{i}", *(f":t{dep}" for dep in sorted(deps) if dep < i)) for i, deps in enumerate(edges)]
    random.shuffle(rules)  # type: ignore[attr-defined]
    found = graph(*rules)
    order = list(found.targets)
    assert sorted(order) == sorted(label(f":{rule.name}") for rule in rules)
    assert all(order.index(dep) < order.index(each) for each in order for dep in found.targets[each].deps)
    start = order[-1]
    closure = found.closure([start])
    assert closure == [each for each in order if each in closure]
    assert set(closure) == {start}.union(*(found.closure([dep]) for dep in found.targets[start].deps))


def test_patterns_select_targets_and_packages() -> None:
    found = graph(model("a"), model("b", ":a"), y=[model("a")])
    assert found.packages() == ["models/x", "models/y"]
    assert found.select([]) == set(found.targets)
    assert found.select(["models/x:b"]) == {label(":b")}
    assert found.select(["//models/x:b", "models/y/"]) == {label(":b"), label("models/y:a")}
    assert found.select(["models/x", "models/x:a"]) == {label(":a"), label(":b")}
    assert found.closure(found.select(["models/x:b"])) == [label(":a"), label(":b")]


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("models/z", "no package 'models/z' (did you mean 'models/x'?)"),
        ("minilm", "no package 'minilm' (there are: models/x)"),
        ("models/z:weights", "no package 'models/z' (did you mean 'models/x'?)"),
        ("models/x:weight", "no target 'weight' in package 'models/x' (did you mean 'weights'?)"),
        ("models/x:zzz", "no target 'zzz' in package 'models/x' (there are: onnx, weights)"),
        ("models/x:", "'models/x:' is not a label: '' is not a target name"),
        (":weights", "':weights' is not a label: '' is not a package name"),
        ("", "no package '' (there are: models/x)"),
    ],
)
def test_a_pattern_that_means_nothing_is_refused_with_the_nearest(pattern: str, problem: str) -> None:
    with pytest.raises(ValueError) as caught:
        graph(model("weights"), model("onnx")).select(["models/x:onnx", pattern])
    assert str(caught.value) == problem


def test_no_packages_are_an_empty_graph() -> None:
    found = analyse({})
    assert found.packages() == [] and found.select([]) == set() and found.closure([]) == []
