"""``doit pin``: write which Debian packages a debian_base() is made of, from what the archives have now."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from doit.exceptions import InvalidCommand

from enginewright.debian.apt import Apt
from enginewright.debian.pins import Package, read_pins, write_pins
from enginewright.doit_plugin.command import Command
from enginewright.doit_plugin.session import open_build, select, user_errors
from enginewright.errors import ActionError
from enginewright.graph.label import Label
from enginewright.store.files import write_atomically


class PinCommand(Command):
    """Asks apt, and writes one file. Builds nothing."""

    name = "pin"
    doc_purpose = "pin the Debian packages of a debian_base() to what the archives have now"
    doc_usage = "LABEL"
    doc_description = (
        "Has apt resolve the packages that the declaration names, as on a machine with nothing installed, and writes each with its version"
        " and SHA-256 into the file that its attribute pins names; says what changed. Nothing of the machine's apt is changed."
    )

    def execute(self, params: Any, args: list[str]) -> int:
        """Write the pins of the one label in ``args``."""
        if len(args) != 1 or ":" not in args[0]:
            raise InvalidCommand("doit pin takes one label, as in: doit pin images/base:base")
        self.loader.setup(params)
        build = open_build(Path.cwd(), look_only=True)
        (label,) = select(build, args)
        target = build.graph.targets.get(Label(label.package, f"{label.name}.debs")) or build.graph.targets[label]
        if target.action is None or target.action.mnemonic != "DebianPackages":
            raise InvalidCommand(f"{label} is made by {build.graph.targets[label].kind}(): doit pin is for a debian_base()")
        place = Path(target.action.inputs["pins"].path)
        asked: Any = target.action.params
        try:
            with user_errors():
                found = _resolved(asked)
                old = place.read_text(encoding="utf-8") if place.exists() else ""
                text = write_pins(found, asked["packages"], f"doit pin {label}")
                if text != old:
                    write_atomically(place, text.encode())
                changed = list(_changes(read_pins(old, str(place)), found))
        except ActionError as error:
            raise InvalidCommand(str(error)) from None
        print(*changed, f"{place}: {f'{len(found)} packages, written' if text != old else 'is up to date'}", sep="\n")
        return 0


def _resolved(asked: Mapping[str, Any]) -> list[Package]:
    with tempfile.TemporaryDirectory() as temporary:
        apt = Apt(Path(temporary, "apt"), asked["architecture"], asked["omit"])
        apt.update()
        return apt.resolve(asked["packages"], essential=asked["essential"])


def _changes(old: Iterable[Package], new: Iterable[Package]) -> Iterator[str]:
    before, after = ({each.name: each.version for each in packages} for packages in (old, new))
    for name in sorted({*before, *after}):
        if name not in before:
            yield f"+ {name} {after[name]}"
        elif name not in after:
            yield f"- {name} {before[name]}"
        elif before[name] != after[name]:
            yield f"  {name} {before[name]} -> {after[name]}"
