"""Training a network on arrays: SGD with momentum, weight decay and a cosine schedule."""

from __future__ import annotations

import dataclasses
import io
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset

from dprune._torch import device_of, evaluation, find_layer
from dprune.result import write_beside
from dprune.trajectory import Trajectory

_PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
_TEST_BATCH = 1024

Images = npt.NDArray[Any]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. The head's ``weight_decay`` is the one given here.

    Attributes
    ----------
    epochs : int
    batch : int
        At most; an epoch's batches are of equal size, give or take one. A last batch of what is
        left over would give its few samples the weight of a whole one: with 65 samples in batches
        of 32 every third step follows a single sample, and small kept sets fail to train.
    lr : float
        At the start; it follows half a cosine to zero, step by step.
    momentum, weight_decay : float
    nesterov : bool
    least_steps : int
        Where ``epochs`` make fewer steps, there are more epochs: a twentieth of a data set is not
        learnt in a twentieth of the steps, and methods would be compared by speed.
    crop : int
        Pixels of zero padding from which a random crop is taken; 0: none.
    flip : bool
        Left and right are exchanged at random.
    precision : {"float32", "bfloat16", "float16"}
        Of the forward and backward pass; the weights stay float32.
    compile : bool
        ``torch.compile`` the network.
    """

    epochs: int = 40
    batch: int = 32
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    nesterov: bool = True
    least_steps: int = 0
    crop: int = 0
    flip: bool = False
    precision: str = "float32"
    compile: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "lr"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, found {getattr(self, name)}")
        for name in ("momentum", "weight_decay", "least_steps", "crop"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, found {getattr(self, name)}")
        if self.precision not in _PRECISIONS:
            raise ValueError(
                f"precision must be one of {', '.join(_PRECISIONS)}, found {self.precision!r}"
            )

    def steps_for(self, n: int) -> int:
        """Batches in an epoch on n samples."""
        return math.ceil(n / self.batch)

    def epochs_for(self, n: int) -> int:
        """Epochs on n samples."""
        return max(self.epochs, math.ceil(self.least_steps / self.steps_for(n)))

    @classmethod
    def paper(cls, **changes: Any) -> Recipe:
        """The paper's: 200 epochs, batch 128, lr .01, weight decay 5e-4, random crop and flip."""
        settings: dict[str, Any] = {
            "epochs": 200,
            "batch": 128,
            "lr": 0.01,
            "nesterov": False,
            "crop": 4,
            "flip": True,
        }
        return cls(**{**settings, **changes})


class Recorder:
    """Collects a :class:`dprune.Trajectory` while :func:`fit` trains.

    Parameters
    ----------
    snapshots : tuple of int
        After which epochs (counted from 1) the error and gradient norms are measured, each by one
        pass over the training set in evaluation mode. Whether a sample is classified right is
        read off the training batches and costs nothing.
    """

    def __init__(self, snapshots: tuple[int, ...] = ()) -> None:
        if any(epoch < 1 for epoch in snapshots):
            raise ValueError(f"snapshots must be epochs from 1 on, found {snapshots}")
        self.snapshots = tuple(sorted(set(snapshots)))
        self.correct: list[npt.NDArray[np.bool_]] = []
        self.norms: list[npt.NDArray[np.float32]] = []

    def trajectory(self, seed: int = 0) -> Trajectory:
        """What was collected."""
        if not self.correct:
            raise ValueError("the recorder must have seen a training run, found none")
        n = self.correct[0].size
        norms = np.stack(self.norms) if self.norms else np.zeros((0, 2, n), dtype=np.float32)
        taken = self.snapshots[: len(norms)]
        return Trajectory(np.stack(self.correct), taken, norms[:, 0], norms[:, 1], seed)


class ImageDataset(Dataset[tuple[torch.Tensor, int]]):
    """Arrays as a torch data set: float images in [0, 1], labels."""

    def __init__(self, images: Images, labels: Labels) -> None:
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return _as_float(torch.as_tensor(self.images[index])), int(self.labels[index])


