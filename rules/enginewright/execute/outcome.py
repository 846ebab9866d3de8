"""What a build came to, target by target."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from enginewright.graph.label import Label


class Status(Enum):
    """What became of a target. The values are the words of the summary."""

    BUILT = "built"
    CACHED = "cached"
    UP_TO_DATE = "up to date"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True)
class Outcome:
    """What became of one target, and why: ``reason`` for a skipped or failed one, ``key`` for one with a result.

    ``host`` is the remote worker that built it; empty when this machine did.
    """

    label: Label
    status: Status
    key: str = ""
    seconds: float = 0.0
    reason: str = ""
    host: str = ""
