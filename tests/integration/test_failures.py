"""Models that cannot be built, with the real rules: each failure gives its own reason, and the others go on."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from throwaway import PYPROJECT, Report, Workspace

BUILD = """
from enginewright import checkpoint, fp16, onnx_model, python_action, tensor, tensorrt_engine

X = {"x": tensor("float32", (1, 4))}

# A .pth where ONNX is expected: what fetches it says that it is ONNX.
python_action(name="fetched", function="make.py:fetch", inputs={"src": "net.pth"}, outputs={"onnx": "net.pth"})
fp16(name="half_of_pth", model=":fetched")
tensorrt_engine(name="engine_of_pth", model=":fetched", archs=["sm_80"])

checkpoint(name="truncated", src="truncated.pth")
checkpoint(name="cut", src="cut.safetensors")
checkpoint(name="with_code", src="with_code.pth")
checkpoint(name="unpinned", src="net.pth", sha256="0" * 64)
onnx_model(name="after", checkpoint=":truncated", inputs=X, outputs=["y"])

checkpoint(name="weights", src="net.pth")
onnx_model(name="undeclared_read", checkpoint=":weights", module="net.py:undeclared_read", inputs=X, outputs=["y"])
onnx_model(name="download", checkpoint=":weights", module="net.py:download", inputs=X, outputs=["y"])
onnx_model(name="misfit", checkpoint=":weights", module="net.py:misfit", inputs=X, outputs=["y"])

python_action(name="determinant", function="make.py:determinant", outputs={"onnx": "net.onnx"}, packages=["onnx"])
tensorrt_engine(name="engine", model=":determinant", archs=["sm_80"])
"""
MAKE = """
def fetch(inputs, outputs, params):
    outputs["onnx"].write_bytes(inputs["src"].read_bytes())

def determinant(inputs, outputs, params):
    from onnx import parser, save
    net = '<ir_version: 10, opset_import: ["" : 20]> net (float16[3, 3] x) => (float16 y) { y = Det(x) }'
    model = parser.parse_model(net)
    model.graph.node[0].name = "volume"
    save(model, outputs["onnx"])
"""
NET = """
import pathlib
import torch

print("this is printed")

def undeclared_read():
    pathlib.Path(__file__).with_name("labels.txt").read_text()

def download():
    return torch.hub.load_state_dict_from_url("http://127.0.0.1:{port}/net.pth")

def misfit():
    return torch.nn.Linear(4, 3)
