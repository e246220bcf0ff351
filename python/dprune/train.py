"""Training a network on arrays: SGD with momentum, weight decay and a cosine schedule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. The head's ``weight_decay`` is the one given here."""

    epochs: int = 40
    batch: int = 32
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "lr"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, found {getattr(self, name)}")


def fit(
    model: nn.Module,
    images: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    recipe: Recipe,
    seed: int = 0,
) -> nn.Module:
    """Train in place and return the model; the order of the batches depends on the seed alone."""
    data = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
    order = RandomSampler(data, generator=torch.Generator().manual_seed(seed))
    # Whole batches are indexed at once: far faster than collating samples one by one.
    loader = DataLoader(
        data, batch_size=None, sampler=BatchSampler(order, recipe.batch, drop_last=False)
    )
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=True,
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs * len(loader))
    loss = nn.CrossEntropyLoss()
    model.train()
    for _ in range(recipe.epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss(model(x), y).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def accuracy(
    model: nn.Module, images: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]
) -> float:
    """Share of samples classified right."""
    model.eval()
    right = 0
    for start in range(0, len(labels), 1024):
        x = torch.from_numpy(images[start : start + 1024])
        right += int((model(x).argmax(dim=1).numpy() == labels[start : start + 1024]).sum())
    return right / len(labels)
