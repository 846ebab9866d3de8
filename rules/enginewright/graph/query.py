"""The query language: targets by what they depend on, what depends on them, their rule and their attributes.

It is a part of Bazel's query language (https://bazel.build/query/language), with the workspace as the universe::

    expression = operand {("+" | "union" | "-" | "except" | "^" | "intersect") operand}
    operand    = "(" expression ")" | word
               | "deps" "(" expression ["," depth] ")"  | "rdeps" "(" expression ["," depth] ")"
               | "somepath" "(" expression "," expression ")"
               | "kind" "(" word "," expression ")"     | "attr" "(" word "," word "," expression ")"

Operators bind equally strongly, from left to right. A word in quotes, single or double, is taken as it is; one without may
hold letters, digits and ``_ . / : @ ~ $ [ ] * -``, and begins with neither ``*`` nor ``-``. As an operand it is a label, a
package, ``PATH/...`` for all packages at and below a path, or ``//...``, ``...`` or ``*`` for every target.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple, Protocol

from enginewright.graph.attributes import did_you_mean
from enginewright.graph.dag import Graph
from enginewright.graph.label import Label


class QueryError(ValueError):
    """What is wrong with an expression. The message shows the expression, with a caret below the place."""


def query(graph: Graph, text: str) -> list[Label]:
    """The targets of ``graph`` that an expression means, each after those it depends on.

    Raises QueryError for an expression that is none, and for a label, kind or attribute that ``graph`` does not have.
    """
    try:
        found = _Parser(text).parse().targets(graph)
    except _Problem as problem:
        raise QueryError(_shown(text, problem)) from None
    return [label for label in graph.deps if label in found]


class _Problem(Exception):
    """What is wrong, and the position of the character at which it shows."""

    def __init__(self, problem: str, at: int) -> None:
        super().__init__(problem)
        self.at = at


def _shown(text: str, problem: _Problem) -> str:
    start = text.rfind("\n", 0, problem.at) + 1
    line = text[start:].partition("\n")[0].expandtabs(1)
    return f"{problem}\n  {line}\n  {' ' * (problem.at - start)}^"


class _Expression(Protocol):
    def targets(self, graph: Graph) -> set[Label]:
        """The targets it means."""


@dataclass(frozen=True)
class _Word:
    """A word: text where a function wants text, a label or package as an operand."""

    text: str
    at: int

    def targets(self, graph: Graph) -> set[Label]:
        if self.text in ("//...", "...", "*"):
            return set(graph.deps)
        path = self.text.removeprefix("//").removesuffix("/...")
        below = f"{path}/"
        if self.text.endswith("/...") and (found := {label for label in graph.deps if f"{label.package}/".startswith(below)}):
            return found
        try:
            return graph.select([path])
        except ValueError as error:
            raise _Problem(str(error), self.at) from None


_OPERATORS: Mapping[str, Callable[[set[Label], set[Label]], set[Label]]] = {
    "+": set.union, "union": set.union,
    "-": set.difference, "except": set.difference,
    "^": set.intersection, "intersect": set.intersection,
}  # fmt: skip


@dataclass(frozen=True)
class _Chain:
    """Operands, and before each but the first an operator."""

    first: _Expression
    rest: tuple[tuple[str, _Expression], ...]

    def targets(self, graph: Graph) -> set[Label]:
        found = self.first.targets(graph)
        for operator, operand in self.rest:
            found = _OPERATORS[operator](found, operand.targets(graph))
        return found


@dataclass(frozen=True)
class _Deps:
    """``deps`` and ``rdeps``: what can be reached in at most ``depth`` steps; in any number when it is None."""

    of: _Expression
    depth: int | None
    reverse: bool

    def targets(self, graph: Graph) -> set[Label]:
        edges = _reversed(graph.deps) if self.reverse else graph.deps
        reached = self.of.targets(graph)
        newest: Iterable[Label] = reached
        for _ in count() if self.depth is None else range(self.depth):
            newest = {neighbour for label in newest for neighbour in edges[label]} - reached
            if not newest:
                break
            reached |= newest
        return reached


def _reversed(deps: Mapping[Label, Iterable[Label]]) -> Mapping[Label, Iterable[Label]]:
    users: dict[Label, list[Label]] = {label: [] for label in deps}
    for label, each in deps.items():
        for dep in each:
            users[dep].append(label)
    return users


@dataclass(frozen=True)
class _SomePath:
    """A shortest chain of dependencies from a target of ``start`` to one of ``end``; nothing when there is none."""

    start: _Expression
    end: _Expression

    def targets(self, graph: Graph) -> set[Label]:
        starts, ends = self.start.targets(graph), self.end.targets(graph)
        # Breadth first; the value is the target through which each was reached.
        reached: dict[Label, Label | None] = {label: None for label in graph.deps if label in starts}
        waiting = list(reached)
        for label in waiting:
            if label in ends:
                return _way(reached, label)
            for dep in graph.deps[label]:
                if dep not in reached:
                    reached[dep] = label
                    waiting.append(dep)
        return set()


def _way(reached: Mapping[Label, Label | None], step: Label | None) -> set[Label]:
    way = set()
    while step is not None:
        way.add(step)
        step = reached[step]
    return way


@dataclass(frozen=True)
class _Kind:
    """The targets whose rule's name holds a match of a regular expression."""

    pattern: _Word
    among: _Expression

    def targets(self, graph: Graph) -> set[Label]:
        try:
            matches = re.compile(self.pattern.text).search
        except re.error as error:
            raise _Problem(f"{self.pattern.text!r} is not a regular expression: {error}", self.pattern.at) from None
        found = {label for label in self.among.targets(graph) if matches(graph.targets[label].kind)}
        if not found:
            kinds = {target.kind for target in graph.targets.values()}
            if not any(map(matches, kinds)):
                raise _Problem(f"no target is of a kind {self.pattern.text!r}{did_you_mean(self.pattern.text, kinds)}", self.pattern.at)
        return found


