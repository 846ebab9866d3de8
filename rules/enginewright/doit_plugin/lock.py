"""``doit lock``: write what targets are made from, or check that it is what was written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from doit.exceptions import InvalidCommand

from enginewright.doit_plugin.command import Command
from enginewright.doit_plugin.options import OPT_JSON, option
from enginewright.doit_plugin.session import foresee, open_build, select, user_errors
from enginewright.errors import in_words
from enginewright.execute.build import Build
from enginewright.execute.installation import Installation
from enginewright.graph.label import Label
from enginewright.release.lock import ADVICE, ANY, FILE, Difference, Lock, differences, parse, render, superfluous, updated
from enginewright.release.pins import find_pins
from enginewright.release.present import Present, locked_since, look, since
from enginewright.store.files import write_atomically

_SHOWN = 20

_OPT_CHECK = option("check", False, f"change nothing; exit code 1 when {FILE} is not what doit lock would write")


class LockCommand(Command):
    """Looks at sources and at what is installed; builds nothing."""

    name = "lock"
    doc_purpose = f"write {FILE}: the sources, versions and outputs that a release is made of"
    doc_usage = "[LABEL | PACKAGE ...]"
    doc_description = (
        f"Writes into {FILE}, which belongs into Git: the SHA-256 of each source that is pinned or comes from outside the workspace, the"
        " images that others are built on, the versions of all distributions that actions can import, the Python and the platform; and the"
        " outputs of what cannot be made again. `doit build --locked` then builds from that or not at all. With labels or packages, only"
        " what these and their dependencies are made of is written anew. What only another machine can tell, one with a GPU, stays."
    )
    cmd_options = (_OPT_CHECK, OPT_JSON)

    def execute(self, params: Any, args: list[str]) -> int:
        """Write the lock, or check it, for what ``args`` select."""
        self.loader.setup(params)
        root = Path.cwd()
        build = open_build(root, look_only=True)
        labels = build.graph.closure(select(build, args))
        foresee(build, labels)
        with user_errors():
            old = read_lock(root) if (root / FILE).exists() else Lock()
            found = look(root, build.graph, labels, Installation())
            pins = find_pins(root, build, labels)
            found = found._replace(lock=replace(found.lock, outputs=pins.pinned))
            new = updated(old, found.lock) if args else _whole(build, old, found)
            changed = [*differences(old, new), *superfluous(old, new)]
            text = _rendered(new)
            stale = text != ((root / FILE).read_text(encoding="utf-8") if (root / FILE).exists() else "")
            if stale and not params["check"]:
                write_atomically(root / FILE, text.encode())
        if params["json"]:
            told = {"file": FILE, "up_to_date": not stale, "written": stale and not params["check"], **_as_json(root, changed)}
            print(json.dumps({**told, "missing": {str(label): reason for label, reason in pins.missing.items()}}, indent=1))
        else:
            print(*_told(new, changed if old != Lock() else [], stale, params["check"]), *_missing(new, pins.missing), sep="\n")
        return 1 if stale and params["check"] else 0


def _whole(build: Build, old: Lock, found: Present) -> Lock:
    """The lock of all there is, with what only another machine can tell as it was."""
    known, there = found.lock, set(map(str, build.graph.deps))
    return Lock(
        sources=known.sources,
        bases=known.bases,
        platforms={**{group: old.platforms[group] for group in found.elsewhere if group in old.platforms}, **known.platforms},
        toolchains={**{group: old.toolchains[group] for group in found.elsewhere if group in old.toolchains}, **known.toolchains},
        outputs={**{label: each for label, each in old.outputs.items() if label in there}, **known.outputs},
    )


def _rendered(lock: Lock) -> str:
    try:
        return render(lock)
    except ValueError as error:
        raise InvalidCommand(f"{FILE}: a file name that is not UTF-8 cannot be locked: {error}") from None


def read_lock(root: Path) -> Lock:
    """The lock of the workspace at ``root``. Raises doit's InvalidCommand where there is none that can be read."""
    try:
        return parse((root / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidCommand(f"there is no {FILE} here: doit lock writes it") from None
    except OSError as error:
        raise InvalidCommand(in_words(error)) from None
    except UnicodeDecodeError as error:
        raise InvalidCommand(f"{FILE} is no text in UTF-8 (byte {error.start}): {ADVICE}") from None
    except ValueError as error:
        raise InvalidCommand(f"{FILE} {error}") from None


def refuse_unlocked(root: Path, build: Build, wanted: Sequence[Label]) -> None:
    """Raise doit's InvalidCommand unless all that these targets, given with all they depend on, are made from is as it is locked.

    It says what is not, and since when.
    """
    lock = read_lock(root)
    with user_errors():
        found = differences(lock, look(root, build.graph, wanted, Installation()).lock)
    if found:
        lines = [f"{len(found)} thing{'s are' if len(found) > 1 else ' is'} not as {FILE} has {'them' if len(found) > 1 else 'it'}:"]
        lines += [f"  {_described(root, each)}" for each in found[:_SHOWN]]
        if len(found) > _SHOWN:
            lines.append(f"  and {len(found) - _SHOWN} more, which doit lock --check lists")
        raise InvalidCommand("\n".join([*lines, "Put back what was locked, or take over what there is with doit lock"]))


def _described(root: Path, each: Difference) -> str:
    told = [f"{_named(each)} is {each.found}", since(root, each)]
    locked = f"{each.locked} is locked" if each.locked else "it is not locked"
    commit = locked_since(root, each) if each.locked else ""
    return f"{', '.join(filter(None, told))}; {locked}{f', since {commit}' if commit else ''}"


def _named(each: Difference) -> str:
    name = "the platform" if each.kind == "platform" else each.name
    return f"{name} for {each.group}" if each.group not in ("", ANY) else name


def _told(lock: Lock, changed: Sequence[Difference], stale: bool, check: bool) -> Iterator[str]:
    for each in changed:
        if not each.locked:
            yield f"+ {_named(each)} {each.found}"
        elif not each.found:
            yield f"- {_named(each)} {each.locked}"
        else:
            yield f"~ {_named(each)} {each.locked} -> {each.found}"
    counts = {
        "source": len(lock.sources),
        **({"base": len(lock.bases)} if lock.bases else {}),
        "distribution": sum(map(len, lock.toolchains.values())),
        "output": len(lock.outputs),
    }
    held = ", ".join(f"{number} {name}{'s' * (number != 1)}" for name, number in counts.items())
    if not stale:
        yield f"{FILE} is up to date: {held}"
    else:
        yield f"{FILE} is not up to date: run doit lock" if check else f"{FILE}: {held}"


def _missing(lock: Lock, missing: Mapping[Label, str]) -> Iterator[str]:
    for label, reason in missing.items():
        kept = "what is locked of it stays" if str(label) in lock.outputs else "it is not locked"
        yield f"{label} cannot be made again as it was, and {reason}; {kept}"


def _as_json(root: Path, changed: Iterable[Difference]) -> Mapping[str, Any]:
    return {"differences": [{**each._asdict(), "since": since(root, each)} for each in changed]}
