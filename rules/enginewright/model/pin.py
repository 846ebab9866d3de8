"""Pinning a file by its SHA-256: the attribute ``sha256``, and the check in the action."""

from __future__ import annotations

import re
from pathlib import Path

from enginewright.errors import ActionError
from enginewright.graph.attributes import AttributeProblem
from enginewright.model.checksum import sha256_of


def check_pin(src: str, sha256: str | None, attribute: str = "sha256") -> None:
    """Raise AttributeProblem unless ``sha256``, the value of ``attribute``, is one, or is left out for a file of the workspace."""
    if sha256 is None and src.startswith("dist://"):
        raise AttributeProblem(attribute, "missing: a file that comes from a distribution is pinned by its SHA-256 (sha256sum prints it)")
    if sha256 is not None and not re.fullmatch("[0-9a-f]{64}", sha256):
        raise AttributeProblem(attribute, f"expected 64 lower-case hexadecimal digits, got {sha256!r}")


def verify_pin(src: Path, expected: str | None) -> None:
    """Raise ActionError where a file has another SHA-256 than ``expected``; None expects nothing."""
    if expected is None:
        return
    found = sha256_of(src)
    if found != expected:
        raise ActionError(
            f"{src.name}: its SHA-256 is not the declared one\n  expected {expected}\n  found    {found}\n"
            "If you trust this file, declare the digest that was found; if not, fetch the right one."
        )
