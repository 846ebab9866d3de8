"""Where the blobs are that this workspace pushed: a registry can then mount them in another repository, instead of being sent them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from enginewright.execute.memory import STATE
from enginewright.oci.registry.reference import Reference
from enginewright.store.files import write_atomically

_MOST = 10_000
"""Blobs that are remembered; the latest ones."""


class Places:
    """For each registry and blob, the repository that got it last. Only a hint: a registry that has it no longer gets it again."""

    def __init__(self, root: Path) -> None:
        self._path = root / STATE / "pushed.json"
        self._places: dict[str, str] = {}
        try:
            found = json.loads(self._path.read_bytes())
            self._places = {str(blob): str(repository) for blob, repository in found.items()}
        except (OSError, ValueError, AttributeError):
            pass

    def known(self, to: Reference, digest: str) -> str | None:
        """A repository of the same registry that has a blob, or had it."""
        return self._places.get(f"{to.registry} {digest}")

    def add(self, to: Reference, digests: Iterable[str]) -> None:
        """Take note that a repository has these blobs."""
        new = {f"{to.registry} {digest}": to.repository for digest in digests}
        if new:
            kept = {blob: repository for blob, repository in self._places.items() if blob not in new}
            self._places = dict(list({**kept, **new}.items())[-_MOST:])
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, json.dumps(self._places, indent=0).encode())
