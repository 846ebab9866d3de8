"""What actions took, as a guess at what they will take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from statistics import median

from enginewright.execute.ledger import Entry
from enginewright.store.results import Result

_SAMPLES = 100
"""How many of the latest actions of a kind speak for one that never ran here."""


@dataclass(frozen=True)
class Estimate:
    """``seconds`` of wall time, ``peak_rss`` in bytes, and ``size``, the bytes of all outputs. ``basis`` says what it rests on."""

    seconds: float
    peak_rss: int
    size: int
    basis: str


class History:
    """Estimates from the last entry of each target, latest at the end, and the records of their results."""

    def __init__(self, last: Mapping[str, Entry], records: Callable[[str], Result | None]) -> None:
        self._last = last
        self._records = records
        self._kinds: dict[str, Estimate | None] = {}

    def estimate(self, label: str, mnemonic: str, key: str) -> Estimate | None:
        """What a target's action will take: what it took for its last result, of this key if it is not empty, or else what its kind takes.

        None where neither is known.
        """
        if not key and label in self._last:
            key = self._last[label].key
        record = self._records(key) if key else None
        if record is not None:
            return Estimate(record.seconds, record.peak_rss, _size(record), "its last run")
        if mnemonic not in self._kinds:
            self._kinds[mnemonic] = self._kind(mnemonic)
        return self._kinds[mnemonic]

    def _kind(self, mnemonic: str) -> Estimate | None:
        keys = (
            entry.key
            for entry in reversed(list(self._last.values()))
            if entry.status != "failed" and entry.material is not None and entry.material.mnemonic == mnemonic
        )
        records = [record for key in islice(keys, _SAMPLES) if (record := self._records(key)) is not None]
        if not records:
            return None
        return Estimate(
            seconds=median(each.seconds for each in records),
            peak_rss=round(median(each.peak_rss for each in records)),
            size=round(median(_size(each) for each in records)),
            basis=f"the median of {len(records)} {mnemonic}",
        )


def _size(record: Result) -> int:
    return sum(output.size for output in record.outputs.values())
