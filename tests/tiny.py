"""A network that is built in seconds, for tests of what lies around it."""

from __future__ import annotations

from pathlib import Path

import torch

NET = """
import torch

def build():
    return torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 8))
"""


def save_weights(path: Path, seed: int) -> None:
    """A state dict of the network."""
    torch.manual_seed(seed)
    network = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 8))
    torch.save(network.state_dict(), path)
