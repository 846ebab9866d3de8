from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import pytest

from enginewright.graph.attributes import (
    AttributeProblem,
    Function,
    Needs,
    Source,
    attribute_types,
    describe,
    did_you_mean,
    label_attributes,
    read_attributes,
)
from enginewright.graph.label import Label

PACKAGE = "models/x"
File = Annotated[str, Source()]
Onnx = Annotated[Label, Needs("onnx")]


@dataclass(frozen=True)
class Range:
    low: int
    high: int


def read(hint: Any, value: object) -> Any:
    return read_attributes({"attr": hint}, {"attr": value}, package=PACKAGE, required=["attr"])["attr"]


def problem(hint: Any, value: object) -> str:
    with pytest.raises(AttributeProblem) as caught:
        read(hint, value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (str, "text", "text"),
        (int, 3, 3),
        (bool, True, True),
        (float, 0.5, 0.5),
        (float, 3, 3.0),
        (Label, ":weights", Label(PACKAGE, "weights")),
        (Label, "//models/y:weights", Label("models/y", "weights")),
        (Onnx, ":onnx", Label(PACKAGE, "onnx")),
        (File, "net.py", "net.py"),
        (File, "data/labels.txt", "data/labels.txt"),
        (File, "dist://some-model/model.pth", "dist://some-model/model.pth"),
        (Annotated[str, Function()], "src/net.py:build", "src/net.py:build"),
        (str | None, None, None),
        (int | str, "batch", "batch"),
        (bool | int, 1, 1),
        (Literal["nchw", "nhwc"], "nhwc", "nhwc"),
        (Literal[8, 16], 16, 16),
        (tuple[str, ...], ["a", "b"], ("a", "b")),
        (tuple[str, ...], (), ()),
        (tuple[int, int, int], (1, 8, 32), (1, 8, 32)),
        (tuple[tuple[int | str, ...], ...], [[1, "n"], []], ((1, "n"), ())),
        (tuple[Label, ...] | None, [":a"], (Label(PACKAGE, "a"),)),
        (Mapping[str, tuple[int, ...]], {"batch": [1, 2]}, {"batch": (1, 2)}),
        (Mapping[str, Label | File], {"/a": ":a", "/b": "b.txt"}, {"/a": Label(PACKAGE, "a"), "/b": "b.txt"}),
        (Range, Range(1, 2), Range(1, 2)),
        (Range | int, Range(1, 2), Range(1, 2)),
        (Mapping[str, Any], {"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
    ],
)
def test_a_value_of_the_declared_type_is_taken(hint: Any, value: object, expected: object) -> None:
    taken = read(hint, value)
    assert taken == expected
    assert type(taken) is type(expected)


@pytest.mark.parametrize(
    ("hint", "value", "message"),
    [
        (str, 3, "attr: expected a string, got 3"),
        (str, b"net.py", "attr: expected a string, got b'net.py'"),
        (str, None, "attr: expected a string, got None"),
        (int, "3", "attr: expected an integer, got '3'"),
        (int, 3.0, "attr: expected an integer, got 3.0"),
        (int, True, "attr: expected an integer, got True"),
        (float, False, "attr: expected a finite number, got False"),
        (float, float("nan"), "attr: expected a finite number, got nan"),
        (float, float("-inf"), "attr: expected a finite number, got -inf"),
        (bool, 1, "attr: expected True or False, got 1"),
        (type(None), 0, "attr: expected None, got 0"),
        (str | None, 3, "attr: expected a string or None, got 3"),
        (int | float, True, "attr: expected an integer or a finite number, got True"),
        (Literal["nchw", "nhwc"], "hwc", "attr: expected 'nchw' or 'nhwc', got 'hwc'"),
        (Literal["nchw"], ["nchw"], "attr: expected 'nchw', got ['nchw']"),
        (Literal[1, 2], True, "attr: expected 1 or 2, got True"),
        (Literal[1, 2], 2.0, "attr: expected 1 or 2, got 2.0"),
        (Range, (1, 2), "attr: expected Range, got (1, 2)"),
        (Range, Range, "attr: expected Range, got <class"),
        (tuple[str, ...], "ab", "attr: expected a list, each item a string, got 'ab'"),
        (tuple[str, ...], {"a": 1}, "attr: expected a list, each item a string, got {'a': 1}"),
        (tuple[int, int, int], (1, 2), "attr: expected (an integer, an integer, an integer), got (1, 2)"),
        (Mapping[str, int], [("a", 1)], "attr: expected a dict from a string to an integer, got [('a', 1)]"),
        (str, ["x" * 100], f"attr: expected a string, got ['{'x' * 55}..."),
    ],
)
def test_a_value_of_another_type_is_refused_with_what_was_expected(hint: Any, value: object, message: str) -> None:
    assert problem(hint, value).startswith(message)


@pytest.mark.parametrize(
    ("hint", "value", "message"),
    [
        (tuple[str, ...], ["a", 3], "attr[1]: expected a string, got 3"),
        (tuple[tuple[int, ...], ...], [[1], [2, "x"]], "attr[1][1]: expected an integer, got 'x'"),
        (tuple[int, str], (1, 2), "attr[1]: expected a string, got 2"),
        (Mapping[str, int], {"batch": "1"}, "attr['batch']: expected an integer, got '1'"),
        (Mapping[str, int], {1: 1}, "attr key: expected a string, got 1"),
        (Mapping[str, tuple[int, ...]], {"batch": [1, None]}, "attr['batch'][1]: expected an integer, got None"),
        (tuple[int, ...] | None, [1, "x"], "attr[1]: expected an integer, got 'x'"),
        (Mapping[str, int | None] | None, {"a": "x"}, "attr['a']: expected an integer or None, got 'x'"),
        (tuple[Label, ...], [":a", "b"], "attr[1]: 'b' is not a label: write 'package:name', or ':name' for a target of the same package"),
    ],
)
def test_a_wrong_item_is_named(hint: Any, value: object, message: str) -> None:
    assert problem(hint, value) == message


@pytest.mark.parametrize("hint", [Label, Onnx, Label | None, Onnx | None])
def test_a_text_that_is_no_label_is_told_so(hint: Any) -> None:
    assert problem(hint, "weights").startswith("attr: 'weights' is not a label: write ")
    assert problem(hint, ":a b") == "attr: ':a b' is not a label: 'a b' is not a target name"


BELOW = "must be a path below the package, with no '..' and not absolute"


@pytest.mark.parametrize("hint", [File, File | None, Label | File, File | Label, Onnx | File])
@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("../x", BELOW),
        ("a/../../x", BELOW),
        ("..", BELOW),
        ("./x", BELOW),
        (".", BELOW),
        ("a//b", BELOW),
        ("a/", BELOW),
        ("/etc/passwd", BELOW),
        ("", BELOW),
        ("dist://some-model", "names no file: write dist://DISTRIBUTION/PATH/IN/IT"),
        ("dist://some-model/", "names no file: write dist://DISTRIBUTION/PATH/IN/IT"),
        ("dist://some-model/../x", BELOW),
        ("dist:///x", "names no file: write dist://DISTRIBUTION/PATH/IN/IT"),
    ],
)
def test_a_source_outside_the_package_is_refused(hint: Any, path: str, why: str) -> None:
    assert problem(hint, path) == f"attr: {path!r} {why}"