@dataclass(frozen=True)
class _Attr:
    """The targets with an attribute that is, as text, ``value``, or is a list with such an item."""

    name: _Word
    value: _Word
    among: _Expression

    def targets(self, graph: Graph) -> set[Label]:
        name, value = self.name.text, self.value.text
        having = {label: text for label in self.among.targets(graph) if (text := graph.targets[label].attributes.get(name)) is not None}
        if not having:
            names = {name for target in graph.targets.values() for name in target.attributes}
            if name not in names:
                raise _Problem(f"no target has an attribute {name!r}{did_you_mean(name, names)}", self.name.at)
        return {label for label, text in having.items() if text == value or value in _items(text)}


def _items(text: str) -> list[str]:
    """The items of a list attribute, from its text as `enginewright.graph.dag.Target` has it; none for any other text."""
    if text == "[]" or not (text.startswith("[") and text.endswith("]")):
        return []
    items, nesting = [""], 0
    for part in re.split(r"(, |[\[\](){}])", text[1:-1]):
        if part == ", " and nesting == 0:
            items.append("")
            continue
        nesting += (part in ("[", "(", "{")) - (part in ("]", ")", "}"))
        items[-1] += part
    return items


class _Token(NamedTuple):
    """``kind`` is word, quoted, sign, wrong or end."""

    kind: str
    text: str
    at: int


_TOKEN = re.compile(
    r"""(?P<word> [\w./:@~$\[\]] [\w./:@~$\[\]*-]* | \* (?![\w./:@~$\[\]*-]) )
      | (?P<quoted> "[^"]*" | '[^']*' )
      | (?P<sign> [()+^,-] )
      | (?P<wrong> \S )""",
    re.VERBOSE,
)
_FUNCTIONS = ("deps", "rdeps", "somepath", "kind", "attr")
_DEEPEST = 100
"""How deep parentheses may nest: far less than Python's stack takes."""


class _Parser:
    """Recursive descent, a method for each thing an expression is made of."""

    def __init__(self, text: str) -> None:
        self._tokens = [_Token(match.lastgroup or "", match[0], match.start()) for match in _TOKEN.finditer(text)]
        self._tokens.append(_Token("end", "", len(text.rstrip())))
        self._position = 0
        self._depth = 0

    def parse(self) -> _Expression:
        """The whole text as one expression. Raises _Problem."""
        expression = self._expression()
        if self._next.kind != "end":
            raise self._unexpected("an operator (+, -, ^) or the end")
        return expression

    @property
    def _next(self) -> _Token:
        return self._tokens[self._position]

    def _take(self) -> _Token:
        self._position += 1
        return self._tokens[self._position - 1]

    def _unexpected(self, expected: str) -> _Problem:
        token = self._next
        if token.kind == "wrong" and token.text in ("'", '"'):
            return _Problem(f"the quote {token.text} is never closed", token.at)
        found = f"found {token.text!r}" if token.text else "the expression ends"
        return _Problem(f"expected {expected}, but {found}", token.at)

    def _expect(self, sign: str, expected: str) -> None:
        if self._next.kind != "sign" or self._next.text != sign:
            raise self._unexpected(expected)
        self._take()

    def _expression(self) -> _Expression:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _Problem(f"parentheses are nested more than {_DEEPEST} deep", self._next.at)
        first = self._operand()
        rest = []
        while self._next.kind in ("word", "sign") and self._next.text in _OPERATORS:
            rest.append((self._take().text, self._operand()))
        self._depth -= 1
        return _Chain(first, tuple(rest)) if rest else first

    def _operand(self) -> _Expression:
        if self._next.text == "(":
            self._take()
            expression = self._expression()
            self._expect(")", "an operator (+, -, ^) or ')'")
            return expression
        word = self._word("a label, a package, a function or '('")
        if self._next.text != "(":
            return word
        if word.text not in _FUNCTIONS:
            raise _Problem(f"no function {word.text!r}{did_you_mean(word.text, _FUNCTIONS)}", word.at)
        self._take()
        function = self._function(word.text)
        self._expect(")", "an operator (+, -, ^) or ')'")
        return function

    def _function(self, name: str) -> _Expression:
        if name == "somepath":
            return _SomePath(self._expression(), self._second())
        if name == "kind":
            return _Kind(self._word("a pattern of rule names"), self._second())
        if name == "attr":
            attribute = self._word("the name of an attribute")
            self._expect(",", "',' and a value")
            return _Attr(attribute, self._word("a value"), self._second())
        return _Deps(self._expression(), self._steps(), reverse=name == "rdeps")

    def _second(self) -> _Expression:
        self._expect(",", "',' and an expression")
        return self._expression()

    def _steps(self) -> int | None:
        if self._next.text != ",":
            return None
        self._take()
        if not re.fullmatch("[0-9]{1,9}", self._next.text):
            raise self._unexpected("a depth, a whole number")
        return int(self._take().text)

    def _word(self, expected: str) -> _Word:
        token = self._next
        if token.kind not in ("word", "quoted") or (token.kind == "word" and token.text in _OPERATORS):
            raise self._unexpected(expected)
        self._take()
        return _Word(token.text if token.kind == "word" else token.text[1:-1], token.at)
