"""What every rule is: a frozen, typed declaration that analysis turns into an action.

A rule is one module with a subclass of `Rule` (its fields are the attributes a BUILD.py may give), the `declaration` made
of it (what the BUILD.py calls), and the module-level function its action runs::

    @dataclass(frozen=True, kw_only=True)
    class Fp16(Rule):
        kind: ClassVar[str] = "fp16"
        provides: ClassVar[Mapping[str, str]] = {"onnx": ".onnx"}

        model: Annotated[Label, Needs("onnx")]

        def action(self, context: Context) -> Action: ...

    fp16 = declaration(Fp16)

    def convert(inputs, outputs, params): ...
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple, ParamSpec, TypeVar, cast

from enginewright.errors import DeclarationError
from enginewright.graph.action import LINEAGE, TODAY, Action, Artifact
from enginewright.graph.attributes import AttributeProblem, attribute_types, read_attributes
from enginewright.graph.label import Label, is_name

P = ParamSpec("P")
R = TypeVar("R", bound="Rule")


class Location(NamedTuple):
    """Where a declaration stands: a BUILD.py, relative to the workspace, and a line of it."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


class Defaults(NamedTuple):
    """What declarations leave to whoever builds: how layers are compressed, and the date of a build in seconds since 1970."""

    compression: str = "none"
    epoch: int = 0


NO_DEFAULTS = Defaults()


class Context:
    """What a rule may ask during analysis: artifacts, by name. No file is read.

    ``outputs`` finds the output artifacts, by name, of a label that the declaration names; ``defaults`` are for what the
    declaration leaves out.
    """

    def __init__(self, label: Label, outputs: Callable[[Label], Mapping[str, Artifact]], defaults: Defaults = NO_DEFAULTS) -> None:
        self.label = label
        self.defaults = defaults
        self._outputs = outputs

    def source(self, path: str) -> Artifact:
        """The source at ``path``: relative to the package, or ``dist://NAME/PATH`` in an installed distribution."""
        if path.startswith("dist://"):
            return Artifact("external/" + path.removeprefix("dist://"), origin=path)
        return Artifact(f"{self.label.package}/{path}")

    def input(self, label: Label, output: str) -> Artifact:
        """The output called ``output`` of the target ``label``."""
        return self._outputs(label)[output]

    def outputs(self, label: Label) -> Mapping[str, Artifact]:
        """All outputs of the target ``label``, by name."""
        return self._outputs(label)

    def lineage(self, label: Label) -> Artifact:
        """A document of how the target ``label`` came about, which the build writes. The declaration must name the label."""
        return Artifact(f"external/lineage/{label.package}/{label.name}.json", origin=f"{LINEAGE}{label}")

    def today(self) -> Artifact:
        """A file with the day, as ``2026-11-25`` in UTC. What reads it is judged anew in each build, and runs once a day."""
        return Artifact("external/date", origin=TODAY)

    def output(self, suffix: str, tree: bool = False) -> Artifact:
        """A new artifact of this target: ``build/PACKAGE/NAME`` and ``suffix``."""
        return Artifact(f"build/{self.label.package}/{self.label.name}{suffix}", tree)


Lookup = Callable[[Label], "Rule"]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A declared target. Subclasses add their attributes as fields.

    ``kind`` is the rule's name in a BUILD.py; ``provides`` maps the names of its outputs to the suffix of their files.
    """

    kind: ClassVar[str]
    provides: ClassVar[Mapping[str, str]] = {}

    name: str

    @classmethod
    def attributes(cls) -> Mapping[str, Any]:
        """The attributes there are, with their types."""
        return attribute_types(cast(Any, cls))

    def provided(self) -> Mapping[str, str]:
        """What ``provides`` says, for a rule whose outputs depend on its attributes."""
        return self.provides

    def check(self) -> None:
        """Raise `AttributeProblem` where attributes contradict each other or a value makes no sense."""

    def expand(self, package: str, lookup: Lookup) -> Iterator[Rule]:
        """The targets this declaration of ``package`` stands for: itself, unless a rule says otherwise (a matrix, a macro).

        ``lookup`` finds the declaration of a label, and raises `AttributeProblem` where there is none.
        """
        yield self

    def action(self, context: Context) -> Action | None:
        """The action that makes this target, or None for one that only names others."""
        return None


@dataclass(frozen=True, kw_only=True)
class Group(Rule):
    """A name for several targets; building it builds them all."""

    kind: ClassVar[str] = "group"

    members: tuple[Label, ...]


class Declared(NamedTuple):
    """One call of a rule in a BUILD.py."""

    rule: Rule
    location: Location


class Loading:
    """The BUILD.py being read now: calls of rules land in ``declared``.

    ``list_files`` gives the names of what is in a folder of the package: of files, and with a closing slash of folders.
    """

    def __init__(self, package: str, path: str, list_files: Callable[[str], list[str]] | None = None) -> None:
        self.package = package
        self.path = path
        self.list_files = list_files
        self.declared: list[Declared] = []

    def caller(self) -> Location:
        """The innermost line of this BUILD.py on the stack."""
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename != self.path:
            frame = frame.f_back
        return Location(self.path, frame.f_lineno)


loading: ContextVar[Loading | None] = ContextVar("loading", default=None)


def declaration(rule: Callable[P, R]) -> Callable[P, None]:
    """Make of a `Rule` class the function a BUILD.py calls.

    The call checks every attribute against its field's type, and declares one target. It raises `DeclarationError`,
    naming file, line and attribute.
    """
    assert isinstance(rule, type) and issubclass(rule, Rule)
    cls: type[Rule] = rule

    def declare(*args: P.args, **kwargs: P.kwargs) -> None:
        into = loading.get()
        if into is None:
            raise DeclarationError(f"{cls.kind}() declares a target: call it in a BUILD.py")
        where = into.caller()
        shown = f"{cls.kind}(name={kwargs['name']!r})" if "name" in kwargs else f"{cls.kind}()"
        if args:
            raise DeclarationError(f"{where}: {shown}: give attributes by name, as in {cls.kind}(name=...)")
        try:
            made = cls(**read_attributes(cls.attributes(), kwargs, package=into.package, required=_required(cls)))
            if not is_name(made.name):
                raise AttributeProblem("name", f"{made.name!r} cannot name a target: use letters, digits and _ . + -")
            made.check()
        except AttributeProblem as problem:
            raise DeclarationError(f"{where}: {shown}: {problem}") from None
        into.declared.append(Declared(made, where))

    declare.__name__ = declare.__qualname__ = cls.kind
    declare.__doc__ = cls.__doc__
    declare.rule = cls  # type: ignore[attr-defined]
    return declare


def _required(cls: type[Any]) -> frozenset[str]:
    from dataclasses import MISSING

    return frozenset(f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING)
