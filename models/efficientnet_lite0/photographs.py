"""Photographs as EfficientNet-Lite0 takes them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = 224


def prepare(path: Path | BinaryIO) -> NDArray[np.float32]:
    """The middle of a photograph: (1, 3, 224, 224)."""
    with Image.open(path) as photograph:
        side = min(photograph.size) * 7 // 8
        left, top = (photograph.width - side) // 2, (photograph.height - side) // 2
        square = photograph.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return _scaled(square)[None]


def tiles(path: Path) -> NDArray[np.float32]:
    """What a photograph shows at full size, piece by piece: (pieces, 3, 224, 224). Two photographs give four of each."""
    with Image.open(path) as photograph:
        whole = photograph.convert("RGB")
    corners = [(x, y) for y in (0, whole.height - SIZE) for x in (0, whole.width - SIZE)]
    return np.stack([_scaled(whole.crop((x, y, x + SIZE, y + SIZE))) for x, y in corners])


def top1(reference: Sequence[Mapping[str, NDArray[np.float32]]], found: Sequence[Mapping[str, NDArray[np.float32]]]) -> float:
    """The share of images that are put into the same class as by the reference."""
    same = [a["logits"].argmax(axis=1) == b["logits"].argmax(axis=1) for a, b in zip(reference, found)]
    return float(np.concatenate(same).mean())


def _scaled(image: Image.Image) -> NDArray[np.float32]:
    return (np.asarray(image, np.float32).transpose(2, 0, 1) - 127) / 128
