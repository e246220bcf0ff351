"""Data sets as arrays: images (n, channels, height, width) float32 in [0, 1], labels int64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class ImageData:
    """A data set with its usual split."""

    name: str
    images: npt.NDArray[np.float32]  # (n, channels, height, width)
    labels: npt.NDArray[np.int64]
    test_images: npt.NDArray[np.float32]
    test_labels: npt.NDArray[np.int64]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(max(self.labels.max(), self.test_labels.max())) + 1


def digits(*, test_share: float = 0.2, seed: int = 0) -> ImageData:
    """scikit-learn's bundled handwritten digits: 1,797 images of 8 x 8, stratified split."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    parts: list[Any] = train_test_split(
        (images.reshape(-1, 1, 8, 8) / 16).astype(np.float32),
        labels.astype(np.int64),
        test_size=test_share,
        stratify=labels,
        random_state=seed,
    )
    return ImageData("digits", parts[0], parts[2], parts[1], parts[3])
