"""Fetching pinned wheels with pip, which knows the machine's indexes, proxies and credentials. Nothing is taken that has another digest.

The action that does so has no more than this in its key: how wheels are installed can change, and none is fetched anew.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from enginewright.errors import ActionError
from enginewright.model.checksum import sha256_of
from enginewright.wheel.requirements import Pin, Pins, read_requirements
from enginewright.wheel.target import Target

VARIABLES = (
    "PIP_CERT", "PIP_CLIENT_CERT", "PIP_CONFIG_FILE", "PIP_DEFAULT_TIMEOUT", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_INDEX_URL",
    "PIP_KEYRING_PROVIDER", "PIP_NO_INDEX", "PIP_PROXY", "PIP_RETRIES", "PIP_TIMEOUT", "PIP_TRUSTED_HOST", "NETRC", "XDG_CONFIG_HOME",
)  # fmt: skip
"""The variables by which a machine says from where pip fetches, and with what rights."""

_NOT_FOUND = re.compile(r"No matching distribution found for ([^\s;(]+)|satisfies the requirement ([^\s;(]+)")
_WRONG_HASH = re.compile(r"^\s+([\w.\[\]-]+(?:==\S+)?) from .*\n(?:\s+Expected.*\n)+\s+Got\s+(\w+)", re.MULTILINE)
_UNREACHABLE = re.compile(
    r"^(?=.*\b(WARNING: Retrying|Could not fetch URL|ERROR: (Could not install|HTTP error)))"
    r".*(connection|timed out|Name or service|resolution|SSL|proxy|unreachable|\b[45]\d\d\b).*$",
    re.IGNORECASE | re.MULTILINE,
)


def fetch(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Fetch the wheels. Raises ActionError as `read_requirements` and `fetch_wheels` do."""
    target = Target(params["python"], params["platform"])
    requirements = inputs["requirements"]
    try:
        text = requirements.read_text(encoding="utf-8-sig")  # editors of Windows begin files so
    except UnicodeDecodeError as error:
        raise ActionError(f"{requirements.name} is no text in UTF-8: {error.reason} (byte {error.start})") from None
    fetch_wheels(read_requirements(text, requirements.name, target.markers()), target, outputs["wheels"])


def fetch_wheels(pins: Pins, target: Target, folder: Path) -> None:
    """Put the wheel of each pin into ``folder``, which is made.

    Raises ActionError where there is no wheel for the target (a source distribution is never built), where a digest differs, and where
    the index cannot be reached.
    """
    folder.mkdir()
    with tempfile.TemporaryDirectory() as temporary:
        listed = Path(temporary, "requirements.txt")
        listed.write_text("".join(f"{line}\n" for line in (*pins.places, *(pin.for_pip() for pin in pins.pins.values()))))
        abis = [part for abi in (target.tag, "abi3", "none") for part in ("--abi", abi)]
        platforms = [part for platform in target.platforms for part in ("--platform", platform)]
        command = [
            sys.executable, "-m", "pip", "--no-input", "--no-cache-dir", "--disable-pip-version-check", "--no-color",
            "download", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--python-version", target.python,
            "--implementation", "cp", *abis, *platforms, "--dest", str(folder), "--requirement", str(listed), "--progress-bar", "off",
        ]  # fmt: skip
        done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(done.stdout)
    if done.returncode:
        raise ActionError(_reason(done.stdout, pins, target))
    _check(pins, target, folder)


def _check(pins: Pins, target: Target, folder: Path) -> None:
    """Take nobody's word for it: each pin has one wheel, for the target, with one of its digests."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    found: set[str] = set()
    for wheel in folder.iterdir():
        try:
            name = str(parse_wheel_filename(wheel.name)[0])
        except InvalidWheelFilename:
            raise ActionError(f"{wheel.name} is not a wheel: {_NO_SDIST}") from None
        pin = pins.pins.get(name)
        if pin is None or sha256_of(wheel) not in pin.digests or not target.accepts(wheel.name):
            raise ActionError(f"pip fetched {wheel.name}, which is not what the requirements pin for {_shown(target)}: nothing was taken")
        found.add(name)
    if missing := sorted(set(pins.pins) - found):
        raise ActionError(f"pip fetched no wheel of {', '.join(missing)}")


_NO_SDIST = (
    "source distributions are not taken, since building one runs its code and gives other bytes on another machine; build a wheel of it"
    " once (pip wheel), put that where pip looks (--find-links, or an index of your own), and pin its digest"
)


def _reason(said: str, pins: Pins, target: Target) -> str:
    if match := _WRONG_HASH.search(said):
        name = match[1].partition("==")[0]
        pin = pins.pins.get(_normalised(name))
        expected = " or ".join(sorted(pin.digests)) if pin else "another"
        return (
            f"{match[1]}: its SHA-256 is not one that the requirements pin{_line(pin)}\n  expected {expected}\n  found    {match[2]}\n"
            "If you trust this file, pin the digest that was found; if not, look where it came from."
        )
    if match := _NOT_FOUND.search(said):
        named = match[1] or match[2]
        pin = pins.pins.get(_normalised(re.split("[=<>!~]", named)[0]))
        if not _UNREACHABLE.search(said):
            return f"{named}{_line(pin)} has no wheel for {_shown(target)} where pip looks: {_NO_SDIST}"
    if match := _UNREACHABLE.search(said):
        return f"pip could not reach its index: {match[0].strip()}; what was fetched before is in the store, and needs no network"
    return f"pip failed: {_last(said)}"


def _line(pin: Pin | None) -> str:
    return f" (line {pin.line})" if pin else ""


def _last(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("ERROR:", "WARNING:"))]
    return (errors or lines or ["it said nothing"])[-1].removeprefix("ERROR: ").removeprefix("WARNING: ")


def _normalised(name: str) -> str:
    from packaging.utils import canonicalize_name

    return str(canonicalize_name(name.partition("[")[0]))


def _shown(target: Target) -> str:
    return f"CPython {target.python} on {target.platform}"
