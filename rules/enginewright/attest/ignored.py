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


def read_ignored(text: str, name: str, vex_days: int) -> list[Ignored]:
    """What a file says; a text that begins with a brace is OpenVEX. Raises ActionError, with file and line, for what says too little."""
    return list(_openvex(text, name, vex_days) if text.lstrip().startswith("{") else _trivyignore(text, name))


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


def _openvex(text: str, name: str, vex_days: int) -> Iterator[Ignored]:
    try:
        document = json.loads(text)
        if "openvex" not in document["@context"]:
            raise ValueError("its @context is not that of OpenVEX")
        statements = list(document["statements"])
    except (ValueError, KeyError, TypeError) as error:
        raise ActionError(f"{name} is no OpenVEX document ({error})") from None
    for number, statement in enumerate(statements):
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
            until = _day(str(said)[:10], where) + timedelta(days=vex_days)
            yield Ignored(str(identifier), reason or "fixed", until, where, tuple(_packages(statement)))
        except (KeyError, TypeError, AttributeError) as error:
            raise ActionError(f"{where}: is no OpenVEX statement (it lacks {error})") from None


def _packages(statement: Mapping[str, Any]) -> Iterator[str]:
    """The packages that a statement is about: parts of products, or products that are packages themselves."""
    for product in statement.get("products", ()):
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
