"""R2: the head of a small convolutional network trained on scikit-learn's digits."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import TensorDataset

import dprune
from dprune import data, models, train


def network() -> tuple[torch.nn.Module, data.ImageData]:
    """The trained network and its data: 40 epochs, seed 0, one thread."""
    torch.set_num_threads(1)
    digits = data.digits()
    model = models.seeded(0, models.SmallCNN, digits.classes)
    train.fit(model, digits.images, digits.labels, train.Recipe())
    return model, digits


def head(
    model: torch.nn.Module, digits: data.ImageData, weight_decay: float
) -> tuple[dprune.LastLayer, np.ndarray]:
    """The refitted head, and the test set's features."""
    fitted, unseen = (
        dprune.LastLayer.from_torch(
            model,
            TensorDataset(torch.from_numpy(images), torch.from_numpy(labels)),
            weight_decay,
            refit=refit,
        )
        for images, labels, refit in (
            (digits.images, digits.labels, True),
            (digits.test_images, digits.test_labels, False),
        )
    )
    return fitted, unseen.features
