"""Sung notes to try CREPE on: synthetic, so that the pitch is known."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

RATE, FRAME = 16000, 1024


def notes(pitches: Sequence[float]) -> NDArray[np.float32]:
    """A frame for each pitch, in Hz, as CREPE takes it: (pitches, 1024). Eight harmonics, each weaker than the one below, and breath."""
    time = np.arange(FRAME) / RATE
    harmonics = np.arange(1, 9)[:, None, None]
    frames = (np.sin(2 * np.pi * harmonics * np.asarray(pitches)[:, None] * time) / harmonics).sum(axis=0)
    frames += 0.01 * np.random.default_rng(0).standard_normal(frames.shape)
    frames -= frames.mean(axis=1, keepdims=True)
    return (frames / frames.std(axis=1, keepdims=True)).astype(np.float32)


def samples() -> Iterator[Mapping[str, NDArray[np.float32]]]:
    """Two octaves of A minor, and one low note alone."""
    yield {"frames": notes([110, 130.81, 164.81, 220, 261.63, 329.63, 440])}
    yield {"frames": notes([82.41])}


def scale() -> Iterator[Mapping[str, NDArray[np.float32]]]:
    """Every semitone of four octaves from E2 on: none of them a note of samples()."""
    for octave in range(4):
        yield {"frames": notes([84.6 * 2 ** (octave + semitone / 12) for semitone in range(12)])}


def same_pitch(reference: Sequence[Mapping[str, NDArray[np.float32]]], found: Sequence[Mapping[str, NDArray[np.float32]]]) -> float:
    """The share of frames whose likeliest pitch is that of the reference, or the one beside it, 20 cents away."""
    apart = [abs(a["pitch"].argmax(axis=1) - b["pitch"].argmax(axis=1)) for a, b in zip(reference, found)]
    return float((np.concatenate(apart) <= 1).mean())
