"""A release into a real registry, repeated, refused, and checked from a second clone."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pinned import lock_elsewhere
from registries import Registry, need
from scanned import declare, write_database
from throwaway import Workspace

IMAGE = "models/x:image"
ABOUT = """
from enginewright import provenance, sign

sbom(name="sbom", image=":image")
provenance(name="provenance", subject=":image")
scan(name="scan", image=":image", database="db/trivy.db")
sign(name="signed", subject=":image", attestations=[":provenance", ":sbom"], key="file:release.pem")
"""
INDEX = """
from enginewright import image_index

image_index(name="index", images=[":image"])
provenance(name="origin", subject=":index")
sign(name="index_signed", subject=":index", attestations=[":origin"], key="file:release.pem")
"""
ENGINE = """
from enginewright import files_layer, image, python_action

python_action(name="engine", function="make.py:copy", inputs={"a": "a.txt"}, outputs={"out": "out.txt"}, requires={"gpu": "sm_00"})
files_layer(name="layer", files={"/engine": ":engine"})
image(name="image", layers=[":layer"])
"""
PASSWORD = "a password of the tests"
TARGETS = {f"models/x:{name}" for name in ("onnx", "system", "python", "model", "image", "sbom", "provenance")}


@pytest.fixture
def workspace(empty: Workspace) -> Workspace:
    """An image with all that is said of it, a database in which nothing is wrong with it, a key, and a lock."""
    declare(empty, ABOUT)
    write_database(empty.root / "models/x/db")
    private, public = empty.root / "release.pem", empty.root / "release.pub"
    generate = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-aes256", "-pass", f"pass:{PASSWORD}"]
    subprocess.run([need("openssl"), *generate, "-out", private], check=True, capture_output=True)
    subprocess.run([need("openssl"), "pkey", "-in", private, "-passin", f"pass:{PASSWORD}", "-pubout", "-out", public], check=True)
    empty.environment["ENGINEWRIGHT_KEY_PASSWORD"] = PASSWORD
    empty.doit("lock")
    return empty


def test_a_release_and_its_check_elsewhere(workspace: Workspace, registry: Registry, tmp_path: Path) -> None:
    to = f"{registry.host}/team/x:1.0"
    done = workspace.doit("release", IMAGE, "--to", to)
    text = workspace.read("release.json")
    released = json.loads(text)
    digest = released["digest"]
    assert done.stdout == f"{IMAGE} is {to}@{digest}\nrelease.json names its 7 targets\n"
    assert "bit 5, numerical 0, none 0, failed 0, skipped 0" in done.stderr
    assert released["reference"] == to and released["targets"].keys() == TARGETS
    assert {each["class"] for label, each in released["targets"].items() if label not in ("models/x:sbom", "models/x:provenance")} == {
        "bit"
    }
    # What others see of it.
    arguments = ["inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{to}"]
    assert subprocess.run([need("skopeo"), *arguments], check=True, text=True, capture_output=True).stdout.strip() == digest
    shown = workspace.doit("check-signature", to, "--key", "release.pub", "--type", "https://slsa.dev/provenance/v1").stdout
    assert digest in shown
    sums = {output["path"]: output["sha256"] for each in released["targets"].values() for output in each["outputs"].values()}
    path = "build/models/x/system.tar"
    assert (
        subprocess.run(["sha256sum", path], cwd=workspace.root, check=True, text=True, capture_output=True).stdout.split()[0] == sums[path]
    )
    statement = json.loads(workspace.read("build/models/x/provenance.json"))
    definition = statement["predicate"]["buildDefinition"]
    assert {each["reproducible"] for each in definition["internalParameters"]["actions"].values()} == {"bit"}
    declared = definition["externalParameters"]["declarations"]["models/x:onnx"]["attributes"]
    assert declared.keys() == {"src", "dims", "tolerance"} and declared["src"] == "net.onnx"

    # Again: nothing. A record that is not whole is written anew.
    (workspace.root / "release.json").write_bytes(b"\xff")
    assert "release.json names its 7 targets" in workspace.doit("release", IMAGE, "--to", to).stdout
    assert workspace.read("release.json") == text
    asked = len(registry.requests())
    again = workspace.doit("release", IMAGE, "--to", to)
    assert again.stdout.startswith(f"{IMAGE} is {to}@{digest}, as it was: there was nothing to do\n")
    assert workspace.read("release.json") == text
    assert "bit 0, numerical 0, none 0, failed 0, skipped 0, verified before 5 in " in again.stderr
    assert {each.split()[0] for each in registry.requests()[asked:]} <= {"GET", "HEAD"}
    assert json.loads(workspace.doit("release", IMAGE, "--to", to, "--json").stdout)["sent"] == 0

    # From another clone, with nothing but the files of the repository: neither the key nor the database of vulnerabilities is among them.
    clone = workspace.clone(tmp_path / "clone", tmp_path / "another store")
    (clone.root / "release.pem").unlink()
    shutil.rmtree(clone.root / "models/x/db")
    checked = clone.doit("release", "--check", "release.json")
    assert checked.stdout.splitlines()[-2:] == [
        "identical 7, differs 0, missing 0, new 0",
        f"{IMAGE} is {digest}, as released",
    ]
    assert f"identical  {IMAGE} (bit)" in checked.stdout

    # Which notices what is not the same.
    clone.write({"models/x/METADATA": clone.read("models/x/METADATA").replace("BSD", "MIT")})
    clone.write({"build.lock": clone.read("build.lock") + 'another = "1.0"\n'})
    told = clone.doit("release", "--check", "release.json", code=1)
    assert "WARNING: build.lock is not the one that release.json was released with\n" in told.stderr
    made = hashlib.sha256((clone.root / "build/models/x/python.tar").read_bytes()).hexdigest()
    assert (
        f"           build/models/x/python.tar sha256:{made}\n           released as sha256:{sums['build/models/x/python.tar']}\n"
        in told.stdout
    )
    differing = json.loads(clone.doit("release", "--check", "release.json", "--json", code=1).stdout)
    assert not differing["identical"] and differing["digest"] != digest == differing["released"] and not differing["same_lock"]
    assert {label for label, status in differing["targets"].items() if status == "differs"} == {
        "models/x:python", IMAGE, "models/x:sbom", "models/x:provenance",
    }  # fmt: skip


def test_an_index_is_released_with_what_is_said_of_its_images(workspace: Workspace, registry: Registry) -> None:
    workspace.write({"models/x/BUILD.py": workspace.read("models/x/BUILD.py") + INDEX})
    db, to = workspace.root / "models/x/db", f"{registry.host}/team/index:1.0"
    write_database(db, openssl="CVE-2099-0001 HIGH 3.0.9-2")
    assert "CVE-2099-0001" in workspace.doit("release", "models/x:index", "--to", to, code=1).stderr
    write_database(db)
    done = workspace.doit("release", "models/x:index", "--to", to)
    assert "is released without" not in done.stderr
    assert json.loads(workspace.read("release.json"))["targets"].keys() == TARGETS | {"models/x:index", "models/x:origin"}
    assert "states  https://slsa.dev/provenance/v1" in workspace.doit("check-signature", to, "--key", "release.pub").stdout


def test_what_only_another_machine_builds_is_released_as_it_is_locked(
    workspace: Workspace, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an engine that was measured on a GPU: it is in the image with the bytes that are locked, and nobody builds it again."""
    workspace.write({"models/g/BUILD.py": ENGINE, "models/g/make.py": workspace.make, "models/g/a.txt": "a\n"})
    lock_elsewhere(workspace, "models/g:engine", "made there\n", monkeypatch)
    to = f"{registry.host}/team/engine:1.0"
    done = workspace.doit("release", "models/g:image", "--to", to)
    assert "skipped    models/g:engine: is taken as it is locked" in done.stderr
    assert workspace.read("build/models/g/engine/out.txt") == "made there\n" and workspace.trace.lines() == []
    assert json.loads(workspace.read("release.json"))["targets"]["models/g:engine"]["class"] == "locked"
    assert "nothing to do" in workspace.doit("release", "models/g:image", "--to", to).stdout
    assert "identical  models/g:engine (locked)\n" in workspace.doit("release", "--check", "release.json").stdout
    workspace.write({"models/g/a.txt": "b\n"})
    done = workspace.doit("release", "models/g:image", "--to", to, code=1)
    assert "models/g:engine (PythonAction): was locked as it was made with other inputs" in done.stderr


