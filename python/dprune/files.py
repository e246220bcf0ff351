"""Data sets in files, as they are distributed: CIFAR, Tiny ImageNet, any folder of images."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dprune.data import ImageData, split

_IMAGE_BYTES = 3 * 32 * 32
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".webp"}
_CIFAR_PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
_TINY_ADDRESS = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"

Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


def cifar10(folder: str | Path) -> ImageData:
    """CIFAR-10 from its "python" or its "binary" archive, unpacked.

    Parameters
    ----------
    folder : path
        ``cifar-10-batches-py`` or ``cifar-10-batches-bin``, or the folder that holds either.

    Raises
    ------
    FileNotFoundError
        Says which files are missing and where they come from.
    """
    batches = [f"data_batch_{k}" for k in range(1, 6)]
    return _cifar("cifar10", folder, "cifar-10-batches", batches, "test_batch", b"labels", 1)


def cifar100(folder: str | Path) -> ImageData:
    """CIFAR-100, fine labels: ``cifar-100-python``, ``cifar-100-binary`` or what holds either."""
    return _cifar("cifar100", folder, "cifar-100", ["train"], "test", b"fine_labels", 2)


def tiny_imagenet(folder: str | Path) -> ImageData:
    """Tiny ImageNet, 200 classes, 64 x 64; its validation set is the test set.

    Parameters
    ----------
    folder : path
        ``tiny-imagenet-200``, or the folder that holds it.
    """
    root = Path(folder)
    root = root / "tiny-imagenet-200" if (root / "tiny-imagenet-200").is_dir() else root
    annotations = root / "val" / "val_annotations.txt"
    if not (root / "train").is_dir() or not annotations.is_file():
        raise FileNotFoundError(
            f"folder must hold Tiny ImageNet (train/ and val/val_annotations.txt), found neither "
            f"or only one in {root}: unpack {_TINY_ADDRESS} there"
        )
    classes = sorted(path.name for path in (root / "train").iterdir() if path.is_dir())
    number = {name: k for k, name in enumerate(classes)}
    train = [
        (path, number[name])
        for name in classes
        for path in _image_paths(root / "train" / name / "images")
    ]
    test = []
    for line in annotations.read_text().splitlines():
        file, name = line.split("\t")[:2]
        test.append((root / "val" / "images" / file, number[name]))
    return ImageData("tiny-imagenet", *_read(train, 64), *_read(test, 64), tuple(classes))


def image_folder(
    folder: str | Path, *, pixels: int | None = None, test_share: float = 0.2, seed: int = 0
) -> ImageData:
    """One folder a class: ``train/<class>/*`` and ``test/`` or ``val/``, or ``<class>/*`` alone.

    Parameters
    ----------
    folder : path
    pixels : int, optional
        Height and width the images are brought to; needed where they differ.
    test_share, seed
        Of the split, where the folder brings none.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(
            f"folder must hold images in one folder a class, found nothing at {root}"
        )
    train = root / "train" if (root / "train").is_dir() else root
    classes = tuple(sorted(p.name for p in train.iterdir() if p.is_dir() and _image_paths(p)))
    if len(classes) < 2:
        raise FileNotFoundError(
            f"folder must hold at least two folders with images, found {len(classes)} in {train}"
        )
    images, labels = _read(_labelled(train, classes), pixels)
    for name in ("test", "val"):
        if train != root and (root / name).is_dir():
            found = _labelled(root / name, classes)
            if not found:
                raise FileNotFoundError(
                    f"{name} must hold images in the folders of train, found none in {root / name}"
                )
            test = _read(found, images.shape[2])
            return ImageData(root.name, images, labels, *test, classes)
    return split(root.name, images, labels, test_share=test_share, seed=seed, class_names=classes)


def _cifar(
    name: str,
    folder: str | Path,
    stem: str,
    train: list[str],
    test: str,
    key: bytes,
    label_bytes: int,
) -> ImageData:
    """The binary rows are ``label_bytes`` labels, the last of which counts, and the pixels."""
    python = f"{stem}-{'py' if label_bytes == 1 else 'python'}"
    binary = f"{stem}-{'bin' if label_bytes == 1 else 'binary'}"
    root = Path(folder)
    for place in (root, root / python, root / binary):
        if all((place / file).is_file() for file in [*train, test]):
            batches = [_cifar_pickle(place / file, key) for file in [*train, test]]
            break
        if all((place / f"{file}.bin").is_file() for file in [*train, test]):
            batches = [_cifar_binary(place / f"{file}.bin", label_bytes) for file in [*train, test]]
            break
    else:
        raise FileNotFoundError(
            f"folder must hold {name} ({', '.join([*train, test])}, or the same with .bin), "
            f"not found in {root}: unpack the archive of {_CIFAR_PAGE} there, as {python}/ or "
            f"{binary}/"
        )
    images = np.concatenate([batch[0] for batch in batches[:-1]])
    labels = np.concatenate([batch[1] for batch in batches[:-1]])
    return ImageData(name, images, labels, *batches[-1])


def _cifar_binary(path: Path, label_bytes: int) -> Arrays:
    raw = np.fromfile(path, dtype=np.uint8)
    width = label_bytes + _IMAGE_BYTES
    if not raw.size or raw.size % width:
        raise ValueError(f"{path} must consist of rows of {width} bytes, found {raw.size} bytes")
    rows = raw.reshape(-1, width)
    images = rows[:, label_bytes:].reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(images), rows[:, label_bytes - 1].astype(np.int64)


def _cifar_pickle(path: Path, key: bytes) -> Arrays:
    with path.open("rb") as file:
        batch = _ArrayUnpickler(file, encoding="bytes").load()
    if not isinstance(batch, dict) or b"data" not in batch or key not in batch:
        raise ValueError(f"{path} must hold a dict with data and {key.decode()}, found another")
    pixels = batch[b"data"]
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != _IMAGE_BYTES:
        raise ValueError(
            f"{path} must hold uint8 rows of {_IMAGE_BYTES}, found {pixels.dtype} {pixels.shape}"
        )
    return pixels.reshape(-1, 3, 32, 32), np.array(batch[key], dtype=np.int64)


class _ArrayUnpickler(pickle.Unpickler):
    """Builds NumPy arrays and plain containers, nothing else: a pickle can name any function."""

    _ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy._core.numeric", "_frombuffer"),
            ("numpy.core.numeric", "_frombuffer"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"the file may hold arrays only, found {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _labelled(root: Path, classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    return [(path, k) for k, name in enumerate(classes) for path in _image_paths(root / name)]


def _image_paths(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in _SUFFIXES)


def _read(entries: list[tuple[Path, int]], pixels: int | None) -> Arrays:
    """Decoded, in colour, at one size."""
    from PIL import Image

    if not entries:
        raise FileNotFoundError("folder must hold images, found none")
    images = None
    for k, (path, _) in enumerate(entries):
        with Image.open(path) as file:
            image = file.convert("RGB")
        if pixels is not None and image.size != (pixels, pixels):
            image = image.resize((pixels, pixels), Image.Resampling.BILINEAR)
        array = np.asarray(image, dtype=np.uint8).transpose(2, 0, 1)
        if images is None:
            images = np.empty((len(entries), *array.shape), dtype=np.uint8)
        if array.shape != images.shape[1:]:
            raise ValueError(
                f"images must have one size, found {images.shape[1:]} and, in {path}, "
                f"{array.shape}; pass pixels"
            )
        images[k] = array
    assert images is not None
    return images, np.array([label for _, label in entries], dtype=np.int64)
