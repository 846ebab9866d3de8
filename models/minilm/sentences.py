"""Sentences as MiniLM takes them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

SENTENCES = (
    "A man is playing a guitar on the stage.",
    "Someone performs music with a guitar in front of an audience.",
    "The central bank raised interest rates by half a percent, which nobody had expected.",
    "Guitar.",
)


def tokens(tokenizer: Path) -> Mapping[str, NDArray[np.int64]]:
    """The sentences, padded to one length, by the tokenizer of this file."""
    loaded = Tokenizer.from_file(str(tokenizer))
    loaded.enable_padding()
    loaded.no_truncation()
    encoded = loaded.encode_batch(list(SENTENCES))
    return {
        "input_ids": np.array([each.ids for each in encoded], np.int64),
        "attention_mask": np.array([each.attention_mask for each in encoded], np.int64),
    }