def test_a_class_that_is_found_is_no_difference(workspace: Workspace) -> None:
    """A provenance tells the classes of what it is about, and is made again when they are known, but not while they are found."""
    assert "bit 6, numerical 0, none 0" in workspace.doit("verify", "models/x:provenance", "--deps", "--require=bit").stdout
    assert workspace.build("models/x:provenance").built == {"models/x:provenance"}
    assert "bit 1, numerical 0, none 0" in workspace.doit("verify", "models/x:provenance", "--require=bit").stdout


def test_what_keeps_a_release_from_happening(workspace: Workspace, registry: Registry) -> None:
    to = f"{registry.host}/team/refused:1.0"

    def nothing_is_there() -> bool:
        return not (registry.folder / "data/docker/registry/v2/repositories/team/refused").exists()

    # A finding.
    db = workspace.root / "models/x/db"
    write_database(db, openssl="CVE-2099-0001 HIGH 3.0.9-2")
    done = workspace.doit("release", IMAGE, "--to", to, code=1)
    assert "CVE-2099-0001" in done.stderr and nothing_is_there()
    # Which nobody can look away from.
    workspace.doit("ignore", "models/x:scan")
    done = workspace.doit("release", IMAGE, "--to", to, code=1)
    assert "ERROR: models/x:scan is ignored, until `doit forget models/x:scan`" in done.stderr and nothing_is_there()
    workspace.doit("forget", "models/x:scan")
    write_database(db)
    # A password that is wrong, before anything runs.
    workspace.environment["ENGINEWRIGHT_KEY_PASSWORD"] = "another"
    assert "release.pem" in workspace.doit("release", IMAGE, "--to", to, code=3).stderr and nothing_is_there()
    workspace.environment["ENGINEWRIGHT_KEY_PASSWORD"] = PASSWORD
    # A lock that says something else; none.
    lock = workspace.read("build.lock")
    workspace.write({"build.lock": lock.replace('onnx = "', 'onnx = "0.')})
    assert "onnx is " in workspace.doit("release", IMAGE, "--to", to, code=3).stderr and nothing_is_there()
    (workspace.root / "build.lock").unlink()
    assert "there is no build.lock here" in workspace.doit("release", IMAGE, "--to", to, code=3).stderr
    workspace.write({"build.lock": lock})
    # A record that could not be written.
    (workspace.root / "folder").mkdir()
    for output, reason in (("folder", "Is a directory"), ("build.lock/r.json", "Not a directory"), ("/proc/r.json", "No such file")):
        said = workspace.doit("release", IMAGE, "--to", to, "--output", output, code=3).stderr
        assert f"--output {output}: {reason}" in said and nothing_is_there()
    # A bill of materials of another image.
    build = workspace.read("models/x/BUILD.py")
    other = 'image(name="other", layers=[":system"])\nsbom(name="other_sbom", image=":other")\n'
    workspace.write({"models/x/BUILD.py": build.replace('attestations=[":provenance", ":sbom"]', 'attestations=[":other_sbom"]') + other})
    done = workspace.doit("release", IMAGE, "--to", to, code=1)
    assert "attestations: models/x:other_sbom is about sha256:" in done.stderr and nothing_is_there()
    workspace.write({"models/x/BUILD.py": build})
    # A target that does not come out the same.
    chance = 'from enginewright import python_action\npython_action(name="c", function="c.py:c", outputs={"c": "c.txt"})\n'
    workspace.write({"models/x/BUILD.py": chance + build.replace('"/models/": ":onnx"', '"/models/": ":onnx", "/c": ":c"')})
    workspace.write({"models/x/c.py": "import os\n\ndef c(inputs, outputs, params):\n    outputs['c'].write_text(os.urandom(8).hex())\n"})
    for _ in range(2):  # the second time, that is known
        done = workspace.doit("release", IMAGE, "--to", to, code=1)
        assert "ERROR: models/x:c is none when it is built again, and numerical is asked for" in done.stderr and nothing_is_there()


