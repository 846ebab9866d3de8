"""Fetching pinned packages. The action that does so has no more than this in its key: how packages are unpacked can change, and none is
fetched anew."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from enginewright.debian.apt import Apt
from enginewright.debian.pins import read_pins
from enginewright.errors import ActionError


def fetch(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Fetch the packages. Raises ActionError as `read_pins` and `Apt` do, and for pins that were written for other packages."""
    pins = inputs["pins"]
    packages = read_pins(pins.read_text(encoding="utf-8"), pins.name)
    if missing := sorted(set(params["packages"]) - {each.name for each in packages}):
        raise ActionError(f"{pins.name} does not pin {', '.join(missing)}: write it anew with `doit pin`")
    if omitted := sorted(set(params["omit"]) & {each.name for each in packages}):
        raise ActionError(f"{pins.name} pins {', '.join(omitted)}, to be omitted: write it anew with `doit pin`")
    outputs["debs"].mkdir()
    with tempfile.TemporaryDirectory() as temporary:
        apt = Apt(Path(temporary, "apt"), params["architecture"], params["omit"])
        print(apt.update())
        apt.download(packages, outputs["debs"])
