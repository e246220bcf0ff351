"""The networks."""

from __future__ import annotations

import torch
from torch import nn


class SmallCNN(nn.Sequential):
    """Two convolutions and a linear head: enough for small grey images, trained in seconds.

    Parameters
    ----------
    classes : int
    channels : int, default 1
        Of the input images.
    width : int, default 16
        Channels of the first convolution; the second has twice as many.
    pixels : int, default 8
        Height and width of the input images.
    features : int, default 64
        Inputs of the last layer.
    """

    def __init__(
        self,
        classes: int,
        channels: int = 1,
        width: int = 16,
        pixels: int = 8,
        features: int = 64,
    ) -> None:
        side = pixels // 4
        super().__init__(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(2 * width * side * side, features),
            nn.ReLU(),
            nn.Linear(features, classes),
        )


def seeded(seed: int, build: type[nn.Module], *args: int, **settings: int) -> nn.Module:
    """A network whose initial weights depend on the seed alone; the global state is untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(*args, **settings)