"""


class Code:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("failures")
    made = Workspace(folder / "workspace", folder / "store", folder / "trace")
    package = made.root / "models/x"
    with socket.create_server(("127.0.0.1", 0)) as server:
        made.write({"dodo.py": "", "pyproject.toml": PYPROJECT, "models/x/BUILD.py": BUILD, "models/x/make.py": MAKE})
        made.write({"models/x/net.py": NET.format(port=server.getsockname()[1]), "models/x/labels.txt": "cat\n"})
        torch.save(torch.nn.Linear(4, 2).state_dict(), package / "net.pth")
        (package / "truncated.pth").write_bytes((package / "net.pth").read_bytes()[:-400])
        (package / "cut.safetensors").write_bytes(b"\x40" + 7 * b"\0" + b'{"w":{"dtype":"F32"')
        torch.save({"w": torch.zeros(4), "code": Code(folder / "code-has-run")}, package / "with_code.pth")
        yield made


@pytest.fixture(scope="module")
def report(workspace: Workspace) -> Report:
    # The trace is that of another make.py.
    return Report.of(workspace.doit("build", "--json", "--continue", code=1))


def test_other_branches_go_on(workspace: Workspace, report: Report) -> None:
    assert report.built == {"models/x:fetched", "models/x:weights", "models/x:determinant"}
    assert report.skipped == {"models/x:after"}
    assert len(report.failed) == 10
    assert workspace.files().keys() == {"models/x/fetched/net.pth", "models/x/weights.safetensors", "models/x/determinant/net.onnx"}
    assert workspace.leftovers() == []


@pytest.mark.parametrize(
    ("name", "mnemonic", "reasons"),
    [
        (
            "half_of_pth",
            "Fp16",
            ["net.pth is a PyTorch checkpoint (or another zip archive), not an ONNX model. Export it first: onnx_model("],
        ),
        ("engine_of_pth_sm_80", "TensorrtEngine", ["net.pth is a PyTorch checkpoint (or another zip archive), not an ONNX model"]),
        ("truncated", "Checkpoint", ["truncated.pth is a truncated or damaged checkpoint (", "fetch it again"]),
        ("cut", "Checkpoint", ["cut.safetensors is a truncated or damaged safetensors file (", "fetch it again"]),
        ("with_code", "Checkpoint", ["with_code.pth holds more than tensors: its pickle calls posix.mkdir", "so it was not loaded"]),
        ("unpinned", "Checkpoint", ["net.pth: its SHA-256 is not the declared one\n  expected 0000"]),
        (
            "undeclared_read",
            "OnnxExport",
            ["reads models/x/labels.txt, which is not among its declared inputs: add 'labels.txt' to srcs"],
        ),
        ("download", "OnnxExport", ["looks up 127.0.0.1:", "actions have no network; fetch the file and declare it as a source"]),
        ("misfit", "OnnxExport", ["of another shape: weight (module (3, 4), checkpoint (2, 4))"]),
        ("engine_sm_80", "TensorrtEngine", ["In node 0 with name: volume and operator: Det (checkDet): UNSUPPORTED_NODE"]),
    ],
)
def test_a_failure_is_shown_with_its_reason_and_its_log(
    workspace: Workspace, report: Report, name: str, mnemonic: str, reasons: list[str]
) -> None:
    record = report.actions[f"models/x:{name}"]
    assert (record["status"], record["mnemonic"]) == ("failed", mnemonic)
    shown = report.text.partition(f"FAILED   models/x:{name} ({mnemonic}): ")[2].partition("        log: ")
    assert shown[0] == record["reason"] + "\n"
    for reason in reasons:
        assert reason in record["reason"]
    assert "None" not in record["reason"]
    log = workspace.root / shown[2].partition("\n")[0]
    assert str(log.relative_to(workspace.root)) == record["log"]
    assert log.is_file()
    if name in ("undeclared_read", "download", "misfit"):
        assert "this is printed\n" in log.read_text()


def test_tensorrt_says_more_in_the_log(workspace: Workspace, report: Report) -> None:
    assert "ERROR: " in workspace.read(report.actions["models/x:engine_sm_80"]["log"])


def test_code_in_a_pickle_was_not_run(workspace: Workspace, report: Report) -> None:
    assert "models/x:with_code" in report.failed
    assert not (workspace.root.parent / "code-has-run").exists()


def test_a_checkpoint_is_told_from_onnx_before_anything_runs(workspace: Workspace) -> None:
    workspace.write({"models/y/BUILD.py": 'from enginewright import fp16\n\nfp16(name="half", model="models/x:weights")\n'})
    told = workspace.refuse("build")
    assert told.startswith(
        "models/y/BUILD.py:3: fp16(name='half'): model: expected a target that provides 'onnx', but models/x:weights is a "
    )
    (workspace.root / "models/y/BUILD.py").unlink()


def test_a_missing_file_is_told_before_anything_runs(workspace: Workspace) -> None:
    workspace.write({"models/y/BUILD.py": 'from enginewright import checkpoint\n\ncheckpoint(name="weights", src="nowhere.pth")\n'})
    told = workspace.refuse("build", "models/y")
    assert told == "models/y/BUILD.py:3: checkpoint(name='weights'): the source models/y/nowhere.pth does not exist"
    (workspace.root / "models/y/BUILD.py").unlink()
