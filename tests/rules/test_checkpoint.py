from __future__ import annotations

import hashlib
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from enginewright.errors import ActionError, DeclarationError
from enginewright.graph.action import Action
from enginewright.graph.rule import Rule
from enginewright.rules.checkpoint import canonicalise, checkpoint

Declare = Callable[..., Rule]

TENSORS = {
    "fc.weight": torch.arange(12, dtype=torch.float32).reshape(3, 4),
    "bn.num_batches_tracked": torch.tensor(7),
    "emb": torch.tensor([[1.5, -2.0]], dtype=torch.bfloat16),
    "mask": torch.tensor([True, False]),
}


def run(src: Path, sha256: str | None = None, key: str | None = None) -> bytes:
    out = src.with_name("out.safetensors")
    out.unlink(missing_ok=True)
    canonicalise({"src": src}, {"checkpoint": out}, {"sha256": sha256, "key": key})
    return out.read_bytes()


def refusal(src: Path, **params: str | None) -> str:
    with pytest.raises(ActionError) as caught:
        run(src, **params)
    assert not src.with_name("out.safetensors").exists()
    return str(caught.value)


def saved(tmp_path: Path, content: Any, **how: Any) -> Path:
    torch.save(content, tmp_path / "weights.pth", **how)
    return tmp_path / "weights.pth"


def test_a_declaration_becomes_an_action(declare: Declare, action_of: Callable[[Rule], Action]) -> None:
    action = action_of(declare(checkpoint, name="weights", src="weights.pth"))
    assert action.inputs["src"].path == "models/x/weights.pth"
    assert action.outputs["checkpoint"].path == "build/models/x/weights.safetensors"


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"src": "dist://some-model/w.pth"}, "sha256: missing: a file that comes from a distribution is pinned"),
        ({"src": "w.pth", "sha256": "ABC"}, "sha256: expected 64 lower-case hexadecimal digits, got 'ABC'"),
        ({"src": "w.pth", "sha256": "A" * 64}, "sha256: expected 64 lower-case"),
        ({"src": "../w.pth"}, "src: '../w.pth' must be a path below the package"),
        ({}, "missing attribute 'src'"),
    ],
)
def test_a_wrong_declaration_is_refused(declare: Declare, attributes: dict[str, str], message: str) -> None:
    with pytest.raises(DeclarationError, match="checkpoint") as caught:
        declare(checkpoint, name="weights", **attributes)
    assert message in str(caught.value)


def test_the_same_tensors_give_the_same_bytes(tmp_path: Path) -> None:
    backwards = dict(reversed(TENSORS.items()))
    expected = run(saved(tmp_path, TENSORS))
    assert run(saved(tmp_path, backwards)) == expected
    assert run(saved(tmp_path, backwards, _use_new_zipfile_serialization=False)) == expected
    save_file(TENSORS, tmp_path / "a.safetensors", metadata={"format": "pt", "epoch": "3"})
    assert run(tmp_path / "a.safetensors") == expected
    assert run(saved(tmp_path, {"epoch": 3, "state_dict": TENSORS}), key="state_dict") == expected
    written = load_file(tmp_path / "out.safetensors")
    assert set(written) == set(TENSORS)
    assert all(torch.equal(written[name], TENSORS[name]) for name in TENSORS)


def test_zip_times_and_order_do_not_matter(tmp_path: Path) -> None:
    src = saved(tmp_path, TENSORS)
    expected = run(src)
    with zipfile.ZipFile(src) as old, zipfile.ZipFile(tmp_path / "again.pth", "w", zipfile.ZIP_STORED) as new:
        for entry in reversed(old.infolist()):
            new.writestr(zipfile.ZipInfo(entry.filename, date_time=(2001, 2, 3, 4, 5, 6)), old.read(entry))
    assert (tmp_path / "again.pth").read_bytes() != src.read_bytes()
    assert run(tmp_path / "again.pth") == expected


def test_one_changed_weight_changes_the_bytes(tmp_path: Path) -> None:
    expected = run(saved(tmp_path, TENSORS))
    changed = {**TENSORS, "fc.weight": TENSORS["fc.weight"] + 1}
    assert run(saved(tmp_path, changed)) != expected


def test_tied_and_strided_tensors_keep_every_name(tmp_path: Path) -> None:
    weight = torch.arange(6.0).reshape(2, 3)
    content = {"encoder": weight, "decoder": weight, "turned": weight.T, "row": weight[1], "parameter": torch.nn.Parameter(weight)}
    run(saved(tmp_path, content))
    written = load_file(tmp_path / "out.safetensors")
    assert all(torch.equal(written[name], value) for name, value in content.items())