def fit(
    model: nn.Module,
    images: Images,
    labels: Labels,
    recipe: Recipe,
    seed: int = 0,
    *,
    device: str = "cpu",
    recorder: Recorder | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 10,
) -> nn.Module:
    """Train in place and return the model; batches and augmentation depend on the seed alone.

    Parameters
    ----------
    model : torch.nn.Module
    images : (n, channels, height, width) uint8 or float32
    labels : (n,) int64
    recipe : Recipe
    seed : int, default 0
    device : str, default "cpu"
        Model and images are moved there; the model stays.
    recorder : Recorder, optional
        Is filled with what happens to each sample.
    checkpoint : path, optional
        Written every ``checkpoint_every`` epochs and at the end; if it is there, training goes on
        from it, with the same result as without the interruption.
    checkpoint_every : int, default 10
        Epochs.

    Raises
    ------
    ValueError
        If the checkpoint is of another recipe, seed or data size.
    """
    n = len(labels)
    model.to(device)
    x_all = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    y_all = torch.from_numpy(labels).to(device)
    generator = torch.Generator().manual_seed(seed)
    half = _PRECISIONS[recipe.precision]
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov,
        # A fused step that the scaler of float16 skips would still advance the momentum.
        fused=half is not torch.float16,
    )
    steps, epochs = recipe.steps_for(n), recipe.epochs_for(n)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
    scaler = torch.amp.GradScaler(device, enabled=half is torch.float16)
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule, "scaler": scaler}
    run = {"recipe": dataclasses.asdict(recipe), "seed": seed, "n": n}
    forward = torch.compile(model) if recipe.compile else model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first = 0
        if checkpoint is not None and Path(checkpoint).is_file():
            first = _resume(Path(checkpoint), run, parts, generator, recorder)
        for epoch in range(first, epochs):
            model.train()
            right = torch.zeros(n, dtype=torch.bool, device=device)
            for batch in torch.randperm(n, generator=generator).tensor_split(steps):
                chosen = batch.to(device)
                x = _augmented(_as_float(x_all[chosen]), recipe, generator)
                y = y_all[chosen]
                optimizer.zero_grad()
                with torch.autocast(x.device.type, dtype=half, enabled=half is not None):
                    logits = forward(x)
                    loss = functional.cross_entropy(logits, y)
                torch.autograd.backward(scaler.scale(loss))
                scaler.step(optimizer)
                scaler.update()
                schedule.step()
                if recorder is not None:
                    right[chosen] = logits.detach().argmax(dim=1) == y
            if recorder is not None:
                recorder.correct.append(right.cpu().numpy())
                if epoch + 1 in recorder.snapshots:
                    recorder.norms.append(_norms(model, x_all, y_all))
            last = epoch + 1 == epochs
            if checkpoint is not None and (last or (epoch + 1) % checkpoint_every == 0):
                _save(Path(checkpoint), run, epoch + 1, parts, generator, recorder)
    return model.eval()


@torch.no_grad()
def logits(model: nn.Module, images: Images) -> npt.NDArray[np.float32]:
    """Outputs for all images in evaluation mode, (n, C)."""
    device = device_of(model)
    parts = []
    with evaluation(model):
        for start in range(0, len(images), _TEST_BATCH):
            x = torch.from_numpy(np.ascontiguousarray(images[start : start + _TEST_BATCH]))
            parts.append(model(_as_float(x.to(device))).float().cpu().numpy())
    return np.concatenate(parts)


def accuracy(model: nn.Module, images: Images, labels: Labels) -> float:
    """Share of samples classified right."""
    model.eval()
    return float((logits(model, images).argmax(axis=1) == labels).mean())


