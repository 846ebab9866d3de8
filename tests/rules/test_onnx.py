from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file

from enginewright.errors import ActionError, DeclarationError
from enginewright.graph.action import Action
from enginewright.graph.rule import Rule
from enginewright.model.shapes import tensor
from enginewright.rules.onnx import export, onnx_model

Declare = Callable[..., Rule]

NET = """\
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.fc = torch.nn.Linear(4, 2)

    def forward(self, image):
        return self.fc(torch.relu(self.conv(image)).mean((2, 3)))


def build():
    return Net()
"""
WEIGHTS = {
    "conv.weight": torch.linspace(-1, 1, 108).reshape(4, 3, 3, 3),
    "conv.bias": torch.tensor([0.1, 0.2, 0.3, 0.4]),
    "fc.weight": torch.linspace(1, -1, 8).reshape(2, 4),
    "fc.bias": torch.tensor([1.0, -1.0]),
}
PARAMS: Mapping[str, Any] = {
    "function": "build",
    "inputs": [["image", "float32", ["batch", 3, 8, 8]]],
    "outputs": ["logits"],
    "dims": {"batch": [1, 2, 5]},
    "opset": 20,
    "exporter": "dynamo",
    "samples": None,
    "gate": {"tolerance": {"max_abs": None, "max_rel": None, "cosine": 0.9999}, "metric": None, "floor": None},
}
ATTRIBUTES: Mapping[str, Any] = {
    "name": "onnx",
    "checkpoint": ":weights",
    "inputs": {"image": tensor("float32", ("batch", 3, 8, 8))},
    "outputs": ["logits"],
    "dims": {"batch": (1, 2, 5)},
}


@pytest.fixture(autouse=True)
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder as an action finds it: its working directory, sources at their place in the workspace."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models/x").mkdir(parents=True)
    # A process runs one action; these tests run many in one, each with a net.py of its own.
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    for name in ("net", "blocks"):
        sys.modules.pop(name, None)


def tight(**figures: float) -> Mapping[str, Any]:
    """A gate with no other tolerance than this."""
    return {**PARAMS["gate"], "tolerance": {"max_abs": None, "max_rel": None, "cosine": None, **figures}}


def run(
    net: str = NET,
    weights: Mapping[str, torch.Tensor] = WEIGHTS,
    sources: Mapping[str, Path] | None = None,
    data: bool = False,
    **params: Any,
) -> bytes:
    Path("models/x/net.py").write_text(net)
    save_file(dict(weights), "weights.safetensors")
    inputs = {"module": Path("models/x/net.py").absolute(), "checkpoint": Path("weights.safetensors").absolute(), **(sources or {})}
    outputs = {name: Path(f"out{suffix}").absolute() for name, suffix in onnx_model.rule.provides.items()}  # type: ignore[attr-defined]
    outputs["onnx"].unlink(missing_ok=True)
    if data:
        outputs["data"] = Path("out.onnx.data").absolute()
    export(inputs, outputs, {**PARAMS, **params})
    return outputs["onnx"].read_bytes()


def refusal(net: str = NET, weights: Mapping[str, torch.Tensor] = WEIGHTS, **given: Any) -> str:
    with pytest.raises(ActionError) as caught:
        run(net, weights, **given)
    assert not Path("out.onnx").exists()
    return str(caught.value)


def network(*lines: str, arguments: str = "image") -> str:
    """A net.py whose forward() has ``lines``, and no weights."""
    body = "\n".join(f"        {line}" for line in lines)
    return f"import torch\n\nclass Net(torch.nn.Module):\n    def forward(self, {arguments}):\n{body}\n\ndef build():\n    return Net()\n"


