"""Reviewed files that say which findings do not count, why, and until when.

Two formats. Trivy's .trivyignore (https://trivy.dev/latest/docs/configuration/filtering/): a line for each vulnerability, with the day on
which it counts again, under a comment that says why::

    # We do not parse certificates from outside. (Ann, 2026-11-02)
    CVE-2026-0001 exp:2027-02-01

And OpenVEX (https://github.com/openvex/spec), whose statements have a justification but no end: they count for a number of days.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from enginewright.errors import ActionError

_LINE = re.compile(r"(?P<id>[A-Za-z0-9][\w:.-]*)(?:\s+exp:(?P<until>\S+))?(?:\s+#\s*(?P<reason>.+))?")
_SETTLED = ("not_affected", "fixed")


@dataclass(frozen=True)
class Ignored:
    """One vulnerability that does not count before ``until``; ``packages`` are package URLs without qualifiers, none for all."""

    vulnerability: str
    reason: str
    until: date
    where: str
    packages: tuple[str, ...] = ()

    def covers(self, vulnerability: str, purl: str) -> bool:
        """Whether it is about a finding, apart from the day."""
        return vulnerability == self.vulnerability and (not self.packages or bare(purl) in self.packages)


def bare(purl: str) -> str:
    """A package URL without qualifiers and subpath."""
    return re.split(r"[?#]", purl, maxsplit=1)[0]


def read_ignored(data: bytes, name: str, vex_days: int, today: date) -> list[Ignored]:
    """What a file says; a text that begins with a brace is OpenVEX. Raises ActionError, with file and line, for what says too little."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ActionError(f"{name} is no text in UTF-8 (byte {error.start})") from None
    return list(_openvex(text, name, vex_days, today) if text.lstrip().startswith("{") else _trivyignore(text, name))


def _trivyignore(text: str, name: str) -> Iterator[Ignored]:
    comment: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        where, line = f"{name}:{number}", line.strip()
        if not line:
            comment = []
            continue
        if line.startswith("#"):
            comment.append(line.lstrip("# "))
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ActionError(f"{where}: {line!r} is no entry: write CVE-2026-0001 exp:2027-02-01")
        reason = match["reason"] or " ".join(comment).strip()
        if not reason:
            raise ActionError(f"{where}: {match['id']} has no reason: write it in a comment above")
        if not match["until"]:
            raise ActionError(f"{where}: {match['id']} has no end: add exp:YEAR-MONTH-DAY, from which it counts again")
        yield Ignored(match["id"], reason, _day(match["until"], where), where)


def _openvex(text: str, name: str, vex_days: int, today: date) -> Iterator[Ignored]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ActionError(f"{name} is no OpenVEX document: it is no JSON ({error})") from None
    if "openvex" not in str(document.get("@context")):
        raise ActionError(f"{name} is no OpenVEX document: its @context is not that of OpenVEX")
    if not isinstance(document.get("statements"), list):
        raise ActionError(f"{name} is no OpenVEX document: it has no list of statements")
    for number, statement in enumerate(document["statements"]):
        where = f"{name}: statements[{number}]"
        try:
            if statement["status"] not in _SETTLED:
                continue
            vulnerability = statement["vulnerability"]
            reason = statement.get("justification") or statement.get("impact_statement") or ""
            said = statement.get("last_updated") or statement.get("timestamp") or document["timestamp"]
            if not reason and statement["status"] == "not_affected":
                raise ActionError(f"{where}: has no justification")
            identifier = vulnerability["name"] if isinstance(vulnerability, Mapping) else vulnerability
            if not statement["products"]:
                raise ActionError(f"{where}: names no products: it would be about everything")
            day = _day(str(said)[:10], where)
            if day > today + timedelta(days=1):  # it is tomorrow already elsewhere
                raise ActionError(f"{where}: is of {day}, which is yet to come")
            yield Ignored(str(identifier), reason or "fixed", day + timedelta(days=vex_days), where, tuple(_packages(statement)))
        except KeyError as error:
            raise ActionError(f"{where}: is no OpenVEX statement: it lacks {error}") from None
        except (TypeError, AttributeError):
            raise ActionError(f"{where}: is no OpenVEX statement") from None
        except OverflowError:
            raise ActionError(f"{where}: {vex_days} days (vex_days) from {day} on are more than the calendar has") from None


def _packages(statement: Mapping[str, Any]) -> Iterator[str]:
    """The packages that a statement is about: parts of products, or products that are packages themselves."""
    for product in statement["products"]:
        parts = product.get("subcomponents", ()) if isinstance(product, Mapping) else ()
        for each in parts or [product]:
            identifier = str(each["@id"] if isinstance(each, Mapping) else each)
            if identifier.startswith("pkg:") and not identifier.startswith("pkg:oci/"):
                yield bare(identifier)


def _day(text: str, where: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ActionError(f"{where}: {text!r} is no day: write it as 2027-02-01") from None
