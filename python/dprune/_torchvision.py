"""torchvision's data sets and networks; also where its operators do not fit the installed torch."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

# Operators that torchvision gives shapes to when it is imported, compiled or not.
_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept_alive: list[torch.library.Library] = []


def network(name: str, classes: int) -> torch.nn.Module:
    """A classification network of torchvision, untrained."""
    models = package().models
    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(f"name must be torchvision: and one of {', '.join(known)}, found {name!r}")
    model: torch.nn.Module = models.get_model(name, weights=None, num_classes=classes)
    return model


def datasets(name: str, folder: Path) -> tuple[Any, Any]:
    """Training and test part of a torchvision data set that lies in ``folder``; not downloaded."""
    vision = package()
    kind: Any = getattr(vision.datasets, name, None)
    takes = inspect.signature(kind).parameters if inspect.isclass(kind) else {}
    if "train" in takes:
        parts: list[dict[str, Any]] = [{"train": True}, {"train": False}]
    elif "split" in takes:
        parts = [{"split": "train"}, {"split": "test"}]
    else:
        raise ValueError(
            "name must be torchvision: and a data set with a training and a test part, such as "
            f"FashionMNIST or SVHN, found {name!r}"
        )
    to_tensor = importlib.import_module("torchvision.transforms.v2").PILToTensor()
    try:
        train, test = (kind(folder, transform=to_tensor, **part) for part in parts)
    except RuntimeError as error:
        raise FileNotFoundError(
            f"folder must hold {name} as torchvision.datasets.{name}({str(folder)!r}, "
            f"download=True) leaves it: {error}"
        ) from None
    return train, test


def package() -> ModuleType:
    """The package, imported.

    The usual wheel is built for CUDA; beside a CPU build of torch its operators do not load, and
    importing it fails with "operator torchvision::nms does not exist". Networks, data sets and
    transforms need none of them, so their names are declared first.

    Raises
    ------
    ImportError
        If torchvision is not installed; says how to.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise ImportError("this needs torchvision: pip install 'dprune[vision]'")
    if not _kept_alive and not _compiled_operators_load(Path(spec.origin).parent):
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for schema in _OPERATORS:
            library.define(schema)  # type: ignore[no-untyped-call]
        _kept_alive.append(library)
    return importlib.import_module("torchvision")


def _compiled_operators_load(folder: Path) -> bool:
    try:
        for path in [*folder.glob("_C*.so"), *folder.glob("_C*.pyd")]:
            torch.ops.load_library(path)  # type: ignore[no-untyped-call]
            return True
    except OSError:
        pass
    return False