def test_a_declaration_becomes_an_action(declare: Declare, action_of: Callable[[Rule], Action]) -> None:
    action = action_of(declare(onnx_model, **ATTRIBUTES, module="nets/a.py:make", srcs=["blocks.py"], packages=["transformers"]))
    assert {artifact.path for artifact in action.inputs.values()} == {
        "build/models/x/weights.safetensors", "models/x/nets/a.py", "models/x/blocks.py",
    }  # fmt: skip
    assert "transformers" in action.packages and "torch" in action.packages
    assert action.params["function"] == "make"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dims": {}}, "dims: dimension 'batch' of inputs has no range: add 'batch': (min, opt, max)"),
        ({"dims": {"batch": (1, 2, 5), "width": (1, 2, 3)}}, "dims: 'width' is no dimension of any input (there are: batch)"),
        ({"dims": {"batch": (3, 2, 5)}}, "dims['batch']: (3, 2, 5) is out of order"),
        ({"dims": {"batch": (0, 2, 5)}}, "dims['batch']: min is 0"),
        ({"dims": {"batch": (2, 2, 2)}}, "dims['batch']: leaves one size only: write 2 for 'batch'"),
        ({"dims": {"batch": (1, 2)}}, "dims['batch']: expected (an integer, an integer, an integer), got (1, 2)"),
        ({"module": "net.py"}, "module: expected FILE.py:FUNCTION, as 'net.py:build', got 'net.py'"),
        ({"module": "../net.py:build"}, "module: expected FILE.py:FUNCTION"),
        ({"inputs": {}}, "inputs: expected at least one"),
        ({"inputs": {"image": "float32"}}, "inputs['image']: expected"),
        ({"outputs": []}, "outputs: expected at least one"),
        ({"outputs": ["a", "a"]}, "outputs: every input and output needs a name of its own: 'a' is not"),
        ({"outputs": ["image"]}, "outputs: every input and output needs a name of its own: 'image' is not"),
        ({"opset": 17}, "opset: is 17: PyTorch's exporter writes opset 18 and later; exporter='torchscript' writes 16 and 17"),
        ({"opset": 15, "exporter": "torchscript"}, "opset: is 15: expected 16 or later"),
        ({"exporter": "onnx"}, "exporter: expected 'dynamo' or 'torchscript', got 'onnx'"),
        ({"samples": "photos"}, "samples: 'photos' is neither a .npz or .npy file nor FILE.py:FUNCTION; for other files, give a list"),
        ({"samples": ["a.jpg"]}, "preprocess: missing: FILE.py:FUNCTION, which makes a sample of each file of samples"),
        ({"samples": "a.npz", "preprocess": "net.py:f"}, "preprocess: is for a list of files, and samples is 'a.npz': write ['a.npz']"),
        ({"samples": ["../a.jpg"], "preprocess": "net.py:f"}, "samples[0]: '../a.jpg' must be a path below the package"),
        ({"preprocess": "net.py:f"}, "preprocess: is given, and samples has no files for it"),
        ({"metric": "net.py:f"}, "floor: missing: metric is a function, and floor the least that it may return"),
        ({"floor": 0.5}, "metric: missing"),
        ({"tolerance": 0.1}, "tolerance: expected Tolerance, got 0.1"),
        ({"dimensions": {}}, "unknown attribute 'dimensions'"),
    ],
)
def test_a_wrong_declaration_is_refused(declare: Declare, changed: Mapping[str, Any], message: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        declare(onnx_model, **{**ATTRIBUTES, **changed})
    assert message in str(caught.value)


def test_the_export_computes_what_the_module_does() -> None:
    content = run()
    model = onnx.load_from_string(content)
    assert [(value.name, value.type.tensor_type.shape.dim[0].dim_param) for value in (*model.graph.input, *model.graph.output)] == [
        ("image", "batch"), ("logits", "batch"),
    ]  # fmt: skip
    assert [opset.version for opset in model.opset_import] == [20]
    session = onnxruntime.InferenceSession(content)
    namespace: dict[str, Any] = {}
    exec(NET, namespace)
    net = namespace["build"]().eval()
    net.load_state_dict(WEIGHTS)
    for batch in (1, 2, 5, 7):
        image = torch.rand(batch, 3, 8, 8)
        (logits,) = session.run(None, {"image": image.numpy()})
        np.testing.assert_allclose(logits, net(image).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_the_reference_is_what_the_module_gives_and_the_report_compares_the_export_with_it() -> None:
    run()
    with np.load("out.reference.npz") as reference:
        assert [reference[f"{i}/in/image"].shape for i in range(2)] == [(1, 3, 8, 8), (2, 3, 8, 8)]
        namespace: dict[str, Any] = {}
        exec(NET, namespace)
        net = namespace["build"]().eval()
        net.load_state_dict(WEIGHTS)
        with torch.no_grad():
            expected = net(torch.from_numpy(reference["1/in/image"])).numpy()
        np.testing.assert_allclose(reference["1/out/logits"], expected, rtol=1e-5)
    report = json.loads(Path("out.parity.json").read_text())
    assert report["verdict"] == "passed" and report["reference"] == f"PyTorch {torch.__version__}"
    assert [each["shape"] for each in report["outputs"]["logits"]] == [[1, 2], [2, 2]]
    assert all(each["cosine"] == 1 and each["max_abs"] < 1e-5 for each in report["outputs"]["logits"])


def test_declared_samples_and_a_metric() -> None:
    samples = "def samples():\n    yield torch.ones(3, 3, 8, 8)\n\ndef least(reference, found):\n    return found[0]['logits'].min()\n"
    source = Path("models/x/net.py").absolute()
    gate = {**PARAMS["gate"], "metric": "least", "floor": 100.0}
    message = refusal(NET + samples, sources={"samples": source, "metric": source}, samples={"function": "samples"}, gate=gate)
    assert message.startswith("the exported model is not within tolerance of PyTorch ")
    assert re.search(r"\n  metric least is -?[\d.]+, allowed at least 100\n", message)


def test_an_export_that_computes_something_else_is_stopped() -> None:
    # TorchScript records the branch that the traced image took.
    net = network("return image * 2 if image.shape[0] > 1 else image", arguments="image")
    message = refusal(net, {}, exporter="torchscript", opset=17, outputs=["y"], gate=tight(max_abs=0.1))
    assert "the exported model is not within tolerance of PyTorch" in message
    assert (
        "  output y, sample 0: max abs " in message and "does forward() depend on values, or on sizes, in Python, or on chance?" in message
    )


@pytest.mark.parametrize("opset", [16, 17])
def test_the_older_exporter_writes_older_opsets(opset: int) -> None:
    content = run(exporter="torchscript", opset=opset)
    model = onnx.load_from_string(content)
    assert [each.version for each in model.opset_import] == [opset]
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["image", "logits"]
    assert run(exporter="torchscript", opset=opset) == content
    session = onnxruntime.InferenceSession(content)
    assert session.run(None, {"image": np.zeros((5, 3, 8, 8), np.float32)})[0].shape == (5, 2)


def test_the_older_exporter_counts_outputs_too() -> None:
    net = network("return image + 1, image * 2")
    assert "the module has 2 outputs, and outputs declares 1: a" in refusal(net, {}, exporter="torchscript", opset=17, outputs=["a"])
    assert "(2) exceeded number of outputs (1)" in refusal(exporter="torchscript", opset=17, outputs=["a", "b"])


def test_a_module_in_half_precision_is_its_own_reference() -> None:
    run(NET.replace("return Net()", "return Net().half()"), inputs=[["image", "float16", ["batch", 3, 8, 8]]])
    with np.load("out.reference.npz") as reference:
        assert reference["0/in/image"].dtype == reference["0/out/logits"].dtype == np.float32


def test_a_comment_changes_nothing_and_a_weight_does() -> None:
    expected = run()
    assert (
        run(NET.replace("import torch\n", "import torch\n\n# A comment.\n", 1).replace("return Net()", "return  Net()  # built"))
        == expected
    )
    assert run(weights={**WEIGHTS, "fc.bias": torch.tensor([1.0, -1.5])}) != expected


def test_no_trace_of_this_machine() -> None:
    content = run()
    assert b"models/x/net.py" not in content and b"stack_trace" not in content and b"pytorch" not in content


def test_another_process_gives_the_same_bytes(tmp_path: Path) -> None:
    expected = run()
    code = (
        "from pathlib import Path; from enginewright.rules.onnx import export; "
        "export({'module': Path('models/x/net.py').absolute(), 'checkpoint': Path('weights.safetensors')}, "
        "{name: Path(f'again.{name}') for name in ('onnx', 'reference', 'parity')}, "
        f"{dict(PARAMS)!r})"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "7"}
    )
    assert Path("again.onnx").read_bytes() == expected
    assert Path("again.reference").read_bytes() == Path("out.reference.npz").read_bytes()
    assert Path("again.parity").read_bytes() == Path("out.parity.json").read_bytes()


def test_sources_beside_the_module_can_be_imported() -> None:
    Path("models/x/blocks.py").write_text("import torch\n\ndef scale(x):\n    return x * 2\n")
    net = network("return blocks.scale(image)").replace("import torch\n", "import torch\nimport blocks\n", 1)
    run(net, weights={})
    assert not Path("models/x/__pycache__").exists()


def test_inputs_go_to_forward_in_their_order() -> None:
    net = network("return ids.sum(dim=1), mask * 2", arguments="ids, mask")
    inputs = [["z", "int64", ["batch", "length"]], ["a", "float32", ["batch"]]]
    content = run(net, {}, inputs=inputs, outputs=["sums", "doubled"], dims={"batch": [1, 2, 4], "length": [1, 2, 9]})
    session = onnxruntime.InferenceSession(content)
    sums, doubled = session.run(None, {"z": np.ones((1, 5), np.int64), "a": np.ones(1, np.float32)})
    assert sums.tolist() == [5] and doubled.tolist() == [2.0]


@pytest.mark.parametrize("name", ["relu", "linear", "fc.bias"])
def test_an_output_may_be_named_as_an_inner_value(name: str) -> None:
    session = onnxruntime.InferenceSession(run(outputs=[name]))
    assert [value.name for value in session.get_outputs()] == [name]
    session.run(None, {"image": np.zeros((1, 3, 8, 8), np.float32)})


def test_the_optimum_may_be_one() -> None:
    session = onnxruntime.InferenceSession(run(dims={"batch": [1, 1, 4]}))
    assert session.run(None, {"image": np.zeros((3, 3, 8, 8), np.float32)})[0].shape == (3, 2)


def test_tensors_that_do_not_fit() -> None:
    weights = {**WEIGHTS, "fc.weight": torch.zeros(3, 4), "head.bias": torch.zeros(2)}
    del weights["conv.bias"]
    message = refusal(weights=weights)
    assert "the tensors of weights.safetensors do not fit the module that models/x/net.py builds" in message
    assert "not in the checkpoint: conv.bias\n" in message
    assert "in the checkpoint, but not in the module: head.bias\n" in message
    assert "of another shape: fc.weight (module (2, 4), checkpoint (3, 4))\n" in message


def test_many_missing_tensors_are_counted() -> None:
    net = NET.replace("Linear(4, 2)", "Linear(4, 2)\n        self.more = torch.nn.ModuleList(torch.nn.Linear(1, 1) for _ in range(4))")
    assert "not in the checkpoint: more.0.weight, more.0.bias, more.1.weight, more.1.bias, more.2.weight, and 3 more" in refusal(net)


@pytest.mark.parametrize(
    ("net", "lines"),
    [
        ("import torch\n\ndef build(:\n", ["models/x/net.py could not be loaded:", "  models/x/net.py:3: def build(:", "  SyntaxError: "]),
        ("import nowhere\n", ["  models/x/net.py:1, in <module>: import nowhere", "  ModuleNotFoundError: No module named 'nowhere'"]),
        ("x = 1\n", ["models/x/net.py has no function 'build': define it"]),
        ("def build():\n    return 7\n", ["models/x/net.py: build() returned a int: expected a torch.nn.Module"]),
        (
            "def helper():\n    return {}['width']\n\ndef build():\n    return helper()\n",
            [
                "build() failed:",
                "  models/x/net.py:5, in build: return helper()",
                "  models/x/net.py:2, in helper: ",
                "  KeyError: 'width'",
            ],
        ),
        (
            network("image = image[:, :, 0]", "return image @ torch.zeros(3, 3)"),
            [
                "the module could not be exported to ONNX:",
                "  models/x/net.py:6, in forward: return image @ torch.zeros(3, 3)",
                "  RuntimeError: ",
            ],
        ),
    ],
)
def test_a_mistake_in_the_module(net: str, lines: list[str]) -> None:
    message = refusal(net, weights={})
    for line in lines:
        assert line in message
    assert "site-packages" not in message and "Traceback" not in message


@pytest.mark.parametrize(
    "line",
    ["return image.reshape(2, 3, 64)", "return image + torch.zeros(2, 1, 1, 1)", "return image * 2 if image.shape[0] > 2 else image"],
)
def test_a_network_that_fixes_a_dynamic_dimension(line: str) -> None:
    message = refusal(network(line), weights={})
    assert "the module could not be exported to ONNX" in message and "Constraints violated (batch)" in message


def test_an_operator_that_onnx_does_not_have() -> None:
    assert "No ONNX function found for <OpOverload(op='aten.linalg_eig'" in refusal(
        network("return torch.linalg.eigvals(image)"), weights={}
    )


def test_the_users_own_exception_is_the_one_shown() -> None:
    net = "def build():\n    try:\n        return {}['a']\n    except KeyError:\n        raise ValueError('no width given')\n"
    message = refusal(net, weights={})
    assert "models/x/net.py:5, in build" in message and message.endswith("ValueError: no width given")


def test_the_number_of_outputs_must_agree() -> None:
    assert "the module has 1 outputs, and outputs declares 2: a, b" in refusal(outputs=["a", "b"])


def test_an_opset_the_exporter_does_not_know() -> None:
    assert "PyTorch's exporter cannot write opset 99" in refusal(opset=99)


def test_weights_in_a_file_of_their_own() -> None:
    net = NET.replace("Linear(4, 2)", "Linear(4, 2)\n        self.table = torch.nn.Buffer(torch.arange(1000.0), persistent=False)")
    net = net.replace(".mean((2, 3)))", ".mean((2, 3))) + (image.mean() * self.table).sum()")
    expected = onnxruntime.InferenceSession(run(net)).run(None, {"image": np.ones((1, 3, 8, 8), np.float32)})
    first, report = run(net, data=True), Path("out.parity.json").read_bytes()
    data = Path("out.onnx.data").read_bytes()
    assert len(data) >= 4000 and len(first) < 4000 and json.loads(report)["verdict"] == "passed"
    np.testing.assert_array_equal(
        onnxruntime.InferenceSession("out.onnx").run(None, {"image": np.ones((1, 3, 8, 8), np.float32)})[0], expected[0]
    )
    assert (run(net, data=True), Path("out.onnx.data").read_bytes()) == (first, data)


def test_the_older_exporter_has_no_external_data(declare: Declare) -> None:
    with pytest.raises(DeclarationError, match="external_data: is for exporter='dynamo'"):
        declare(onnx_model, **ATTRIBUTES, exporter="torchscript", opset=17, external_data=True)


def test_a_model_too_large_for_one_file() -> None:
    net = network("return image + self.table.sum()").replace(
        "    def forward", "    def __init__(self):\n        super().__init__()\n"
        "        self.register_buffer('table', torch.zeros(1).expand(2**29 + 2**20), persistent=False)\n\n    def forward",
    )  # fmt: skip
    assert "the model holds 2.0 GiB of weights, and an ONNX file holds at most 2 GiB: set external_data=True" in refusal(net, weights={})
