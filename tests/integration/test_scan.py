"""scan() with the real Trivy, on databases that the tests write."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import pytest

from scanned import declare, write_database
from throwaway import Workspace

SCAN = 'scan(name="scan", image=":image", database="db/trivy.db", ignore="trivyignore", max_age_days=7)\n'
HIGH = {"openssl": "CVE-2099-0001 HIGH 3.0.9-2"}


@pytest.fixture
def workspace(empty: Workspace) -> Workspace:
    declare(empty, SCAN)
    empty.write({"models/x/trivyignore": ""})
    return empty


def failure(workspace: Workspace, target: str = "scan") -> str:
    return str(workspace.build("models/x:scan", code=1).actions[f"models/x:{target}"]["reason"])


def ignoring(until: date, reason: str = "# Nobody talks TLS here.") -> dict[str, str]:
    return {"models/x/trivyignore": f"{reason}\nCVE-2099-0001 exp:{until}\n"}


def test_vulnerable_ignored_expired_and_clean(workspace: Workspace) -> None:
    db = workspace.root / "models/x/db"
    write_database(db, **HIGH, zlib1g="CVE-2099-0002 LOW 1:1.3-1")
    text = failure(workspace)
    assert "1 vulnerability of severity HIGH or more" in text
    assert "CVE-2099-0001    HIGH     openssl 3.0.9-1 (fixed in 3.0.9-2): about openssl" in text and "CVE-2099-0002" not in text
    assert not (workspace.root / "build/models/x/scan.json").exists()

    workspace.write(ignoring(date.today() + timedelta(days=30)))
    assert workspace.build("models/x:scan").built == {"models/x:scan"}  # what was found is known
    report = json.loads(workspace.read("build/models/x/scan.json"))
    assert [(each["id"], each["reason"]) for each in report["ignored"]] == [("CVE-2099-0001", "Nobody talks TLS here.")]
    assert (report["below"], report["system"]) == (1, {"family": "debian", "version": "12.4"})

    yesterday = date.today() - timedelta(days=1)
    workspace.write(ignoring(yesterday))
    text = failure(workspace)
    assert "CVE-2099-0001" in text and f"trivyignore:2: ignored CVE-2099-0001 until {yesterday}" in text

    write_database(db, openssl="CVE-2099-0001 HIGH 3.0.9-1")  # fixed in what is there
    assert workspace.build("models/x:scan").built == {"models/x:scan.findings", "models/x:scan"}
    assert json.loads(workspace.read("build/models/x/scan.json"))["superfluous"] == ["trivyignore:2: CVE-2099-0001"]
    assert workspace.build("models/x:scan").ran == set()


def test_days_go_by(workspace: Workspace, tmp_path: Path) -> None:
    """Nothing changes but the day: what passed does not pass for ever."""
    write_database(workspace.root / "models/x/db", age_days=5)
    workspace.build()
    assert workspace.build().ran == set()
    at(workspace, tmp_path, days=1)
    assert workspace.build().built == {"models/x:scan"}
    at(workspace, tmp_path, days=4)
    assert "9 days old, and may be 7 (max_age_days)" in failure(workspace)
    assert workspace.doit("build", code=1)


def at(workspace: Workspace, folder: Path, days: int) -> None:
    """Have `doit` take it for so many days later."""
    patch = f"""
        import datetime as module

        class Later(module.datetime):
            @classmethod
            def now(cls, tz=None):
                return module.datetime.now(tz) + module.timedelta(days={days})

        import enginewright.execute.written as written
        written.datetime = Later
        """
    # A folder a day: a module of the same size, written in the same second, is taken for the one that was compiled.
    later = folder / f"later{days}"
    later.mkdir()
    (later / "usercustomize.py").write_text("")
    (later / "sitecustomize.py").write_text("\n".join(line[8:] for line in patch.splitlines()))
    workspace.environment["PYTHONPATH"] = str(later)


def test_databases_that_prove_nothing(workspace: Workspace) -> None:
    db = workspace.root / "models/x/db"
    assert "models/x/db/trivy.db does not exist" in workspace.refuse("build", "models/x:scan")
    write_database(db, age_days=8)
    text = failure(workspace)
    assert "8 days old, and may be 7 (max_age_days)" in text and "trivy image --download-db-only" in text
    write_database(db, age_days=-3)
    assert "which is yet to come: is this machine's clock right?" in failure(workspace)
    write_database(db, version=1)
    assert "metadata.json: the database is of format 1" in failure(workspace, "scan.findings")
    write_database(db, system="debian 11", **HIGH)
    assert "trivy.db knows nothing of debian 12, the system of the image" in failure(workspace, "scan.findings")
    (db / "trivy.db").write_bytes(b"half of a database")
    assert "trivy.db is no database of vulnerabilities" in failure(workspace, "scan.findings")
    (db / "trivy.db").write_bytes(b"vulnerability" * 1000)
    assert "trivy could not scan the image (exit code 1)" in failure(workspace, "scan.findings")
    (db / "metadata.json").write_text("{}")
    assert "metadata.json does not say of when the database is" in failure(workspace, "scan.findings")


def test_files_of_what_to_ignore(workspace: Workspace) -> None:
    write_database(workspace.root / "models/x/db", **HIGH)
    tomorrow = date.today() + timedelta(days=1)
    for text, problem in {
        f"CVE-2099-0001 exp:{tomorrow}\n": "trivyignore:1: CVE-2099-0001 has no reason",
        "# because\nCVE-2099-0001\n": "trivyignore:2: CVE-2099-0001 has no end: add exp:YEAR-MONTH-DAY",
        "# because\nCVE-2099-0001 exp:soon\n": "trivyignore:2: 'soon' is no day",
    }.items():
        workspace.write({"models/x/trivyignore": text})
        assert problem in failure(workspace)
    vex = {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "timestamp": f"{date.today()}T00:00:00Z",
        "statements": [
            {
                "vulnerability": {"name": "CVE-2099-0001"},
                "products": [{"@id": "pkg:oci/image", "subcomponents": [{"@id": "pkg:deb/debian/openssl@3.0.9-1"}]}],
                "status": "not_affected",
                "justification": "vulnerable_code_not_in_execute_path",
            }
        ],
    }
    workspace.write({"models/x/trivyignore": json.dumps(vex)})
    workspace.build("models/x:scan")
    assert json.loads(workspace.read("build/models/x/scan.json"))["ignored"][0]["reason"] == "vulnerable_code_not_in_execute_path"
    vex["timestamp"] = f"{date.today() - timedelta(days=90)}T00:00:00Z"
    workspace.write({"models/x/trivyignore": json.dumps(vex)})
    assert "trivyignore: statements[0]: ignored CVE-2099-0001 until" in failure(workspace)


def test_a_system_that_nobody_knows_is_no_excuse_for_an_empty_database(workspace: Workspace) -> None:
    """Trivy makes a database of an empty file, and finds nothing in an image that has packages of languages alone."""
    image = 'image(name="pure", layers=[":python"])\n'
    declare(workspace, image + SCAN.replace(":image", ":pure"))
    write_database(workspace.root / "models/x/db")
    workspace.build("models/x:scan")
    (workspace.root / "models/x/db/trivy.db").write_bytes(b"")
    assert "trivy.db is no database of vulnerabilities: fetch it again" in failure(workspace, "scan.findings")


def test_programs_that_are_none(workspace: Workspace) -> None:
    write_database(workspace.root / "models/x/db")
    workspace.write({"models/x/program": "#!/bin/sh\n"})
    declare(workspace, f'{SCAN[:-2]}, trivy="program")\nsbom(name="sbom", image=":image", syft="program")\n')
    for mode, problem in ((0o644, "program cannot be run: Permission denied"), (0o755, "program wrote no report that can be read")):
        (workspace.root / "models/x/program").chmod(mode)
        actions = workspace.build("--continue", code=1).actions
        assert {actions[f"models/x:{target}"]["reason"] for target in ("scan.findings", "sbom")} == {problem}