@pytest.mark.parametrize("hint", [Label | File, File | Label, Onnx | File, File | Onnx | None])
def test_where_a_label_or_a_file_may_stand_a_colon_tells_which(hint: Any) -> None:
    assert read(hint, "net.py") == "net.py"
    assert read(hint, ":net") == Label(PACKAGE, "net")
    assert read(hint, "dist://some-model/model.pth") == "dist://some-model/model.pth"
    assert problem(hint, "models/x:a b") == "attr: 'models/x:a b' is not a label: 'a b' is not a target name"
    assert problem(hint, "../x:a") == "attr: '../x:a' is not a label: '../x' is not a package name"
    assert "a file of the package, as 'net.py', or 'dist://NAME/PATH'" in problem(hint, 3)


@pytest.mark.parametrize("text", ["net.py", "net:build", "net.py:", "net.py:a.b", "../net.py:build", "/net.py:build", "net.py:build "])
def test_a_function_is_a_python_file_of_the_package_and_a_name(text: str) -> None:
    assert problem(Annotated[str, Function()], text) == f"attr: expected FILE.py:FUNCTION, as 'net.py:build', got {text!r}"


def test_an_unknown_attribute_is_answered_with_the_nearest() -> None:
    hints = {"name": str, "checkpoint": Label}
    with pytest.raises(AttributeProblem) as caught:
        read_attributes(hints, {"name": "a", "chekpoint": ":w"}, package=PACKAGE, required=hints)
    assert str(caught.value) == "unknown attribute 'chekpoint' (did you mean 'checkpoint'?)"
    with pytest.raises(AttributeProblem) as caught:
        read_attributes(hints, {"zzz": 1}, package=PACKAGE, required=hints)
    assert str(caught.value) == "unknown attribute 'zzz' (there are: checkpoint, name)"


