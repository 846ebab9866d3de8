from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import pytest

from enginewright.errors import DeclarationError
from enginewright.graph.action import Artifact
from enginewright.graph.attributes import AttributeProblem, Needs, Source
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Declared, Group, Loading, Location, Rule, declaration, loading

PATH = "models/x/BUILD.py"
BuildFile = Callable[..., list[Declared]]


@dataclass(frozen=True, kw_only=True)
class Convert(Rule):
    """Converts."""

    kind: ClassVar[str] = "convert"
    provides: ClassVar[Mapping[str, str]] = {"onnx": ".onnx"}

    model: Annotated[Label, Needs("onnx")]
    srcs: tuple[Annotated[str, Source()], ...] = ()
    dims: Mapping[str, int] = field(default_factory=dict)

    def check(self) -> None:
        if 0 in self.dims.values():
            raise AttributeProblem("dims", "expected sizes of at least 1")


convert = declaration(Convert)


@pytest.fixture
def build_file() -> BuildFile:
    """Runs a text as models/x/BUILD.py, and returns what it declares."""

    def run(source: str, **names: Any) -> list[Declared]:
        into = Loading("models/x", PATH)
        token = loading.set(into)
        try:
            exec(compile(source, PATH, "exec"), {"convert": convert, **names})
        finally:
            loading.reset(token)
        return into.declared

    return run


def test_a_call_declares_a_target_with_checked_attributes_and_its_line(build_file: BuildFile) -> None:
    declared = build_file("\n\nconvert(name='a', model=':onnx', srcs=['net.py'])\nconvert(name='b', model='models/y:onnx', dims={'n': 2})")
    assert declared == [
        Declared(Convert(name="a", model=Label("models/x", "onnx"), srcs=("net.py",)), Location(PATH, 3)),
        Declared(Convert(name="b", model=Label("models/y", "onnx"), dims={"n": 2}), Location(PATH, 4)),
    ]


def test_the_line_is_the_innermost_of_the_build_file(build_file: BuildFile) -> None:
    def elsewhere(**attributes: Any) -> None:
        convert(**attributes)

    source = """\
def both(name):
    convert(
        name=name,
        model=':onnx',
    )
    elsewhere(name=name + '_2', model=':onnx')


for name in ['a']:
    both(name)
[elsewhere(name=n, model=':onnx') for n in 'b']
"""
    assert [str(each.location) for each in build_file(source, elsewhere=elsewhere)] == [f"{PATH}:2", f"{PATH}:6", f"{PATH}:11"]


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        ("convert(name='a')", "convert(name='a'): missing attribute 'model' (the label of a target that provides 'onnx')"),
        ("convert(model=':m')", "convert(): missing attribute 'name' (a string)"),
        ("convert(name='a', modl=':m')", "convert(name='a'): unknown attribute 'modl' (did you mean 'model'?)"),
        ("convert(name='a', model=3)", "convert(name='a'): model: expected a label, as ':name' or 'package:name', got 3"),
        ("convert(name='a', model=':m', dims={'n': 'x'})", "convert(name='a'): dims['n']: expected an integer, got 'x'"),
        ("convert(name='a', model=':m', dims={'n': 0})", "convert(name='a'): dims: expected sizes of at least 1"),
        ("convert(name='a/b', model=':m')", "convert(name='a/b'): name: 'a/b' cannot name a target: use letters, digits and _ . + -"),
        ("convert(name=None, model=':m')", "convert(name=None): name: expected a string, got None"),
        ("convert('a', ':m')", "convert(): give attributes by name, as in convert(name=...)"),
        ("convert(':m', name='a')", "convert(name='a'): give attributes by name, as in convert(name=...)"),
    ],
)
def test_a_wrong_call_is_refused_with_file_line_rule_and_attribute(build_file: BuildFile, call: str, problem: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        build_file(f"\n{call}")
    assert str(caught.value) == f"{PATH}:2: {problem}"


def test_a_refused_call_declares_nothing(build_file: BuildFile) -> None:
    source = "try:\n    convert(name='a', model=3)\nexcept Exception:\n    pass\nconvert(name='b', model=':m')"
    assert [each.rule.name for each in build_file(source)] == ["b"]


def test_a_rule_can_only_be_called_from_a_build_file() -> None:
    with pytest.raises(DeclarationError, match=r"^convert\(\) declares a target: call it in a BUILD\.py$"):
        convert(name="a", model=Label("models/x", "onnx"))


def test_two_threads_load_two_packages_apart(build_file: BuildFile) -> None:
    found: dict[str, list[str]] = {}

    def load(name: str) -> None:
        found[name] = [each.rule.name for each in build_file(f"for i in range(200): convert(name=f'{name}{{i}}', model=':m')")]

    threads = [threading.Thread(target=load, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {name: [f"{name}{i}" for i in range(200)] for name in "ab"}


def test_a_declaration_is_named_and_documented_as_its_rule() -> None:
    assert (convert.__name__, convert.__doc__, vars(convert)["rule"]) == ("convert", "Converts.", Convert)


def test_the_attributes_of_a_rule_are_its_fields_and_those_of_every_rule() -> None:
    assert list(Convert.attributes()) == ["name", "model", "srcs", "dims"]
    assert Convert(name="a", model=Label("p", "m")).provided() == {"onnx": ".onnx"}


def test_a_rule_stands_for_itself_and_does_nothing_unless_it_says_otherwise() -> None:
    group = Group(name="all", members=(Label("p", "a"),))
    assert list(group.expand("p", lambda label: group)) == [group]
    assert group.action(Context(Label("p", "all"), lambda label: {})) is None
    assert group.provided() == {}


def test_the_context_of_a_target_gives_artifacts_their_paths() -> None:
    made = {"onnx": Artifact("build/models/y/m.onnx")}
    context = Context(Label("models/x", "a"), {Label("models/y", "m"): made}.__getitem__)
    assert context.source("data/labels.txt") == Artifact("models/x/data/labels.txt")
    assert context.source("dist://some-model/w/model.pth") == Artifact(
        "external/some-model/w/model.pth", origin="dist://some-model/w/model.pth"
    )
    assert context.input(Label("models/y", "m"), "onnx") == made["onnx"]
    assert context.outputs(Label("models/y", "m")) == made
    assert context.output(".onnx") == Artifact("build/models/x/a.onnx")
    assert context.output("", tree=True) == Artifact("build/models/x/a", tree=True)
