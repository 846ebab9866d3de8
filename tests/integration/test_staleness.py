"""Staleness by content, counted on the real rules: a small network from its checkpoint to an image."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

import enginewright
from throwaway import PYPROJECT, Workspace

NET = """
import torch

def build():
    return torch.nn.Sequential(torch.nn.Linear(256, 2048), torch.nn.ReLU(), torch.nn.Linear(2048, 8))
"""
TINY = """
from enginewright import checkpoint, fp16, onnx_model, tensor, tensorrt_engine

checkpoint(name="weights", src="net.pth")
onnx_model(name="onnx", checkpoint=":weights", inputs={"x": tensor("float32", ("batch", 256))}, outputs=["y"], dims={"batch": (1, 4, 16)})
fp16(name="half", model=":onnx")
tensorrt_engine(name="engine", model=":half", archs=["sm_80", "sm_89"])
tensorrt_engine(name="small", model=":half", archs=["sm_80"], dims={"batch": (1, 1, 4)})
"""
OTHER = """
from enginewright import checkpoint

checkpoint(name="weights", src="net.pth")
"""
IMAGE = """
from enginewright import model_image

model_image(name="image", engines="models/tiny:engine")
"""

WEIGHTS, ONNX, HALF, OTHER_WEIGHTS = "models/tiny:weights", "models/tiny:onnx", "models/tiny:half", "models/other:weights"
ENGINES, SMALL = {"models/tiny:engine_sm_80", "models/tiny:engine_sm_89"}, "models/tiny:small_sm_80"
LAYERS = {"images/tiny:image.layer_sm_80", "images/tiny:image.layer_sm_89"}
MANIFEST = {"images/tiny:image.manifest", "images/tiny:image.layer_manifest"}
IMAGED = LAYERS | MANIFEST | {"images/tiny:image"}
CHAIN = {WEIGHTS, ONNX, HALF, *ENGINES, SMALL, *IMAGED}
ALL = {*CHAIN, OTHER_WEIGHTS}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A small model, built."""
    folder = tmp_path_factory.mktemp("staleness")
    made = Workspace(folder / "workspace", folder / "store", folder / "trace")
    made.write({"dodo.py": "", "pyproject.toml": PYPROJECT, "images/tiny/BUILD.py": IMAGE})
    made.write({"models/tiny/net.py": NET, "models/tiny/BUILD.py": TINY, "models/other/BUILD.py": OTHER})
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(256, 2048), torch.nn.ReLU(), torch.nn.Linear(2048, 8))
    torch.save(network.state_dict(), made.root / "models/tiny/net.pth")
    torch.save({"w": torch.ones(4)}, made.root / "models/other/net.pth")
    assert made.build().built == ALL
    return made


@pytest.fixture
def workspace(original: Workspace, tmp_path: Path) -> Workspace:
    """A fresh clone of it beside the same store, in which everything was restored."""
    clone = original.clone(tmp_path / "workspace")
    assert clone.build().cached == ALL
    return clone


def test_a_fresh_clone_has_the_same_bytes(original: Workspace, workspace: Workspace) -> None:
    files = workspace.files()
    assert files == original.files()
    assert {Path(path).suffix for path in files} >= {".safetensors", ".onnx", ".engine", ".json", ".tar"}
    assert workspace.build().up_to_date == ALL


def test_touched_files_run_nothing(workspace: Workspace) -> None:
    for path in workspace.root.rglob("*"):
        if path.is_file() and ".enginewright" not in path.parts:
            os.utime(path)
    assert workspace.build().up_to_date == ALL


def test_a_comment_in_the_network_exports_it_and_nothing_more(workspace: Workspace) -> None:
    before = workspace.files()
    workspace.write(
        {
            "models/tiny/net.py": "# A comment, which moves every line.\n\n"
            + NET.replace("256, 2048)", "256, 2048)  # And another.\n        ")
        }
    )
    report = workspace.build()
    assert (report.built, report.up_to_date) == ({ONNX}, ALL - {ONNX})
    assert workspace.files() == before


def test_one_changed_weight_runs_the_chain_of_its_model(workspace: Workspace) -> None:
    before = workspace.files()
    path = workspace.root / "models/tiny/net.pth"
    tensors = torch.load(path, weights_only=True)
    tensors["0.weight"][0, 0] += 1
    torch.save(tensors, path)
    report = workspace.build()
    assert (report.built, report.up_to_date) == (CHAIN, {OTHER_WEIGHTS})
    after = workspace.files()
    for name in ("weights.safetensors", "onnx.onnx", "half.onnx", "engine_sm_80.engine", "engine_sm_89.engine", "small_sm_80.engine"):
        assert after[f"models/tiny/{name}"] != before[f"models/tiny/{name}"]
    assert after["images/tiny/image/index.json"] != before["images/tiny/image/index.json"]


