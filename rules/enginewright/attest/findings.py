"""What Trivy finds in an image, without what differs from run to run, and whether it is acceptable on a day."""

from __future__ import annotations

import mmap
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from enginewright.attest.ignored import Ignored
from enginewright.errors import ActionError

SEVERITIES = ("UNKNOWN", "LOW", "MEDIUM", "HIGH", "CRITICAL")
"""From the least."""

_SHOWN = 20

_BUCKETS = {"debian": r"\d+", "ubuntu": r"\d+\.\d+", "alpine": r"\d+\.\d+"}
"""Systems whose part of Trivy's database has the name ``SYSTEM VERSION``, and what of the version is in it."""


def distilled(report: Mapping[str, Any]) -> dict[str, Any]:
    """Of Trivy's report the system, and the vulnerabilities, sorted."""
    found = [
        {
            "id": each["VulnerabilityID"],
            "severity": each.get("Severity", "UNKNOWN"),
            "package": each["PkgName"],
            "version": each["InstalledVersion"],
            "fixed": each.get("FixedVersion", ""),
            "purl": each.get("PkgIdentifier", {}).get("PURL", ""),
            "title": each.get("Title", ""),
            "url": each.get("PrimaryURL", ""),
        }
        for result in report.get("Results") or ()
        for each in result.get("Vulnerabilities") or ()
    ]
    system = report.get("Metadata", {}).get("OS") or {}
    unique = {tuple(sorted(each.items())): each for each in found}
    return {
        "system": {"family": system.get("Family", "none"), "version": system.get("Name", "")},
        "vulnerabilities": sorted(unique.values(), key=lambda each: (each["id"], each["package"], each["version"], each["purl"])),
    }


def check_whole(database: Path) -> None:
    """Raise ActionError for a database in which nothing could be: Trivy would make a new one of an empty file, and find nothing."""
    if not _holds(database, "vulnerability"):
        raise ActionError(f"{database.name} is no database of vulnerabilities: fetch it again")


def check_covered(system: Mapping[str, str], database: Path) -> None:
    """Raise ActionError where a database has nothing on an image's system: Trivy then finds nothing, and says that all is well."""
    version = re.match(_BUCKETS.get(system["family"], "(?!)"), system["version"])
    if version is None:
        return
    bucket = f"{system['family']} {version[0]}"
    if not _holds(database, bucket):
        raise ActionError(f"{database.name} knows nothing of {bucket}, the system of the image: nothing would ever be found in it")


def _holds(database: Path, name: str) -> bool:
    if not database.stat().st_size:  # which cannot be mapped
        return False
    with database.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(name.encode()) >= 0


@dataclass(frozen=True)
class Verdict:
    """``open`` are the findings that count; ``ignored`` those that do not, with the entries that say so; ``expired`` and ``superfluous``
    are entries that no longer say so, or that nothing was found for."""

    open: Sequence[Mapping[str, Any]]
    ignored: Sequence[tuple[Mapping[str, Any], Ignored]]
    expired: Sequence[Ignored]
    superfluous: Sequence[Ignored]


def judge(vulnerabilities: Sequence[Mapping[str, Any]], severity: str, ignored: Sequence[Ignored], today: date) -> Verdict:
    """Which of the vulnerabilities of at least a severity count today."""
    counted, excused = [], []
    for each in vulnerabilities:
        if SEVERITIES.index(each["severity"]) < SEVERITIES.index(severity):
            continue
        entry = next((entry for entry in ignored if entry.covers(each["id"], each["purl"]) and today < entry.until), None)
        if entry is None:
            counted.append(each)
        else:
            excused.append((each, entry))
    matching = [entry for entry in ignored if any(entry.covers(each["id"], each["purl"]) for each in vulnerabilities)]
    return Verdict(counted, excused, [entry for entry in matching if today >= entry.until], [e for e in ignored if e not in matching])


def check_age(updated: date, today: date, max_age_days: int) -> None:
    """Raise ActionError for a database that is older than it may be, or of a day that is yet to come."""
    age = (today - updated).days
    if age > max_age_days:
        raise ActionError(
            f"the database of vulnerabilities is of {updated}, {age} days old, and may be {max_age_days} (max_age_days): what has become"
            " known since would be missed. Fetch a new one: trivy image --download-db-only --cache-dir FOLDER"
        )
    if age < -1:
        raise ActionError(f"the database of vulnerabilities is of {updated}, which is yet to come: is this machine's clock right?")


def refuse(verdict: Verdict, severity: str, today: date) -> None:
    """Raise ActionError where something counts, naming the worst first, and the entries that have expired."""
    if not verdict.open:
        return
    worst = sorted(verdict.open, key=lambda each: (-SEVERITIES.index(each["severity"]), each["id"], each["package"]))
    lines = [
        f"  {each['id']:16} {each['severity']:8} {each['package']} {each['version']}"
        f" ({'fixed in ' + each['fixed'] if each['fixed'] else 'no fix yet'}){': ' + each['title'] if each['title'] else ''}"
        for each in worst[:_SHOWN]
    ]
    more = [f"  and {len(worst) - _SHOWN} more"] if len(worst) > _SHOWN else []
    lapsed = [f"  {entry.where}: ignored {entry.vulnerability} until {entry.until}" for entry in verdict.expired]
    counted = "1 vulnerability" if len(worst) == 1 else f"{len(worst)} vulnerabilities"
    raise ActionError(
        "\n".join([f"{counted} of severity {severity} or more, on {today}:", *lines, *more, *lapsed])
        + "\nTake packages in which they are fixed, or have an entry with reason and end reviewed into the file that ignore names"
    )
