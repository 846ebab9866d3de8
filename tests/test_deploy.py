"""The examples of an engine with workers, in deploy/, by the schemas of what is to read them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

DEPLOY = Path(__file__).parents[1] / "deploy"
MANIFESTS = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))


def test_compose() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
def test_kubernetes(manifest: object) -> None:
    kubernetes_validate.validate(manifest, "1.29", strict=True)


def test_what_the_examples_refer_to_is_there() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for service in services.values():
        if "build" in service:
            assert (DEPLOY.parent / service["build"]["dockerfile"]).is_file()
    for image in DEPLOY.glob("*.Dockerfile"):
        for line in image.read_text().splitlines():
            if line.startswith("COPY ") and line != "COPY . /src":
                assert all((DEPLOY.parent / name).is_file() for name in line.split()[1:-1]), line


@pytest.mark.parametrize("script", sorted(DEPLOY.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_scripts(script: Path) -> None:
    assert subprocess.run(["sh", "-n", script]).returncode == 0 and script.stat().st_mode & 0o111


def test_each_worker_has_a_gpu_and_properties_that_the_engine_knows() -> None:
    # BuildGrid's own tags stand in the file; what matters here is a plain list.
    known = (DEPLOY / "buildgrid.yml").read_text().partition("match-property-keys: [")[2].partition("]")[0].split(", ")
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    workers = [service["environment"] for name, service in services.items() if name.startswith("worker")]
    for manifest in MANIFESTS:
        if manifest["kind"] == "Deployment" and manifest["metadata"]["name"].startswith("worker"):
            (container,) = manifest["spec"]["template"]["spec"]["containers"]
            assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
            workers.append({each["name"]: each["value"] for each in container["env"]})
    assert len(workers) == 4
    for environment in workers:
        assert {each.partition("=")[0] for each in environment["PROPERTIES"].split()} <= set(known)
