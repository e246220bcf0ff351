"""Stand-ins for the data sets that must be downloaded: same files and sizes, other pictures.

Every class is a fixed pattern under noise, so that a command can be exercised end to end, and
timed, before the data are there. Accuracies on them mean nothing.

python benchmarks/paper/stand_in.py cifar10 FOLDER
python benchmarks/paper/stand_in.py tiny-imagenet FOLDER --share .1
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image


def main(
    data: Annotated[str, typer.Argument(help=", ".join(["cifar10", "cifar100", "tiny-imagenet"]))],
    folder: Path,
    share: Annotated[float, typer.Option(help="Of the true number of images.")] = 1.0,
) -> None:
    """Write the files of one data set."""
    write = {"cifar10": cifar10, "cifar100": cifar100, "tiny-imagenet": tiny_imagenet}
    if data not in write:
        raise typer.BadParameter(f"data must be one of {', '.join(write)}, found {data!r}")
    write[data](folder, share)


def cifar10(folder: Path, share: float = 1.0) -> None:
    """Five batches of 10,000 images and a test batch."""
    place = folder / "cifar-10-batches-py"
    place.mkdir(parents=True)
    for k, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
        images, labels = _pictures(round(10_000 * share), 10, 32, seed=k)
        _pickled(place / name, {b"data": _rows(images), b"labels": labels.tolist()})


def cifar100(folder: Path, share: float = 1.0) -> None:
    """50,000 training and 10,000 test images."""
    place = folder / "cifar-100-python"
    place.mkdir(parents=True)
    for k, (name, n) in enumerate({"train": 50_000, "test": 10_000}.items()):
        images, labels = _pictures(round(n * share), 100, 32, seed=k)
        coarse = (labels // 5).tolist()
        batch = {b"fine_labels": labels.tolist(), b"coarse_labels": coarse, b"data": _rows(images)}
        _pickled(place / name, batch)


def tiny_imagenet(folder: Path, share: float = 1.0, classes: int = 200) -> None:
    """500 training and 50 validation images a class, 64 x 64, JPEG."""
    root = folder / "tiny-imagenet-200"
    names = [f"n{10_000_000 + k}" for k in range(classes)]
    images, labels = _pictures(round(500 * share) * classes, classes, 64, seed=0)
    for k, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = root / "train" / names[label] / "images"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{names[label]}_{k}.JPEG")
    images, labels = _pictures(max(1, round(50 * share)) * classes, classes, 64, seed=1)
    (root / "val" / "images").mkdir(parents=True)
    lines = []
    for k, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(root / "val" / "images" / f"val_{k}.JPEG")
        lines.append(f"val_{k}.JPEG\t{names[label]}\t0\t0\t63\t63\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))


def _pictures(n: int, classes: int, pixels: int, seed: int) -> tuple[Any, Any]:
    """(n, pixels, pixels, 3) uint8 and labels in turn."""
    patterns = np.random.default_rng(classes).integers(0, 128, (classes, pixels, pixels, 3))
    labels = np.arange(n) % classes
    noise = np.random.default_rng(seed).integers(0, 128, (n, pixels, pixels, 3), dtype=np.uint8)
    return noise + patterns.astype(np.uint8)[labels], labels


def _rows(images: Any) -> Any:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), -1)


def _pickled(path: Path, batch: dict[bytes, Any]) -> None:
    path.write_bytes(pickle.dumps(batch, protocol=2))


if __name__ == "__main__":
    typer.run(main)
