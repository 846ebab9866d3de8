"""What differs between two materials: why two action keys are not the same, as plain data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from enginewright.graph.encoding import encode
from enginewright.graph.key import Material


class Difference(NamedTuple):
    """One thing that an action key covers and that two materials do not have in common.

    ``kind`` is ``input`` (its bytes), ``input path``, ``parameter``, ``requirement``, ``output`` (its path), ``code``,
    ``toolchain``, ``platform``, ``mnemonic``, ``function`` or ``format``. ``name`` is the input's, parameter's, output's,
    module's or distribution's; a parameter inside another is ``outer.inner``. ``old`` and ``new`` are digests, paths, versions
    or, for a parameter, JSON texts; None where there is no such thing. ``path`` is the workspace path of an input.
    """

    kind: str
    name: str
    old: str | None
    new: str | None
    path: str = ""


def differences(old: Material, new: Material) -> list[Difference]:
    """All that differs from ``old`` to ``new``; nothing if and only if their keys are equal."""
    return [
        *_inputs(old.inputs, new.inputs),
        *_values(old.params, new.params),
        *_texts("requirement", old.requires, new.requires),
        *_texts("output", old.outputs, new.outputs),
        *_texts("code", old.code, new.code),
        *_texts("toolchain", old.toolchain, new.toolchain),
        *_text("platform", old.platform, new.platform),
        *_text("mnemonic", old.mnemonic, new.mnemonic),
        *_text("function", old.run, new.run),
        *_text("format", str(old.format), str(new.format)),
    ]


def _inputs(old: Mapping[str, tuple[str, str]], new: Mapping[str, tuple[str, str]]) -> Iterator[Difference]:
    for name in sorted({*old, *new}):
        was, was_digest = old.get(name, ("", None))
        path, digest = new.get(name, ("", None))
        if was_digest is not None and digest is not None and was != path:
            yield Difference("input path", name, was, path, path)
        elif was_digest != digest:
            yield Difference("input", name, was_digest, digest, path or was)


def _values(old: Mapping[str, Any], new: Mapping[str, Any], within: str = "") -> Iterator[Difference]:
    for name in sorted({*old, *new}):
        was, now = old.get(name), new.get(name)
        if name in old and name in new and isinstance(was, Mapping) and isinstance(now, Mapping):
            yield from _values(was, now, f"{within}{name}.")
        elif name not in old or name not in new or encode(was) != encode(now):
            yield Difference("parameter", within + name, _json(was) if name in old else None, _json(now) if name in new else None)


def _texts(kind: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Difference]:
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield Difference(kind, name, old.get(name), new.get(name))


def _text(kind: str, old: str, new: str) -> Iterator[Difference]:
    if old != new:
        yield Difference(kind, "", old, new)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