def test_mistakes(workspace: Workspace) -> None:
    assert "an image and where it goes" in workspace.doit("release", code=3).stderr
    assert "an image and where it goes" in workspace.doit("release", IMAGE, "--to", "h.example/x:1", "--check", "x", code=3).stderr
    assert "which makes no image" in workspace.doit("release", "models/x:onnx", "--to", "127.0.0.1:1/x:1", code=3).stderr
    assert "--check release.json: No such file" in workspace.doit("release", "--check", "release.json", code=3).stderr
    good: dict[str, Any] = {"format": 1, "label": IMAGE, "reference": "h/x:1", "digest": "sha256:0", "lock": "0", "targets": {}}
    for record, problem in (
        (b"\xff", "it is no JSON"),
        (b"[" * 100_000, "it is no JSON"),
        (b"[]", "it is no JSON object"),
        (b"{}", "its format is missing"),
        ({**good, "digest": 3}, "its digest is 3"),
        ({**good, "targets": []}, "its targets is []"),
        ({**good, "label": "x"}, "'x' is not a label"),
        ({**good, "targets": {"a:b": {"outputs": {"c": "d"}}}}, "of the target a:b it does not say path and sha256 of each output"),
    ):
        (workspace.root / "release.json").write_bytes(record if isinstance(record, bytes) else json.dumps(record).encode())
        said = workspace.refuse("release", "--check", "release.json")
        assert said.startswith("--check release.json is not the record of a release, as doit release writes it: ") and problem in said
    workspace.write({"release.json": json.dumps({**good, "format": 2})})
    assert workspace.refuse("release", "--check", "release.json") == "--check release.json is of format 2, and this version reads format 1"
