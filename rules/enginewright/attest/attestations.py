"""The statements in files of targets: those that are ones, and documents that become the predicate of one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from enginewright.attest import cyclonedx, spdx
from enginewright.attest.statement import digests_of, resource, statement

_DOCUMENTS = {"cyclonedx": cyclonedx, "spdx": spdx}

STATEMENTS = ("statement", *_DOCUMENTS)
"""Outputs of targets that say something of an image."""


def statements_in(outputs: Mapping[str, Path], name: str, digest: str) -> list[bytes]:
    """The statements in a target's outputs, by their names, about the image of this name and digest.

    Raises OSError, and ValueError, with the end of a sentence, for what is about another image.
    """
    found = []
    for output in (each for each in STATEMENTS if each in outputs):
        data = outputs[output].read_bytes()
        try:
            document = json.loads(data)
            about = digests_of(document) if output == "statement" else [_DOCUMENTS[output].image_of(document)]
        except (ValueError, LookupError, TypeError):
            raise ValueError(f"does not say in {outputs[output]} which image it is about") from None
        if digest not in about:
            raise ValueError(f"is about {' and '.join(about)}, and {name}, which is signed, is {digest}")
        if output == "statement":
            found.append(data)
        else:
            subject = resource(name, digest.removeprefix("sha256:"))
            found.append(statement([subject], _DOCUMENTS[output].PREDICATE, document))
    return found
