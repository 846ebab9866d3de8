"""The statements in files of targets: those that are ones, and documents that become the predicate of one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from enginewright.attest import cyclonedx, spdx
from enginewright.attest.statement import resource, statement

_DOCUMENTS = {"cyclonedx": cyclonedx.PREDICATE, "spdx": spdx.PREDICATE}

STATEMENTS = ("statement", *_DOCUMENTS)
"""Outputs of targets that say something of an image."""


def statements_in(outputs: Mapping[str, Path], name: str, digest: str) -> list[bytes]:
    """The statements in a target's outputs, by their names, about the image of this name and digest. Raises OSError and ValueError."""
    found = [outputs["statement"].read_bytes()] if "statement" in outputs else []
    subject = resource(name, digest.removeprefix("sha256:"))
    return found + [
        statement([subject], predicate, json.loads(outputs[output].read_bytes()))
        for output, predicate in _DOCUMENTS.items()
        if output in outputs
    ]