@pytest.mark.parametrize("how", ["zip", "dict", "legacy"])
def test_the_same_tensors_saved_anew_run_the_checkpoint_and_nothing_more(workspace: Workspace, how: str) -> None:
    path = workspace.root / "models/tiny/net.pth"
    before, content = workspace.files(), path.read_bytes()
    if how == "zip":
        with zipfile.ZipFile(path) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in reversed(members):
                archive.writestr(zipfile.ZipInfo(name, (1999, 12, 31, 23, 59, 58)), data)
    else:
        tensors = torch.load(path, weights_only=True)
        torch.save(OrderedDict(reversed(tensors.items())), path, _use_new_zipfile_serialization=how == "dict")
    assert path.read_bytes() != content
    report = workspace.build()
    assert (report.built, report.up_to_date) == ({WEIGHTS}, ALL - {WEIGHTS})
    assert workspace.files() == before


def test_a_changed_rule_runs_exactly_its_targets(workspace: Workspace, tmp_path: Path) -> None:
    before = workspace.files()
    package = tmp_path / "source/enginewright"
    shutil.copytree(Path(enginewright.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    workspace.environment["PYTHONPATH"] = str(package.parent)
    assert workspace.build().up_to_date == ALL
    for module, stale in {
        "rules/checkpoint.py": {WEIGHTS, OTHER_WEIGHTS},
        "rules/fp16.py": {HALF},
        "rules/engine.py": {*ENGINES, SMALL},
        "rules/engine_manifest.py": {"images/tiny:image.manifest"},
        "rules/layer.py": {*LAYERS, "images/tiny:image.layer_manifest"},
        "rules/image.py": {"images/tiny:image"},
        "rules/model_image.py": set(),
        "rules/python_action.py": set(),
        "oci/layout.py": {*LAYERS, "images/tiny:image.layer_manifest", "images/tiny:image"},
        "doit_plugin/reporter.py": set(),
    }.items():
        source = package / module
        source.write_text(source.read_text() + "\n# A comment\n")
        report = workspace.build()
        assert (report.built, report.up_to_date) == (stale, ALL - stale), module
    assert workspace.files() == before


def test_another_profile_builds_exactly_its_engines(workspace: Workspace) -> None:
    small, engine = 'archs=["sm_80"], dims={"batch": (1, 1, 4)}', 'archs=["sm_80", "sm_89"]'
    workspace.write({"models/tiny/BUILD.py": TINY.replace(small, 'archs=["sm_80"], dims={"batch": (1, 2, 4)}')})
    report = workspace.build()
    assert (report.built, report.up_to_date) == ({SMALL}, ALL - {SMALL})

    workspace.write({"models/tiny/BUILD.py": TINY.replace(engine, engine + ', dims={"batch": (1, 4, 8)}')})
    report = workspace.build()
    assert report.built == {*ENGINES, *IMAGED}
    # The first profile of the others was built before.
    assert (report.cached, report.up_to_date) == ({SMALL}, {WEIGHTS, ONNX, HALF, OTHER_WEIGHTS})


def test_deleted_outputs_are_restored_and_nothing_runs(workspace: Workspace) -> None:
    before = workspace.files()
    shutil.rmtree(workspace.root / "build/models/tiny")
    (workspace.root / "build/images/tiny/image/index.json").unlink()
    report = workspace.build()
    assert report.cached == {WEIGHTS, ONNX, HALF, *ENGINES, SMALL, "images/tiny:image"}
    assert report.up_to_date == ALL - report.cached
    assert workspace.files() == before


def test_an_engine_edited_or_truncated_in_place_is_noticed(workspace: Workspace) -> None:
    before = workspace.files()
    engine = workspace.root / "build/models/tiny/engine_sm_80.engine"
    assert engine.stat().st_size > 2**20 and engine.stat().st_nlink > 1
    for size in (engine.stat().st_size - 1, None):
        engine.chmod(0o644)
        with engine.open("r+b") as file:
            file.truncate(size) if size else file.write(b"X")
        report = workspace.build()
        # The blob in the store is the same file: it is made again.
        assert (report.built, report.up_to_date) == ({"models/tiny:engine_sm_80"}, ALL - {"models/tiny:engine_sm_80"})
        assert workspace.files() == before
    sidecar = workspace.root / "build/models/tiny/engine_sm_80.json"
    sidecar.chmod(0o644)
    sidecar.write_text("{}")
    assert workspace.build().cached == {"models/tiny:engine_sm_80"}
    assert workspace.files() == before


def test_the_chain_gives_the_same_bytes_again(workspace: Workspace, tmp_path: Path) -> None:
    again = workspace.clone(tmp_path / "another/place", tmp_path / "another store")
    assert again.build().built == ALL
    assert again.files() == workspace.files()