def test_a_missing_attribute_is_named_with_what_it_is() -> None:
    hints = {"name": str, "model": Onnx, "function": Annotated[str, Function()], "opset": int}
    with pytest.raises(AttributeProblem) as caught:
        read_attributes(hints, {"name": "a"}, package=PACKAGE, required=["name", "model", "function"])
    assert str(caught.value) == "missing attribute 'model' (the label of a target that provides 'onnx')"
    with pytest.raises(AttributeProblem) as caught:
        read_attributes(hints, {"name": "a", "model": ":m"}, package=PACKAGE, required=["name", "model", "function"])
    assert str(caught.value) == "missing attribute 'function' (a function of a file of the package, as 'net.py:build')"


def test_what_was_not_given_is_left_to_its_default() -> None:
    assert read_attributes({"name": str, "opset": int}, {"name": "a"}, package=PACKAGE, required=["name"]) == {"name": "a"}


def test_nothing_to_suggest_says_nothing() -> None:
    assert did_you_mean("x", []) == ""


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (Mapping[str, tuple[int, ...]], "a dict from a string to a list, each item an integer"),
        (Label | File, "a label, as ':name' or 'package:name' or a file of the package, as 'net.py', or 'dist://NAME/PATH'"),
        (Annotated[int, "a remark"], "an integer"),
        (tuple[str, float] | None, "(a string, a finite number) or None"),
    ],
)
def test_a_type_has_words(hint: Any, words: str) -> None:
    assert describe(hint) == words


def test_every_label_of_a_declaration_is_found_with_what_its_target_must_provide() -> None:
    a, b, c = (Label(PACKAGE, name) for name in "abc")
    hints = {
        "name": str,
        "model": Onnx,
        "other": Label | None,
        "unset": Onnx | None,
        "maybe": Onnx | None,
        "many": tuple[Onnx, ...],
        "pair": tuple[str, Label],
        "files": Mapping[str, Label | File],
        "nested": Mapping[str, tuple[Onnx, ...]],
        "perhaps": tuple[Onnx, ...] | None,
        "either": str | Mapping[str, Onnx],
        "params": Mapping[str, Any],
    }
    values = {
        "name": "x", "model": a, "other": b, "unset": None, "maybe": c, "many": (a, b), "pair": (":text", c),
        "files": {"/a": a, "/b": "b.txt"}, "nested": {"n": (b, c)}, "perhaps": (a,), "either": {"e": b}, "params": {"p": {"q": [1]}},
    }  # fmt: skip
    onnx = Needs("onnx")
    assert list(label_attributes(hints, values)) == [
        ("model", a, onnx),
        ("other", b, None),
        ("maybe", c, onnx),
        ("many[0]", a, onnx),
        ("many[1]", b, onnx),
        ("pair[1]", c, None),
        ("files['/a']", a, None),
        ("nested['n'][0]", b, onnx),
        ("nested['n'][1]", c, onnx),
        ("perhaps[0]", a, onnx),
        ("either['e']", b, onnx),
    ]


def test_attributes_are_the_annotated_fields_but_not_class_variables() -> None:
    class Declaration:
        kind: ClassVar[str] = "declaration"
        name: str
        srcs: Annotated[str, Source()]

    assert attribute_types(Declaration) == {"name": str, "srcs": File}
