"""Everything that handles torch objects on the way from a model to a head."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    Subset,
)

from dprune._resume import Output, ResumableFile

_BATCH = 256


def last_layer_inputs(
    model: torch.nn.Module,
    loader: DataLoader[Any] | Dataset[Any],
    layer: torch.nn.Linear | str | None,
    *,
    out: str | os.PathLike[str] | None = None,
    dtype: npt.DTypeLike = np.float32,
    progress: bool = False,
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Inputs of the last Linear over a data set, labels, and the layer's (C, d + 1) parameters.

    With ``out``, features and labels go to ``<out>`` and ``<out>.labels.npy``, and a run that was
    killed goes on where it stopped.
    """
    linear = find_layer(model, layer)
    loader = ordered(loader)
    n = len(loader.dataset)  # type: ignore[arg-type]
    if n == 0:
        raise ValueError("loader must yield at least one batch, found none")
    features, labels = _outputs(model, n, linear.in_features, np.dtype(dtype), out)
    captured: list[torch.Tensor] = []
    handle = linear.register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0].detach()))
    done = min(features.done, labels.done)
    try:
        with evaluation(model), torch.no_grad(), _advance_bar(n, done, progress) as advance_bar:
            for batch in _from_sample(loader, done):
                inputs, targets = unpack(batch)
                captured.clear()
                model(inputs.to(device_of(model)))
                if len(captured) != 1:
                    raise ValueError(
                        f"layer must run once for each batch, ran {len(captured)} times"
                    )
                if captured[0].ndim != 2 or len(captured[0]) != len(inputs):
                    raise ValueError(
                        "the layer's input must have shape (batch, d), found "
                        f"{tuple(captured[0].shape)} for a batch of {len(inputs)}"
                    )
                stop = done + len(inputs)
                features.array[done:stop] = captured[0].float().cpu().numpy()
                labels.array[done:stop] = torch.as_tensor(targets).reshape(-1).cpu().numpy()
                # Labels first: what counts as done is the smaller of the two.
                labels.advance(stop)
                features.advance(stop)
                done = stop
                advance_bar(done)
    finally:
        handle.remove()
    if done != n:
        raise ValueError(f"loader must yield all {n} samples of its data set, found {done}")
    weight = linear.weight.detach().double().cpu()
    bias = (
        torch.zeros(len(weight), dtype=torch.float64)
        if linear.bias is None
        else linear.bias.detach().double().cpu()
    )
    theta = torch.cat([weight, bias[:, None]], dim=1)
    return features.finish(), labels.finish(), theta.numpy()


def _outputs(
    model: torch.nn.Module,
    n: int,
    width: int,
    dtype: np.dtype[Any],
    out: str | os.PathLike[str] | None,
) -> tuple[Output, Output]:
    """Where features and labels go."""
    if dtype not in (np.float16, np.float32):
        raise ValueError(f"dtype must be float16 or float32, found {dtype}")
    if out is None:
        return Output(np.empty((n, width), dtype=dtype)), Output(np.empty(n, dtype=np.int64))
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    key = f"features {digest.hexdigest()}"
    return (
        ResumableFile(out, (n, width), dtype, key),
        ResumableFile(f"{os.fspath(out)}.labels.npy", (n,), np.int64, key),
    )


def _from_sample(loader: DataLoader[Any], start: int) -> Iterator[Any]:
    """The loader's batches from one sample on, without loading the ones before."""
    if start == 0:
        return iter(loader)
    rest = Subset(loader.dataset, range(start, len(loader.dataset)))  # type: ignore[arg-type]
    return iter(
        DataLoader(
            rest,
            batch_size=getattr(loader.batch_sampler, "batch_size", None),
            collate_fn=loader.collate_fn,
            num_workers=loader.num_workers,
        )
    )


@contextmanager
def _advance_bar(total: int, done: int, show: bool) -> Iterator[Callable[[int], None]]:
    """A rich progress bar over samples, or nothing."""
    if not show:
        yield lambda _: None
        return
    try:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
    except ImportError:
        raise ImportError("progress=True needs rich: pip install 'dprune[report]'") from None
    columns = ("features", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("", total=total, completed=done)
        yield lambda completed: bar.update(task, completed=completed)


def find_layer(model: torch.nn.Module, layer: torch.nn.Linear | str | None) -> torch.nn.Linear:
    """The Linear that is meant: given, named, or the last one."""
    if isinstance(layer, str):
        modules = dict(model.named_modules())
        if layer not in modules:
            raise ValueError(f"layer must name a module of the model, found {layer!r}")
        found: object = modules[layer]
    elif layer is None:
        linears = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
        if not linears:
            raise ValueError("model must end in a torch.nn.Linear, found none")
        found = linears[-1]
    else:
        found = layer
        if not any(module is layer for module in model.modules()):
            raise ValueError("layer must be a module of the model, found one that is not")
    if not isinstance(found, torch.nn.Linear):
        raise TypeError(f"layer must be a torch.nn.Linear, found {type(found).__name__}")
    return found


def ordered(loader: DataLoader[Any] | Dataset[Any]) -> DataLoader[Any]:
    """A loader whose row i is dataset[i], or an error that says why not."""
    if not isinstance(loader, DataLoader):
        loader = DataLoader(loader, batch_size=_BATCH)
    if isinstance(loader.dataset, IterableDataset):
        raise TypeError("loader must read a map-style data set: row i has to be dataset[i]")
    if loader.drop_last or getattr(loader.batch_sampler, "drop_last", False):
        raise ValueError("loader must not drop samples, found drop_last=True")
    batches = loader.batch_sampler
    plain = batches is None or type(batches) is BatchSampler
    sampler = loader.sampler if batches is None else getattr(batches, "sampler", None)
    if not plain or not isinstance(sampler, SequentialSampler):
        raise ValueError(
            "loader must go through the data set in order (shuffle=False), found "
            f"{type(batches if not plain else sampler).__name__}"
        )
    return loader


def unpack(batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and labels of a batch."""
    if not isinstance(batch, (tuple, list)) or len(batch) < 2:
        raise TypeError(f"loader must yield (inputs, labels) batches, found {type(batch).__name__}")
    return batch[0], batch[1]


def device_of(model: torch.nn.Module) -> torch.device:
    """Where the model's parameters live."""
    return next(model.parameters()).device


@contextmanager
def evaluation(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode for all modules, each put back as it was."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
