"""Data sets as arrays: images (n, channels, height, width), uint8 or float32 in [0, 1]."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class ImageData:
    """A data set with its usual split.

    Attributes
    ----------
    name : str
    images, test_images : (n, channels, height, width) uint8 or float32
        uint8 stands for 0..1 in steps of 1/255 and is converted batch by batch.
    labels, test_labels : (n,) int64
    class_names : tuple of str
        Empty where classes have none.
    groups : (n,) int64, optional
        Training samples of one origin (a font, a person), where the test set has others: what
        judges a choice is held out by whole groups, see :func:`dprune.choose_reweight`.
    """

    name: str
    images: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]
    test_images: npt.NDArray[Any]
    test_labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...] = ()
    groups: npt.NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        for part in ("", "test_"):
            images, labels = getattr(self, part + "images"), getattr(self, part + "labels")
            if images.ndim != 4 or images.dtype not in (np.uint8, np.float32):
                raise ValueError(
                    f"{part}images must be uint8 or float32 of shape (n, channels, height, width),"
                    f" found {images.dtype} {images.shape}"
                )
            if labels.shape != images.shape[:1] or not len(labels):
                raise ValueError(
                    f"{part}labels must have shape ({len(images)},), one at least, found "
                    f"{labels.shape}"
                )
        if self.groups is not None and self.groups.shape != self.labels.shape:
            raise ValueError(
                f"groups must have shape {self.labels.shape}, found {self.groups.shape}"
            )

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(max(self.labels.max(), self.test_labels.max())) + 1

    @property
    def channels(self) -> int:
        """1 grey, 3 colour."""
        return int(self.images.shape[1])

    @property
    def pixels(self) -> int:
        """Height of the images."""
        return int(self.images.shape[2])

    @property
    def fingerprint(self) -> str:
        """SHA-256 of both parts, and of the groups where there are any."""
        digest = hashlib.sha256()
        arrays = [self.images, self.labels, self.test_images, self.test_labels]
        for array in arrays if self.groups is None else [*arrays, self.groups]:
            digest.update(f"{array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def take(self, n: int, seed: int = 0) -> ImageData:
        """A stratified random part of the training set; the test set stays."""
        from sklearn.model_selection import train_test_split

        if not self.classes <= n <= len(self.labels):
            raise ValueError(f"n must lie in {self.classes}..{len(self.labels)}, found {n}")
        if n == len(self.labels):
            return self
        part, _ = train_test_split(
            np.arange(len(self.labels)), train_size=n, stratify=self.labels, random_state=seed
        )
        part = np.sort(part)
        groups = None if self.groups is None else self.groups[part]
        return replace(self, images=self.images[part], labels=self.labels[part], groups=groups)


def digits(*, test_share: float = 0.2, seed: int = 0) -> ImageData:
    """scikit-learn's bundled handwritten digits: 1,797 images of 8 x 8, stratified split."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return split(
        "digits",
        (images.reshape(-1, 1, 8, 8) / 16).astype(np.float32),
        labels.astype(np.int64),
        test_share=test_share,
        seed=seed,
    )


def split(
    name: str,
    images: npt.NDArray[Any],
    labels: npt.NDArray[np.int64],
    *,
    test_share: float = 0.2,
    seed: int = 0,
    class_names: tuple[str, ...] = (),
) -> ImageData:
    """Images without a test set of their own, split at random, class by class."""
    from sklearn.model_selection import train_test_split

    parts: list[Any] = train_test_split(
        images, labels, test_size=test_share, stratify=labels, random_state=seed
    )
    return ImageData(name, parts[0], parts[2], parts[1], parts[3], class_names)


def from_torch(name: str, train: Any, test: Any) -> ImageData:
    """Any pair of map-style torch data sets that yield ``(image, label)``.

    Images are tensors (channels, height, width), uint8 or floating in [0, 1], all of one size;
    the data sets must not augment at random: row i has to be ``dataset[i]``.
    """
    return ImageData(name, *_arrays(train, "train"), *_arrays(test, "test"))


def load(name: str, folder: Path | None = None, **settings: Any) -> ImageData:
    """A data set by name, as the command line gives it.

    Parameters
    ----------
    name : str
        ``digits``, ``glyphs``, ``cifar10``, ``cifar100``, ``tiny-imagenet``, ``folder``, or
        ``torchvision:`` and the name of one of ``torchvision.datasets``.
    folder : Path, optional
        Where the files lie; needed by all but ``digits`` and ``glyphs``, whose fonts it may name.
    **settings
        Passed on to the data set's own function.
    """
    from dprune import files, glyphs

    if name == "digits":
        return digits(**settings)
    if name == "glyphs":
        return glyphs.glyphs(fonts=folder, **settings)
    readers: dict[str, Callable[..., ImageData]] = {
        "cifar10": files.cifar10,
        "cifar100": files.cifar100,
        "tiny-imagenet": files.tiny_imagenet,
        "folder": files.image_folder,
    }
    vision = name.removeprefix("torchvision:")
    if name not in readers and vision == name:
        known = ", ".join(["digits", "glyphs", *readers, "torchvision:..."])
        raise ValueError(f"name must be one of {known}, found {name!r}")
    if folder is None:
        raise ValueError(f"folder must say where {name} lies, found none")
    if vision != name:
        from dprune import _torchvision

        return from_torch(vision, *_torchvision.datasets(vision, folder))
    return readers[name](folder, **settings)


def _arrays(dataset: Any, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise TypeError(f"{name} must be a map-style data set, found {type(dataset).__name__}")
    images: list[npt.NDArray[Any]] = []
    labels: list[int] = []
    for i in range(len(dataset)):
        image, label = dataset[i][:2]
        array = np.asarray(image)
        if array.dtype != np.uint8:
            array = array.astype(np.float32)
        if images and array.shape != images[0].shape:
            raise ValueError(
                f"{name} must yield images of one shape, found {images[0].shape} and, at {i}, "
                f"{array.shape}"
            )
        images.append(array)
        labels.append(int(label))
    if not images:
        raise ValueError(f"{name} must not be empty, found no samples")
    return np.stack(images), np.array(labels, dtype=np.int64)