def gradient_norms(
    model: nn.Module, images: Images, labels: Labels, batch: int = 64
) -> npt.NDArray[np.float32]:
    """Norm of each sample's loss gradient in *all* parameters (GraNd as published), (n,).

    In evaluation mode: with batch statistics a gradient would not belong to one sample.
    """
    weights = {name: p.detach() for name, p in model.named_parameters()}
    buffers = dict(model.named_buffers())
    device = device_of(model)

    def loss(weights: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        output = torch.func.functional_call(model, (weights, buffers), (x[None],))
        return functional.cross_entropy(output, y[None])

    gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    norms = []
    with evaluation(model):
        for start in range(0, len(labels), batch):
            x = torch.from_numpy(np.ascontiguousarray(images[start : start + batch])).to(device)
            y = torch.from_numpy(labels[start : start + batch]).to(device)
            parts = gradients(weights, _as_float(x), y).values()
            squares = torch.stack([part.flatten(1).square().sum(dim=1) for part in parts])
            norms.append(squares.sum(dim=0).sqrt().cpu().numpy())
    return np.concatenate(norms)


def _as_float(x: torch.Tensor) -> torch.Tensor:
    return x.float().div_(255.0) if x.dtype == torch.uint8 else x


def _augmented(x: torch.Tensor, recipe: Recipe, generator: torch.Generator) -> torch.Tensor:
    """Random crops from a padded image and flips, each sample its own."""
    if recipe.crop:
        b, _, height, width = x.shape
        padded = functional.pad(x, (recipe.crop,) * 4)
        corner = torch.randint(0, 2 * recipe.crop + 1, (2, b, 1), generator=generator).to(x.device)
        rows = corner[0] + torch.arange(height, device=x.device)
        columns = corner[1] + torch.arange(width, device=x.device)
        sample = torch.arange(b, device=x.device)[:, None, None]
        # Indices around a slice put the indexed axes first: (b, height, width, channels).
        x = padded[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if recipe.flip:
        flipped = (torch.rand(len(x), generator=generator) < 0.5).to(x.device)
        x = torch.where(flipped[:, None, None, None], x.flip(3), x)
    return x.contiguous()


@torch.no_grad()
def _norms(model: nn.Module, x_all: torch.Tensor, y_all: torch.Tensor) -> npt.NDArray[np.float32]:
    """||p - y|| and ||p - y|| ||[h, 1]|| of every sample, (2, n)."""
    inputs: list[torch.Tensor] = []
    handle = find_layer(model, None).register_forward_pre_hook(
        lambda _, found: inputs.append(found[0].detach())
    )
    parts = []
    try:
        with evaluation(model):
            for start in range(0, len(y_all), _TEST_BATCH):
                inputs.clear()
                y = y_all[start : start + _TEST_BATCH]
                p = model(_as_float(x_all[start : start + _TEST_BATCH])).float().softmax(dim=1)
                p[torch.arange(len(y), device=p.device), y] -= 1.0
                error = p.norm(dim=1)
                scale = (inputs[0].float().square().sum(dim=1) + 1.0).sqrt()
                parts.append(torch.stack([error, error * scale]).cpu().numpy())
    finally:
        handle.remove()
    return np.concatenate(parts, axis=1)


def _save(
    path: Path,
    run: dict[str, Any],
    epoch: int,
    parts: dict[str, Any],
    generator: torch.Generator,
    recorder: Recorder | None,
) -> None:
    state = {name: part.state_dict() for name, part in parts.items()}
    state["random"] = [generator.get_state(), torch.random.get_rng_state()]
    if recorder is not None:
        state["correct"] = [torch.from_numpy(entry) for entry in recorder.correct]
        state["norms"] = [torch.from_numpy(entry) for entry in recorder.norms]
    buffer = io.BytesIO()
    torch.save({"run": run, "epoch": epoch, **state}, buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_beside(path, buffer.getvalue())


def _resume(
    path: Path,
    run: dict[str, Any],
    parts: dict[str, Any],
    generator: torch.Generator,
    recorder: Recorder | None,
) -> int:
    """Put everything back as it was; the epochs that were done."""
    state = torch.load(path, weights_only=True)
    if state["run"] != run:
        raise ValueError(f"checkpoint must be of the run {run}, found {state['run']}: {path}")
    for name, part in parts.items():
        part.load_state_dict(state[name])
    generator.set_state(state["random"][0])
    torch.random.set_rng_state(state["random"][1])
    if recorder is not None:
        if "correct" not in state:
            raise ValueError(f"checkpoint must hold a recording, found none: {path}")
        recorder.correct = [entry.numpy() for entry in state["correct"]]
        recorder.norms = [entry.numpy() for entry in state["norms"]]
    return int(state["epoch"])
