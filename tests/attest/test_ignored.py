from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from enginewright.attest.findings import check_age, judge, refuse
from enginewright.attest.ignored import Ignored, bare, read_ignored
from enginewright.errors import ActionError

TODAY = date(2026, 11, 25)


def finding(name: str = "CVE-1", severity: str = "HIGH", purl: str = "pkg:deb/debian/a@1?arch=amd64") -> dict[str, Any]:
    return {"id": name, "severity": severity, "purl": purl, "package": "a", "version": "1", "fixed": "", "title": ""}


def vex(**statement: Any) -> str:
    given = {"vulnerability": {"name": "CVE-1"}, "status": "not_affected", "justification": "not built", **statement}
    return json.dumps({"@context": "https://openvex.dev/ns/v0.2.0", "timestamp": "2026-11-01T00:00:00Z", "statements": [given]})


def test_entries_with_reason_and_end() -> None:
    text = "# Not parsed,\n# says Ann.\nCVE-1 exp:2026-12-01\n\nGHSA-xv-1 exp:2026-12-02  # in a test only\n"
    assert read_ignored(text, "file", 90) == [
        Ignored("CVE-1", "Not parsed, says Ann.", date(2026, 12, 1), "file:3"),
        Ignored("GHSA-xv-1", "in a test only", date(2026, 12, 2), "file:5"),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("# a\n\nCVE-1 exp:2026-12-01", "file:3: CVE-1 has no reason"),
        ("# a\nCVE-1", "file:2: CVE-1 has no end"),
        ("# a\nCVE-1 exp:12/2026", "file:2: '12/2026' is no day"),
        ("# a\nCVE-1 CVE-2", "file:2: 'CVE-1 CVE-2' is no entry"),
        ("{", "file is no OpenVEX document"),
        ('{"@context": "x", "statements": []}', "file is no OpenVEX document"),
        (vex(justification=""), r"file: statements\[0\]: has no justification"),
        (vex(timestamp="soon"), r"file: statements\[0\]: 'soon' is no day"),
    ],
)
def test_what_says_too_little(text: str, problem: str) -> None:
    with pytest.raises(ActionError, match=f"^{problem}"):
        read_ignored(text, "file", 90)


def test_openvex() -> None:
    (entry,) = read_ignored(
        vex(products=[{"@id": "pkg:oci/image", "subcomponents": [{"@id": "pkg:deb/debian/a@1?arch=amd64"}]}]), "file", 30
    )
    assert (entry.until, entry.packages, entry.reason) == (date(2026, 12, 1), ("pkg:deb/debian/a@1",), "not built")
    assert entry.covers("CVE-1", "pkg:deb/debian/a@1?arch=arm64") and not entry.covers("CVE-1", "pkg:deb/debian/b@1")
    (entry,) = read_ignored(vex(timestamp="2026-11-20T10:00:00Z"), "file", 30)
    assert (entry.until, entry.packages) == (date(2026, 12, 20), ())
    assert read_ignored(vex(status="affected"), "file", 30) == []
    assert read_ignored(vex(status="fixed", justification=""), "file", 30)[0].reason == "fixed"


@pytest.mark.parametrize(("severity", "counted"), [("LOW", 3), ("MEDIUM", 2), ("HIGH", 2), ("CRITICAL", 1)])
def test_severities(severity: str, counted: int) -> None:
    found = [finding(severity=each) for each in ("UNKNOWN", "LOW", "HIGH", "CRITICAL")]
    assert len(judge(found, severity, [], TODAY).open) == counted


def test_an_entry_counts_until_its_day() -> None:
    entry = Ignored("CVE-1", "because", TODAY, "file:1")
    assert judge([finding()], "HIGH", [entry], date(2026, 11, 24)).open == []
    verdict = judge([finding()], "HIGH", [entry], TODAY)
    assert (len(verdict.open), verdict.expired, verdict.superfluous) == (1, [entry], [])
    assert judge([], "HIGH", [entry], TODAY).superfluous == [entry]
    with pytest.raises(ActionError, match="file:1: ignored CVE-1 until 2026-11-25"):
        refuse(verdict, "HIGH", TODAY)


def test_the_worst_first_and_not_all() -> None:
    found = [finding(f"CVE-{n}") for n in range(30)] + [finding("CVE-99", "CRITICAL")]
    with pytest.raises(ActionError) as caught:
        refuse(judge(found, "LOW", [], TODAY), "LOW", TODAY)
    lines = str(caught.value).splitlines()
    assert lines[0] == "31 vulnerabilities of severity LOW or more, on 2026-11-25:"
    assert "CVE-99" in lines[1] and "and 11 more" in lines[21]


@pytest.mark.parametrize("day", [18, 25, 26])
def test_databases_that_are_young_enough(day: int) -> None:
    check_age(date(2026, 11, day), TODAY, 7)


@pytest.mark.parametrize(("day", "problem"), [(17, "8 days old, and may be 7"), (27, "yet to come")])
def test_databases_that_are_not(day: int, problem: str) -> None:
    with pytest.raises(ActionError, match=problem):
        check_age(date(2026, 11, day), TODAY, 7)


def test_a_package_url_without_qualifiers() -> None:
    assert bare("pkg:deb/debian/a@1%2B2?arch=amd64#x") == "pkg:deb/debian/a@1%2B2"
