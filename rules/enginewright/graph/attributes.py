"""Reading the attributes of a declaration: checked against the types of a rule's fields, in words a user understands."""

from __future__ import annotations

import difflib
import functools
import math
import re
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from enginewright.graph.label import Label


class AttributeProblem(Exception):
    """What is wrong with one attribute; `enginewright.graph.rule` adds file, line and rule."""

    def __init__(self, attribute: str, problem: str) -> None:
        super().__init__(attribute, problem)
        self.attribute = attribute
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.attribute}: {self.problem}" if self.attribute else self.problem


class _OtherType(AttributeProblem):
    """The value is of another type altogether. In a union, another member may still take it."""


@dataclass(frozen=True)
class Needs:
    """Marks a label attribute, as ``Annotated[Label, Needs("onnx")]``, with the output its target must provide, or another that will do."""

    output: str
    alternative: str = ""

    def met_by(self, provided: Collection[str]) -> bool:
        """Whether a target that provides these outputs will do."""
        return self.output in provided or self.alternative in provided

    def __str__(self) -> str:
        return f"{self.output!r} or {self.alternative!r}" if self.alternative else repr(self.output)


@dataclass(frozen=True)
class Source:
    """Marks a string attribute, as ``Annotated[str, Source()]``, that names a file of the package or of a distribution."""


@dataclass(frozen=True)
class Function:
    """Marks a string attribute, as ``Annotated[str, Function()]``, that names a function of a file of the package."""


_FUNCTION = re.compile(r"[\w-]+(/[\w-]+)*\.py:[A-Za-z_]\w*")


@functools.cache
def attribute_types(cls: type[Any]) -> Mapping[str, Any]:
    """The attributes of a rule class and their types, annotations included."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {name: hint for name, hint in hints.items() if get_origin(hint) is not ClassVar}


def read_attributes(hints: Mapping[str, Any], given: Mapping[str, object], *, package: str, required: Collection[str]) -> dict[str, Any]:
    """Check ``given`` against ``hints`` and return it with lists as tuples and label texts as `Label`.

    Raises AttributeProblem for an unknown or missing attribute, and for a value of another type.
    """
    for name in given:
        if name not in hints:
            raise AttributeProblem("", f"unknown attribute {name!r}{did_you_mean(name, hints)}")
    for name in hints:
        if name in required and name not in given:
            raise AttributeProblem("", f"missing attribute {name!r} ({describe(hints[name])})")
    return {name: _read(hints[name], value, name, package) for name, value in given.items()}


def label_attributes(hints: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[tuple[str, Label, Needs | None]]:
    """Every label in a declaration's values: the attribute it stands in, the label, and what its target must provide."""
    for name, hint in hints.items():
        yield from _labels(hint, values[name], name)


def _labels(hint: Any, value: Any, where: str) -> Iterator[tuple[str, Label, Needs | None]]:
    origin, args = get_origin(hint), get_args(hint)
    if isinstance(value, Label):
        marks = [mark for arg in (hint, *args) for mark in getattr(arg, "__metadata__", ()) if isinstance(mark, Needs)]
        yield where, value, marks[0] if marks else None
    elif origin is tuple and isinstance(value, tuple):
        for i, item in enumerate(value):
            yield from _labels(args[0] if args[-1] is Ellipsis else args[i], item, f"{where}[{i}]")
    elif origin is Mapping and isinstance(value, Mapping):
        for key, item in value.items():
            yield from _labels(args[1], item, f"{where}[{key!r}]")
    elif origin in (Union, types.UnionType):
        kind = Mapping if isinstance(value, Mapping) else type(value)
        yield from _labels(next((arg for arg in args if get_origin(arg) is kind), None), value, where)


def did_you_mean(wrong: str, known: Collection[str]) -> str:
    """`` (did you mean 'x'?)``, or, where nothing is close, the names there are."""
    close = difflib.get_close_matches(wrong, known, n=1)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (there are: {', '.join(sorted(known))})" if known else ""


