"""Built twice, in two folders, by two users, with another umask, time zone, locale and hash seed: the same bytes and image digests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from throwaway import DOIT, Workspace
from tiny import NET, save_weights

MODEL = """
from enginewright import bf16, checkpoint, fp16, int8, onnx_model, python_action, tensor, tensorrt_engine

checkpoint(name="weights", src="net.pth")
onnx_model(name="onnx", checkpoint=":weights", inputs={"x": tensor("float32", ("batch", 64))}, outputs=["y"], dims={"batch": (1, 4, 16)})
fp16(name="half", model=":onnx")
bf16(name="brain", model=":onnx")
int8(name="quantised", model=":onnx", calibration="calibrate.py:samples")
tensorrt_engine(name="engine", model=":half", archs=["sm_80", "sm_89"])
python_action(name="notes", function="notes.py:write", inputs={"half": ":half"}, outputs={"notes": "notes.txt"})
"""
CALIBRATE = """
import numpy as np

def samples():
    generator = np.random.default_rng(0)
    for _ in range(4):
        yield {"x": generator.standard_normal((1, 64), dtype=np.float32)}
"""
NOTES = """
import os
import tempfile

def write(inputs, outputs, params):
    # Whatever a program may do that depends on where and by whom it runs, but for what it writes.
    with tempfile.NamedTemporaryFile() as file:
        file.write(os.urandom(8))
    names = {name for name in ("one", "two", "three", "four", "five")}
    outputs["notes"].write_text(f"{sorted(names)} {sum(path.stat().st_size for path in inputs.values())}")
"""
IMAGES = """
from enginewright import files_layer, image, image_index, model_image

model_image(name="model", engines="models/tiny:engine")
files_layer(name="app", files={"/app/": "models/tiny:notes", "/app/run.sh": "run.sh"}, links={"/run": "app/run.sh"}, compression="gzip")
image(name="serving", layers=[":app"], cmd=["/app/run.sh"])
image(name="arm", layers=[":app"], cmd=["/app/run.sh"], architecture="arm64")
image_index(name="index", images=[":serving", ":arm"])
"""
KINDS = {
    "bf16", "checkpoint", "engine_manifest", "files_layer", "fp16", "group", "image", "image_index", "int8", "onnx_model", "python_action",
    "tensorrt_engine",
}  # fmt: skip

OTHER = {
    "TZ": "Pacific/Chatham",
    "LC_ALL": "POSIX",
    "LANG": "de_DE.ISO-8859-1",
    "PYTHONHASHSEED": "7",
    "USER": "somebody",
    "LOGNAME": "somebody",
}
AS_ANOTHER = ["unshare", "--user", "--map-user=4242", "--map-group=4242"]
"""Runs a command as a user that this machine does not know: user namespaces, so that what belongs to us can still be read."""


def build_as_another(workspace: Workspace, *arguments: str) -> None:
    """`doit build` by another user, with another umask, time zone, locale and hash seed."""
    command = [*AS_ANOTHER, "sh", "-c", 'umask 077; test $(id -u) = 4242 && exec "$@"', "sh", DOIT, "build", *arguments]
    home = workspace.root.parent / "home of somebody"
    home.mkdir()
    done = subprocess.run(
        command, cwd=workspace.root, env={**workspace.environment, **OTHER, "HOME": str(home)}, text=True, capture_output=True
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def image_digests(workspace: Workspace) -> dict[str, str]:
    """The digest of what each image layout holds."""
    return {
        index.parent.relative_to(workspace.root).as_posix(): json.loads(index.read_bytes())["manifests"][0]["digest"]
        for index in sorted((workspace.root / "build/images").rglob("index.json"))
    }


@pytest.fixture(scope="module", autouse=True)
def namespaces() -> None:
    """User namespaces, without which nobody here can be another user."""
    if shutil.which("unshare") is None or subprocess.run([*AS_ANOTHER, "true"], capture_output=True).returncode:
        assert not os.environ.get("CI"), "user namespaces are needed here: unshare --user does not work"
        pytest.skip("user namespaces are not allowed here: unshare --user does not work")


@pytest.fixture
def pair(empty: Workspace, tmp_path: Path) -> tuple[Workspace, Workspace]:
    """A workspace with every kind of target that is made from files alone, and the same in another folder with another store."""
    empty.write({"images/tiny/BUILD.py": IMAGES, "images/tiny/run.sh": "#!/bin/sh\n"})
    empty.write({f"models/tiny/{name}": text for name, text in (("BUILD.py", MODEL), ("net.py", NET), ("notes.py", NOTES))})
    empty.write({"models/tiny/calibrate.py": CALIBRATE})
    save_weights(empty.root / "models/tiny/net.pth", 0)
    return empty, empty.clone(tmp_path / "some where else/deeper down/copy", tmp_path / "another store")


def test_two_users_build_the_same(pair: tuple[Workspace, Workspace]) -> None:
    ours, theirs = pair
    ours.doit("build", "-n", "1")
    build_as_another(theirs, "-n", "2")
    assert {each["kind"] for each in json.loads(ours.doit("query", "--json", "...").stdout)} == KINDS
    assert len(image_digests(ours)) == 4
    assert image_digests(ours) == image_digests(theirs)
    assert ours.files() == theirs.files()
    # And by its own account: what doit verify finds by building again.
    report = json.loads(ours.doit("verify", "images/tiny", "models/tiny:engine", "--require=bit", "--json").stdout)
    assert report["bit"] == len(report["targets"]) == 9 + 2  # a group stands for its members


def test_two_users_build_the_same_examples(checkout: Workspace, built: Path, tmp_path: Path) -> None:
    # A clone of ours too: other tests add targets to the checkout. Docker is for neither: what it tests is skipped, but for what ours has
    # from the store, where another test that has Docker left it.
    ours = checkout.clone(tmp_path / "ours")
    theirs = checkout.clone(tmp_path / "another folder/copy", tmp_path / "another store")
    for each in (ours, theirs):
        each.environment["DOCKER_HOST"] = f"unix://{tmp_path}/none.sock"
    ours.doit("build")
    build_as_another(theirs)
    assert len(image_digests(ours)) > 1
    assert image_digests(ours) == image_digests(theirs)
    tested = {"images/classifier/test.json"}
    assert {path: digest for path, digest in ours.files().items() if path not in tested} == theirs.files()
