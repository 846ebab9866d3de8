"""Causes in words, as lines and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from enginewright.graph.cause import Cause

_SHOWN = 6
"""How many code files, or versions, of one target are named before the rest is only counted."""

_WORDS = {
    "new": "it had never been built here",
    "unknown": "what it was made of before is not known any more",
    "bytes": "it ran again and made other bytes of the same inputs: it is not reproducible",
}


def tree(causes: Mapping[str, Sequence[Cause]], label: str) -> Iterator[str]:
    """The causes of a target as indented lines, each followed by what is behind it. What was said before is not said again."""
    told = {label}
    waiting = [(1, line, target) for line, target in reversed(list(_told(causes.get(label, ()))))]
    while waiting:
        depth, line, target = waiting.pop()
        behind = causes.get(target, ())
        ending = "" if not behind else ", because" if target not in told else " (see above)"
        yield f"{'  ' * depth}{line}{ending}"
        if behind and target not in told:
            told.add(target)
            waiting += [(depth + 1, line, target) for line, target in reversed(list(_told(behind)))]


def first(causes: Sequence[Cause]) -> str:
    """The causes of a target in one line: the first, and how many more there are."""
    more = f", and {len(causes) - 1} more" if len(causes) > 1 else ""
    return words(causes[0], brief=True) + more if causes else ""


def words(cause: Cause, brief: bool = False) -> str:
    """A cause as a clause; when ``brief``, without the path of an input that its label tells well enough."""
    found = cause.difference
    if found.kind == "event":
        return found.name
    if found.kind == "input":
        path = "" if brief else f" ({found.path})"
        what = f"input {cause.target}{path}" if cause.target else f"source {found.path}"
        return f"{what} may change" if cause.possible else _changed(what, _short(found.old), _short(found.new))
    if found.kind in _WORDS:
        return _WORDS[found.kind]
    what = f"{found.kind} {found.name}".strip()
    if found.kind == "code":
        return _changed(what, _short(found.old), _short(found.new))
    return _changed(what, found.old, found.new)


def as_json(causes: Mapping[str, Sequence[Cause]]) -> dict[str, list[dict[str, str]]]:
    """The causes by label; what a cause has none of is left out."""
    return {label: [_cause_as_json(each) for each in found] for label, found in causes.items()}


def _told(causes: Iterable[Cause]) -> Iterator[tuple[str, str]]:
    """Causes as clauses, with the target behind each; of many of a kind only the first, and how many more there are."""
    seen: dict[str, int] = {}
    clauses: set[str] = set()
    for cause in causes:
        kind, clause = cause.difference.kind, words(cause)
        if clause in clauses:  # a file that is two inputs
            continue
        clauses.add(clause)
        seen[kind] = seen.get(kind, 0) + 1
        if kind not in ("code", "toolchain") or seen[kind] <= _SHOWN:
            yield clause, cause.target
    for kind, number in seen.items():
        if kind in ("code", "toolchain") and number > _SHOWN:
            yield f"{kind}: {number - _SHOWN} more, which --json names", ""


def _changed(what: str, old: str | None, new: str | None) -> str:
    if old is None:
        return f"{what} is new"
    return f"{what} is gone" if new is None else f"{what} changed: {old} -> {new}"


def _short(digest: str | None) -> str | None:
    return digest and f"{digest[:8]}..."


def _cause_as_json(cause: Cause) -> dict[str, str]:
    texts = {**cause.difference._asdict(), "target": cause.target}
    return {name: text for name, text in texts.items() if text is not None and (text or name in ("old", "new"))}