def test_the_digest_is_checked_before_anything_is_read(tmp_path: Path) -> None:
    src = saved(tmp_path, TENSORS)
    found = hashlib.sha256(src.read_bytes()).hexdigest()
    run(src, sha256=found)
    message = refusal(src, sha256="0" * 64)
    assert f"expected {'0' * 64}" in message and f"found    {found}" in message
    assert "weights.pth" in message and "If you trust this file" in message


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("new_format", [True, False])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, new_format: bool) -> None:
    src = saved(tmp_path, {"w": torch.zeros(1), "x": Bomb(tmp_path / "boom")}, _use_new_zipfile_serialization=new_format)
    message = refusal(src)
    assert not (tmp_path / "boom").exists()
    assert "weights.pth holds more than tensors: its pickle calls posix.mkdir" in message
    assert "safetensors.torch.save_file" in message


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    message = refusal(saved(tmp_path, torch.nn.Linear(2, 2)))
    assert "its pickle calls torch.nn.modules.linear.Linear" in message


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
def test_a_truncated_checkpoint(tmp_path: Path, new_format: bool, kept: float) -> None:
    src = saved(tmp_path, {"w": torch.zeros(5000)}, _use_new_zipfile_serialization=new_format)
    src.write_bytes(src.read_bytes()[: int(src.stat().st_size * kept)])
    assert refusal(src).startswith("weights.pth is a truncated or damaged checkpoint (")


@pytest.mark.parametrize("kept", [9, 50, 1000])
def test_a_truncated_safetensors_file(tmp_path: Path, kept: int) -> None:
    src = tmp_path / "weights.safetensors"
    save_file({"w": torch.zeros(5000)}, src)
    src.write_bytes(src.read_bytes()[:kept])
    assert refusal(src).startswith("weights.safetensors is a truncated or damaged safetensors file (")


def test_a_flipped_bit_that_pytorch_reads_past(tmp_path: Path) -> None:
    src = saved(tmp_path, {"w": torch.arange(100.0)})
    content = bytearray(src.read_bytes())
    content[content.index(torch.arange(100.0).numpy().tobytes()) + 42] ^= 1
    src.write_bytes(content)
    assert torch.load(src)["w"].tolist() != list(range(100))
    assert refusal(src).startswith(
        "weights.pth is a damaged checkpoint: weights/data/0 in it is not what its checksum says: fetch it again."
    )
    assert run(src, hashlib.sha256(content).hexdigest())  # which says that it is meant to be so


def test_a_pickle_that_pytorch_cannot_read(tmp_path: Path) -> None:
    src = tmp_path / "weights.pth"
    with zipfile.ZipFile(src, "w") as archive:
        archive.writestr("weights/data.pkl", pickle.dumps({"a": 1}))
        archive.writestr("weights/version", "3\n")
    assert refusal(src) == "weights.pth is a truncated or damaged checkpoint (Unsupported operand 149): fetch it again"


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"w": torch.zeros(2, dtype=torch.complex128)}, "the tensor w is torch.complex128, which safetensors cannot hold"),
        ({"w": torch.zeros(2, device="meta")}, "the tensor w has no values, as those on PyTorch's device 'meta'"),
        ({"__metadata__": torch.zeros(2)}, "safetensors can have no tensor of the name '__metadata__'"),
        ({"\udc80": torch.zeros(2)}, r"safetensors can have no tensor of the name '\udc80'"),
    ],
)
def test_tensors_that_safetensors_cannot_hold(tmp_path: Path, tensors: dict[str, torch.Tensor], message: str) -> None:
    assert refusal(saved(tmp_path, tensors)).startswith(f"weights.pth: {message}")


def test_a_torchscript_archive(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "model.pt")
    message = refusal(tmp_path / "model.pt")
    assert "model.pt is a TorchScript archive" in message and "save_file" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "w.pth is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "w.pth is not a checkpoint"),
        (b"\x7fELF" + b"\0" * 60, "w.pth is not a checkpoint"),
        (b"hi", "w.pth is not a checkpoint"),
        (pickle.dumps({"w": [1, 2]}, protocol=4), "w.pth is a Python pickle that torch.save did not write"),
        (pickle.dumps({"w": [1, 2]}, protocol=2), "w.pth is a truncated or damaged checkpoint"),
    ],
)
def test_not_a_checkpoint(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    assert refusal(tmp_path / "w.pth").startswith(message)


def test_a_zip_that_torch_did_not_write(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert refusal(tmp_path / "w.pth").startswith("w.pth is a truncated or damaged checkpoint")


def test_a_wrapped_state_dict_suggests_key(tmp_path: Path) -> None:
    message = refusal(saved(tmp_path, {"epoch": 3, "model": TENSORS, "optimizer": {"lr": 0.1}}))
    assert "its top-level keys are 'epoch', 'model', 'optimizer'" in message
    assert "set key='model'" in message


def test_a_wrong_key_lists_the_right_ones(tmp_path: Path) -> None:
    message = refusal(saved(tmp_path, {"model": TENSORS}), key="state_dict")
    assert "has no entry 'state_dict'" in message and "'model'" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(1)], "weights.pth holds a list, not a state dict"),
        (torch.zeros(1), "weights.pth holds a Tensor, not a state dict"),
        ({}, "weights.pth holds an empty dict"),
        ({0: torch.zeros(1)}, "weights.pth is not a dict from names to tensors"),
        ({"w": torch.zeros(1), "note": "x"}, "weights.pth is not a dict from names to tensors: its top-level keys are 'w', 'note'"),
        ({"w": torch.eye(3).to_sparse()}, "weights.pth: the tensor w is sparse or quantised"),
    ],
)
def test_other_contents(tmp_path: Path, content: Any, message: str) -> None:
    assert refusal(saved(tmp_path, content)).startswith(message)
