"""CREPE: what note is sung (https://arxiv.org/abs/1802.06182). The network of torchcrepe (MIT License, (c) 2020 Max Morrison).

A frame is 1024 samples of audio at 16 kHz, its mean taken off and divided by its standard deviation. The output is, for each of
360 pitches, 20 cents apart from C1 on (10 * 2 ** ((1997.3794 + 20 * i) / 1200) Hz), how likely it is.
"""

import torch

LAYERS = ((1, 1024, 512, 4), (1024, 128, 64, 1), (128, 128, 64, 1), (128, 128, 64, 1), (128, 256, 64, 1), (256, 512, 64, 1))
"""Channels in and out, size of the kernel and stride, for each convolution of the full model."""
PITCHES = 360


class Crepe(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for number, (channels_in, channels_out, size, stride) in enumerate(LAYERS, start=1):
            self.add_module(f"conv{number}", torch.nn.Conv2d(channels_in, channels_out, (size, 1), (stride, 1)))
            self.add_module(f"conv{number}_BN", torch.nn.BatchNorm2d(channels_out, eps=0.0010000000474974513))
        self.classifier = torch.nn.Linear(2048, PITCHES)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """``frames`` are (batch, 1024)."""
        x = frames[:, None, :, None]
        for number in range(1, len(LAYERS) + 1):
            x = torch.nn.functional.pad(x, (0, 0, 254, 254) if number == 1 else (0, 0, 31, 32))
            x = self.get_submodule(f"conv{number}_BN")(torch.relu(self.get_submodule(f"conv{number}")(x)))
            x = torch.nn.functional.max_pool2d(x, (2, 1))
        return torch.sigmoid(self.classifier(x.permute(0, 2, 1, 3).reshape(-1, self.classifier.in_features)))


def build() -> Crepe:
    return Crepe()
