"""SLSA provenance of a lineage: how an artifact was built, from what, by what.

SLSA v1.0, "Provenance" (https://slsa.dev/spec/v1.0/provenance). It says nothing of times and machines: a result that comes from a store
was made at some other time by some other machine, and is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from enginewright.attest.statement import Resource, resource

PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:enginewright:build-type:targets:1"
"""``externalParameters`` has the label, and what was declared of each target that led to it; ``internalParameters`` has their actions."""

BUILDER = "urn:enginewright:builder:unnamed"


def provenance(lineage: Mapping[str, Any], builder: str, base: Sequence[Resource] = ()) -> dict[str, Any]:
    """The predicate. ``builder`` is the URI of who builds; ``base`` are the images built upon."""
    targets = lineage["targets"]
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "target": lineage["label"],
                "declarations": {each["label"]: _declaration(each) for each in targets},
            },
            "internalParameters": {"actions": {each["label"]: _action(each) for each in targets}},
            "resolvedDependencies": _unique([*base, *_dependencies(targets)]),
        },
        "runDetails": {
            "builder": {"id": builder, "version": {"enginewright": lineage["enginewright"]}},
            "byproducts": _unique(each for target in targets[:-1] if not _fetches(target) for each in made_by(target)),
        },
    }


def made_by(target: Mapping[str, Any]) -> Iterator[Resource]:
    """The outputs of a target of a lineage, with its label; of a folder, each file."""
    for output in target["outputs"].values():
        for name, each in output.get("files", {"": output}).items():
            path = f"{output['path']}/{name}".rstrip("/")
            yield resource(path, each["sha256"], annotations={"target": target["label"]})


def purl(distribution: str, version: str) -> str:
    """The package URL of a distribution of PyPI (https://github.com/package-url/purl-spec, "pypi")."""
    return f"pkg:pypi/{quote(distribution.lower().replace('_', '-'))}@{quote(version, safe='.-+')}"


def sources(target: Mapping[str, Any]) -> Iterator[Resource]:
    """What a target reads that no other makes: files of the workspace, and of distributions."""
    for given in target["inputs"].values():
        if "source" in given:
            uri = {"uri": purl(given["distribution"], given["version"])} if "distribution" in given else {}
            yield resource(given["source"], given["sha256"], **uri)


def _declaration(target: Mapping[str, Any]) -> dict[str, Any]:
    """What a BUILD.py says of a target, without the attributes that it leaves out or empty: of those a lineage has texts as well."""
    given = {name: text for name, text in target["attributes"].items() if text not in ("None", "", "[]", "{}")}
    return {"rule": target["rule"], "attributes": given, "declared": target["declared"]}


def _fetches(target: Mapping[str, Any]) -> bool:
    """Whether what a target makes comes from outside: packages, wheels, base images, each pinned by a digest."""
    return "network" in target["requires"]


def _dependencies(targets: Sequence[Mapping[str, Any]]) -> Iterator[Resource]:
    for target in targets:
        yield from sources(target)
        yield from made_by(target) if _fetches(target) else ()
    versions = {(name, version) for target in targets for name, version in target["toolchain"].items()}
    yield from ({"uri": purl(name, version)} for name, version in sorted(versions))


def _action(target: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("mnemonic", "key", "reproducible", "params", "requires", "platform", "toolchain", "code")
    return {**{name: target[name] for name in kept}, "inputs": {name: _named(each) for name, each in target["inputs"].items()}}


def _named(given: Mapping[str, Any]) -> str:
    """An input as one text: the label and output it comes from, or the source."""
    if "target" in given:
        return f"{given['target']} {given['output']}"
    return str(given.get("source") or given["written"])


def _unique(resources: Any) -> list[Resource]:
    found: dict[tuple[str, str], Resource] = {}
    for each in resources:
        found.setdefault((each.get("name", each.get("uri", "")), each.get("digest", {}).get("sha256", "")), each)
    return [found[key] for key in sorted(found)]
