from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from enginewright.attest.findings import check_age, judge, refuse
from enginewright.attest.ignored import Ignored, bare, read_ignored
from enginewright.errors import ActionError

TODAY = date(2026, 11, 25)
IMAGE = [{"@id": "pkg:oci/image"}]


def finding(name: str = "CVE-1", severity: str = "HIGH", purl: str = "pkg:deb/debian/a@1?arch=amd64") -> dict[str, Any]:
    return {"id": name, "severity": severity, "purl": purl, "package": "a", "version": "1", "fixed": "", "title": ""}


def vex(**statement: Any) -> str:
    given = {"vulnerability": {"name": "CVE-1"}, "status": "not_affected", "justification": "not built", "products": IMAGE, **statement}
    return json.dumps({"@context": "https://openvex.dev/ns/v0.2.0", "timestamp": "2026-11-01T00:00:00Z", "statements": [given]})


def test_entries_with_reason_and_end() -> None:
    text = "# Not parsed,\n# says Ann.\nCVE-1 exp:2026-12-01\n\nGHSA-xv-1 exp:2026-12-02  # in a test only\n"
    assert read_ignored(text.encode(), "file", 90, TODAY) == [
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
        ("{", r"file is no OpenVEX document: it is no JSON \(Expecting"),
        ('{"a": ' * 100_000, "file is no OpenVEX document: it is no JSON"),
        ('{"@context": "x", "statements": []}', "file is no OpenVEX document: its @context"),
        ('{"@context": "https://openvex.dev/ns", "statements": {}}', "file is no OpenVEX document: it has no list of statements"),
        ('{"@context": "https://openvex.dev/ns", "statements": [3]}', r"file: statements\[0\]: is no OpenVEX statement$"),
        (
            '{"@context": "https://openvex.dev/ns", "statements": [{}]}',
            r"file: statements\[0\]: is no OpenVEX statement: it lacks 'status'",
        ),
        (vex(products=[]), r"file: statements\[0\]: names no products"),
        (vex(products=3), r"file: statements\[0\]: is no OpenVEX statement"),
        (vex(timestamp="2026-11-27"), r"file: statements\[0\]: is of 2026-11-27, which is yet to come"),
        (vex(justification=""), r"file: statements\[0\]: has no justification"),
        (vex(timestamp="soon"), r"file: statements\[0\]: 'soon' is no day"),
    ],
)
def test_what_says_too_little(text: str, problem: str) -> None:
    with pytest.raises(ActionError, match=f"^{problem}"):
        read_ignored(text.encode(), "file", 90, TODAY)


def test_what_cannot_be_read() -> None:
    with pytest.raises(ActionError, match=r"^file is no text in UTF-8 \(byte 2\)"):
        read_ignored(b"# \xff", "file", 90, TODAY)
    with pytest.raises(ActionError, match=r"99999999999 days \(vex_days\) from 2026-11-01 on are more than the calendar has"):
        read_ignored(vex().encode(), "file", 99999999999, TODAY)


def test_openvex() -> None:
    def read(**statement: Any) -> list[Ignored]:
        return read_ignored(vex(**statement).encode(), "file", 30, TODAY)

    (entry,) = read(products=[{"@id": "pkg:oci/image", "subcomponents": [{"@id": "pkg:deb/debian/a@1?arch=amd64"}]}])
    assert (entry.until, entry.packages, entry.reason) == (date(2026, 12, 1), ("pkg:deb/debian/a@1",), "not built")
    assert entry.covers("CVE-1", "pkg:deb/debian/a@1?arch=arm64") and not entry.covers("CVE-1", "pkg:deb/debian/b@1")
    (entry,) = read(timestamp="2026-11-20T10:00:00Z")
    assert (entry.until, entry.packages) == (date(2026, 12, 20), ())
    assert read(status="affected") == []
    assert read(status="fixed", justification="")[0].reason == "fixed"


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
    with pytest.raises(ActionError, match=r"^1 vulnerability of severity LOW or more"):
        refuse(judge(found[:1], "LOW", [], TODAY), "LOW", TODAY)
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