def describe(hint: Any) -> str:
    """A type, in words."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        for mark in args[1:]:
            if isinstance(mark, Needs):
                return f"the label of a target that provides {mark}"
            if isinstance(mark, Source):
                return "a file of the package, as 'net.py', or 'dist://NAME/PATH'"
            if isinstance(mark, Function):
                return "a function of a file of the package, as 'net.py:build'"
        return describe(args[0])
    if origin in (Union, types.UnionType):
        return " or ".join(describe(arg) for arg in args)
    if origin is Literal:
        return " or ".join(repr(arg) for arg in args)
    if origin is tuple:
        if args[-1] is Ellipsis:
            return f"a list, each item {describe(args[0])}"
        return f"({', '.join(describe(arg) for arg in args)})"
    if origin in (Mapping, dict):
        return f"a dict from {describe(args[0])} to {describe(args[1])}"
    words = {
        str: "a string", int: "an integer", float: "a finite number", bool: "True or False", type(None): "None",
        Label: "a label, as ':name' or 'package:name'",
    }  # fmt: skip
    return words.get(hint, f"{getattr(hint, '__name__', hint)}")


def _read(hint: Any, value: object, where: str, package: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        read = _read(args[0], value, where, package)
        if _marked(hint, Source):
            check_source(read, where)
        if _marked(hint, Function) and not _FUNCTION.fullmatch(read):
            raise AttributeProblem(where, f"expected FILE.py:FUNCTION, as 'net.py:build', got {read!r}")
        return read
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _read_union(args, value, where, package, hint)
    if origin is Literal and (type(value), value) in [(type(arg), arg) for arg in args]:
        return value
    if origin is tuple and isinstance(value, (list, tuple)):
        if args[-1] is Ellipsis:
            return tuple(_read(args[0], item, f"{where}[{i}]", package) for i, item in enumerate(value))
        if len(value) == len(args):
            return tuple(_read(arg, item, f"{where}[{i}]", package) for i, (arg, item) in enumerate(zip(args, value)))
    if origin is Mapping and isinstance(value, Mapping):
        return {
            _read(args[0], key, f"{where} key", package): _read(args[1], item, f"{where}[{key!r}]", package) for key, item in value.items()
        }
    if hint is Label and isinstance(value, str):
        try:
            return Label.parse(value, package)
        except ValueError as error:
            raise AttributeProblem(where, str(error)) from None
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if hint is int and isinstance(value, bool):
        pass
    elif (hint in (str, int, bool, type(None)) and isinstance(value, hint)) or (
        is_dataclass(hint) and isinstance(hint, type) and isinstance(value, hint)
    ):
        return value
    raise _OtherType(where, f"expected {describe(hint)}, got {_shorten(repr(value))}")


def _read_union(args: tuple[Any, ...], value: object, where: str, package: str, hint: Any) -> Any:
    problem: AttributeProblem | None = None
    for arg in _meant(args, value) if isinstance(value, str) else args:
        try:
            return _read(arg, value, where, package)
        except AttributeProblem as error:
            # A problem with the text of a label or a path, or inside a list or dict, tells more than "expected A or B".
            if error.attribute != where or not isinstance(error, _OtherType):
                problem = error
    raise problem or _OtherType(where, f"expected {describe(hint)}, got {_shorten(repr(value))}")


def _meant(args: tuple[Any, ...], text: str) -> tuple[Any, ...]:
    """The members of a union that a text is meant for: where a label or a file may stand, a colon tells a label."""
    files = tuple(arg for arg in args if _marked(arg, Source))
    labels = tuple(arg for arg in args if arg is Label or _marked(arg, Needs))
    if not (files and labels):
        return args
    return labels if ":" in text and not text.startswith("dist://") else files


def _marked(hint: Any, mark: type[Any]) -> bool:
    return any(isinstance(each, mark) for each in getattr(hint, "__metadata__", ()))


def check_least(attribute: str, value: float | None, least: int, unit: str = "") -> None:
    """Raise AttributeProblem for a number below the least. None is none."""
    if value is not None and value < least:
        raise AttributeProblem(attribute, f"is {value}: expected at least {least}{unit and f' {unit}'}")


def check_source(path: str, where: str) -> None:
    """Raise AttributeProblem for a path that names no file of the package or of a distribution."""
    rest = path.removeprefix("dist://")
    if rest != path and "/" not in rest.strip("/"):
        raise AttributeProblem(where, f"{path!r} names no file: write dist://DISTRIBUTION/PATH/IN/IT")
    if not rest or rest.startswith("/") or {"", ".", ".."} & set(rest.split("/")):
        raise AttributeProblem(where, f"{path!r} must be a path below the package, with no '..' and not absolute")
    if "\0" in path:
        raise AttributeProblem(where, f"{path!r} can be no path: it has a NUL character")


def _shorten(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
