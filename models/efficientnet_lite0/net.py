"""EfficientNet-Lite0: an ImageNet classifier (https://arxiv.org/abs/1905.11946, without squeeze-and-excitation).

An image is RGB, 224 x 224, with each value x of 0..255 given as (x - 127) / 128.
"""

from efficientnet_lite_pytorch import EfficientNet


def build() -> EfficientNet:
    return EfficientNet.from_name("efficientnet-lite0")
