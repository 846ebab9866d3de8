"""The graph of targets, and analysis: what loading found becomes actions, in dependency order. No file is read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from enginewright.errors import DeclarationError, with_article
from enginewright.graph.action import Action, Artifact
from enginewright.graph.attributes import AttributeProblem, did_you_mean, label_attributes
from enginewright.graph.label import Label
from enginewright.graph.rule import NO_DEFAULTS, Context, Declared, Defaults, Group, Location, Rule


@dataclass(frozen=True, eq=False)
class Target:
    """A target after analysis.

    ``kind`` is its rule's name and ``attributes`` what was declared, as texts; ``deps`` are the labels it names; ``action`` is
    None for a group.
    """

    label: Label
    kind: str
    location: Location
    deps: tuple[Label, ...]
    action: Action | None
    attributes: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.location}: {self.kind}(name={self.label.name!r})"


class Graph:
    """All targets, each after those it depends on.

    ``deps`` has the edges; ``targets``, with the same keys, may make a target only when it is asked for; ``groups`` are those
    without an action.
    """

    def __init__(self, deps: dict[Label, tuple[Label, ...]], targets: Mapping[Label, Target], groups: Collection[Label]) -> None:
        self.deps = deps
        self.targets = targets
        self.groups = groups

    def packages(self) -> list[str]:
        """The names of all packages, sorted."""
        return sorted({label.package for label in self.deps})

    def select(self, patterns: Iterable[str]) -> set[Label]:
        """The targets meant by command-line patterns: a label, a package for all that is in it, ``FOLDER/...`` for all packages below it.

        No pattern means every target. Raises ValueError, with the nearest names, for one that means nothing.
        """
        chosen: set[Label] = set()
        given = list(patterns)
        packages = self.packages()
        for text in given:
            bare = text.removeprefix("//").rstrip("/")
            if bare == "..." or bare.endswith("/..."):
                folder = bare.removesuffix("...").rstrip("/")
                found = {label for label in self.deps if not folder or f"{label.package}/".startswith(f"{folder}/")}
                if not found:
                    raise ValueError(f"no package in {folder!r}{did_you_mean(folder, [each.rpartition('/')[0] for each in packages])}")
                chosen |= found
                continue
            if ":" not in bare:
                found = {label for label in self.deps if label.package == bare}
                if not found:
                    raise ValueError(f"no package {bare!r}{did_you_mean(bare, packages)}")
                chosen |= found
                continue
            label = Label.parse(bare)
            if label.package not in packages:
                raise ValueError(f"no package {label.package!r}{did_you_mean(label.package, packages)}")
            if label not in self.deps:
                names = [other.name for other in self.deps if other.package == label.package]
                raise ValueError(f"no target {label.name!r} in package {label.package!r}{did_you_mean(label.name, names)}")
            chosen.add(label)
        return chosen if given else set(self.deps)

    def closure(self, labels: Iterable[Label]) -> list[Label]:
        """``labels`` and all they depend on, each after its dependencies."""
        needed = set(labels)
        for label in reversed(self.deps):
            if label in needed:
                needed.update(self.deps[label])
        return [label for label in self.deps if label in needed]

    def unfold(self, labels: Iterable[Label]) -> set[Label]:
        """``labels``, and the members of the groups among them."""
        found = set(labels)
        for label in reversed(self.deps):
            if label in self.groups and label in found:
                found.update(self.deps[label])
        return found

    def dependents(self, labels: Iterable[Label]) -> list[Label]:
        """``labels`` and all that depends on them, each after its dependencies."""
        reached = set(labels)
        for label, deps in self.deps.items():
            if not reached.isdisjoint(deps):
                reached.add(label)
        return [label for label in self.deps if label in reached]


def analyse(packages: Mapping[str, Iterable[Declared]], defaults: Defaults = NO_DEFAULTS) -> Graph:
    """Turn each package's declarations into a graph; ``defaults`` are for what they leave out.

    Raises DeclarationError for a name declared twice, a dependency that does not exist or does not provide what is needed,
    a cycle, and two targets that write one path, or one below the other's.
    """
    declared = _by_label((Label(package, each.rule.name), each) for package, found in packages.items() for each in found)

    def lookup(label: Label) -> Rule:
        if label not in declared:
            raise AttributeProblem("", _no_target(label, declared))
        return declared[label].rule

    expanded = _by_label(_expand(declared, lookup))
    deps = {label: _dependencies(label, each, expanded) for label, each in expanded.items()}
    targets: dict[Label, Target] = {}
    writers: dict[str, Target] = {}
    for label in _ordered(deps, expanded):
        target = _analyse_one(label, expanded[label], deps[label], targets, defaults)
        for artifact in target.action.outputs.values() if target.action else ():
            other = writers.setdefault(artifact.path, target)
            if other is not target:
                raise DeclarationError(f"{target}: writes {artifact.path}, as does {other.label} ({other.location}): rename one")
        targets[label] = target
    _check_nesting(writers)
    groups = frozenset(label for label, target in targets.items() if target.action is None)
    return Graph({label: target.deps for label, target in targets.items()}, targets, groups)


def _check_nesting(writers: Mapping[str, Target]) -> None:
    """Refuse a target that writes into the output folder of another, which is replaced whole when it is built."""
    for path, target in writers.items():
        parent = path.rpartition("/")[0]
        while parent:
            other = writers.get(parent, target)
            if other is not target:
                raise DeclarationError(
                    f"{target}: writes {path}, inside {parent}, which {other.label} ({other.location}) writes: rename one"
                )
            parent = parent.rpartition("/")[0]


def _by_label(found: Iterable[tuple[Label, Declared]]) -> dict[Label, Declared]:
    result: dict[Label, Declared] = {}
    for label, each in found:
        if label in result:
            raise DeclarationError(
                f"{each.location}: {each.rule.kind}(name={label.name!r}): the name {label.name!r} is taken"
                f" by a {result[label].rule.kind} declared at {result[label].location}"
            )
        result[label] = each
    return result


def _expand(declared: Mapping[Label, Declared], lookup: Callable[[Label], Rule]) -> Iterator[tuple[Label, Declared]]:
    for label, each in declared.items():
        try:
            for rule in each.rule.expand(label.package, lookup):
                yield Label(label.package, rule.name), Declared(rule, each.location)
        except AttributeProblem as problem:
            raise DeclarationError(f"{each.location}: {each.rule.kind}(name={label.name!r}): {problem}") from None


def _dependencies(label: Label, each: Declared, known: Mapping[Label, Declared]) -> tuple[Label, ...]:
    """The labels that a declaration names, checked: they exist, and provide what the attribute needs."""
    found: dict[Label, None] = {}
    for attribute, dep, needs in label_attributes(each.rule.attributes(), vars(each.rule)):
        where = f"{each.location}: {each.rule.kind}(name={label.name!r}): {attribute}"
        if dep not in known:
            raise DeclarationError(f"{where}: {_no_target(dep, known)}")
        rule = known[dep].rule
        if needs is not None and not needs.met_by(rule.provided()):
            what = f"is {with_article(rule.kind)}"
            if isinstance(rule, Group):
                what += f": name one of its members ({', '.join(map(str, rule.members[:8]))})"
            elif rule.provided():
                what += f", which provides {', '.join(rule.provided())}"
            raise DeclarationError(f"{where}: expected a target that provides {needs}, but {dep} {what}")
        found[dep] = None
    return tuple(found)


def _no_target(label: Label, known: Iterable[Label]) -> str:
    siblings = [other.name for other in known if other.package == label.package]
    if not siblings:
        return f"there is no package {label.package!r}{did_you_mean(label.package, {other.package for other in known})}"
    return f"there is no target {str(label)!r}{did_you_mean(label.name, siblings)}"


def _ordered(deps: Mapping[Label, tuple[Label, ...]], known: Mapping[Label, Declared]) -> list[Label]:
    """All labels, each after its dependencies; otherwise in the order of declaration."""
    order: dict[Label, None] = {}
    path: dict[Label, Iterator[Label]] = {}
    for root in deps:
        if root in order:
            continue
        path[root] = iter(deps[root])
        while path:
            label, remaining = next(reversed(path.items()))
            dep = next((dep for dep in remaining if dep not in order), None)
            if dep is None:
                order[label] = None
                del path[label]
            elif dep in path:
                cycle = [*list(path)[list(path).index(dep) :], dep]
                raise DeclarationError(
                    f"{known[dep].location}: {dep} depends on itself: " + " -> ".join(f"{step} ({known[step].location})" for step in cycle)
                )
            else:
                path[dep] = iter(deps[dep])
    return list(order)


def _analyse_one(label: Label, each: Declared, deps: tuple[Label, ...], done: Mapping[Label, Target], defaults: Defaults) -> Target:
    def outputs(dep: Label) -> Mapping[str, Artifact]:
        action = done[dep].action
        return {name: artifact for name, artifact in action.outputs.items() if name not in action.previous} if action else {}

    try:
        action = each.rule.action(Context(label, outputs, defaults))
    except AttributeProblem as problem:
        raise DeclarationError(f"{each.location}: {each.rule.kind}(name={label.name!r}): {problem}") from None
    attributes = {name: _as_text(value) for name, value in vars(each.rule).items() if name != "name"}
    return Target(label, each.rule.kind, each.location, deps, action, attributes)


def _as_text(value: object) -> str:
    if isinstance(value, tuple) and not isinstance(value, Label):
        return f"[{', '.join(map(_as_text, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_as_text(item)}' for key, item in value.items())}}}"
    return str(value)
