"""The networks. All end in a Linear, the layer that dprune looks at."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class ConvNetShape:
    """One of the 720 networks of the architecture search (Zhao et al., 2021; the paper's 6.4)."""

    depth: int = 3
    width: int = 128
    pooling: str = "avg"
    activation: str = "relu"
    normalisation: str = "instance"

    def __str__(self) -> str:
        return f"{self.depth}x{self.width}-{self.pooling}-{self.activation}-{self.normalisation}"


POOLING: dict[str, Callable[[], nn.Module]] = {
    "none": nn.Identity,
    "max": lambda: nn.MaxPool2d(2),
    "avg": lambda: nn.AvgPool2d(2),
}
ACTIVATION: dict[str, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "relu": lambda: nn.ReLU(inplace=True),
    "leakyrelu": lambda: nn.LeakyReLU(0.01, inplace=True),
}
NORMALISATION: dict[str, Callable[[int, int], nn.Module]] = {
    "none": lambda width, side: nn.Identity(),
    "batch": lambda width, side: nn.BatchNorm2d(width),
    "layer": lambda width, side: nn.LayerNorm([width, side, side]),
    "instance": lambda width, side: nn.GroupNorm(width, width),
    "group": lambda width, side: nn.GroupNorm(4, width),
}


def convnet_space(
    depths: tuple[int, ...] = (1, 2, 3, 4), widths: tuple[int, ...] = (32, 64, 128, 256)
) -> list[ConvNetShape]:
    """Depth x width x 3 poolings x 3 activations x 5 normalisations: 720 with the defaults."""
    return [
        ConvNetShape(*shape)
        for shape in itertools.product(depths, widths, POOLING, ACTIVATION, NORMALISATION)
    ]


class ConvNet(nn.Sequential):
    """Blocks of convolution, normalisation, activation and pooling, then a linear head.

    Parameters
    ----------
    classes : int
    channels : int, default 3
    pixels : int, default 32
        Height and width of the input; blocks that would pool below 1 x 1 leave it.
    shape : ConvNetShape
    """

    def __init__(
        self, classes: int, channels: int = 3, pixels: int = 32, shape: ConvNetShape | None = None
    ) -> None:
        shape = ConvNetShape() if shape is None else shape
        layers: list[nn.Module] = []
        side = pixels
        for block in range(shape.depth):
            layers += [
                nn.Conv2d(channels if block == 0 else shape.width, shape.width, 3, padding=1),
                NORMALISATION[shape.normalisation](shape.width, side),
                ACTIVATION[shape.activation](),
            ]
            if shape.pooling != "none" and side >= 2:
                layers.append(POOLING[shape.pooling]())
                side //= 2
        layers += [nn.Flatten(), nn.Linear(shape.width * side * side, classes)]
        super().__init__(*layers)


class ResNet(nn.Module):
    """ResNet for small images (He et al., 2016; 3 x 3 stem, no pooling before the blocks).

    Parameters
    ----------
    classes : int
    channels : int, default 3
    blocks : tuple of int
        Residual blocks in each of the four stages.
    bottleneck : bool, default False
        1-3-1 blocks with four times the channels, as in ResNet-50, or 3-3 blocks.
    width : int, default 64
        Channels of the first stage.
    squeeze : int, default 0
        Reduction of squeeze-and-excitation (Hu et al., 2018) in every block; 0: none.
    """

    def __init__(
        self,
        classes: int,
        channels: int = 3,
        blocks: tuple[int, ...] = (2, 2, 2, 2),
        bottleneck: bool = False,
        width: int = 64,
        squeeze: int = 0,
    ) -> None:
        super().__init__()
        self.stem = _conv(channels, width, 3)
        expansion = 4 if bottleneck else 1
        stages: list[nn.Module] = []
        inputs = width
        for stage, count in enumerate(blocks):
            outputs = width * 2**stage * expansion
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(_Residual(inputs, outputs, stride, bottleneck, squeeze))
                inputs = outputs
        self.blocks = nn.Sequential(*stages)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        x = torch.relu(self.stem(x))
        logits: torch.Tensor = self.head(self.pool(self.blocks(x)))
        return logits


class _Residual(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, stride: int, bottleneck: bool, squeeze: int
    ) -> None:
        super().__init__()
        if bottleneck:
            inner = outputs // 4
            self.body = nn.Sequential(
                _conv(inputs, inner, 1),
                nn.ReLU(inplace=True),
                _conv(inner, inner, 3, stride),
                nn.ReLU(inplace=True),
                _conv(inner, outputs, 1),
            )
        else:
            self.body = nn.Sequential(
                _conv(inputs, outputs, 3, stride),
                nn.ReLU(inplace=True),
                _conv(outputs, outputs, 3),
            )
        if squeeze:
            self.body.append(_SqueezeExcitation(outputs, squeeze))
        self.stride = stride
        plain = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if plain else _conv(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # The stride of the shortcut. Left to a convolution of size 1 with fewer than 8 inputs it
        # makes oneDNN (PyTorch 2.13) write where it must not, on processors with AVX2.
        chosen = x[..., :: self.stride, :: self.stride]
        return torch.relu(self.body(x) + self.shortcut(chosen))


class _SqueezeExcitation(nn.Module):
    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        inner = max(4, width // reduction)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(width, inner, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, width, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scaled: torch.Tensor = x * self.gate(x)
        return scaled


def _conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


TORCHVISION = "torchvision:"
# Width of the first stage by default; the SENet has about 1.25 million parameters with 10 classes.
NETWORKS: dict[str, int] = {
    "small": 16,
    "convnet": 128,
    "senet": 21,
    "resnet18": 64,
    "resnet50": 64,
}


def network(
    name: str, classes: int, channels: int = 3, pixels: int = 32, width: int | None = None
) -> nn.Module:
    """A network by name, as the command line gives it.

    Parameters
    ----------
    name : str
        ``small`` (SmallCNN), ``convnet`` (three blocks), ``senet``, ``resnet18``, ``resnet50``; or
        ``torchvision:`` and a name of ``torchvision.models``, made for larger colour images.
    classes, channels, pixels : int
        Of the data.
    width : int, optional
        Channels at the first stage, for small machines; default the usual.
    """
    if name.startswith(TORCHVISION):
        from dprune import _torchvision

        if channels != 3 or width is not None:
            raise ValueError(
                f"channels must be 3 and width None with {name}, found {channels} and {width}"
            )
        return _torchvision.network(name.removeprefix(TORCHVISION), classes)
    if name not in NETWORKS:
        raise ValueError(
            f"name must be one of {', '.join(NETWORKS)} or {TORCHVISION}..., found {name!r}"
        )
    width = NETWORKS[name] if width is None else width
    if width < 1:
        raise ValueError(f"width must be at least 1, found {width}")
    if name == "small":
        return SmallCNN(classes, channels, width, pixels)
    if name == "convnet":
        return ConvNet(classes, channels, pixels, ConvNetShape(width=width))
    if name == "senet":
        return ResNet(classes, channels, width=width, squeeze=16)
    if name == "resnet18":
        return ResNet(classes, channels, width=width)
    return ResNet(classes, channels, (3, 4, 6, 3), bottleneck=True, width=width)


def seeded(seed: int, build: Callable[..., nn.Module], *args: Any, **settings: Any) -> nn.Module:
    """A network whose initial weights depend on the seed alone; the global state is untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(*args, **settings)


def parameters(model: nn.Module) -> int:
    """How many trainable numbers a network has."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
