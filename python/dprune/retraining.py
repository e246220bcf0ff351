"""Training a plan's network on a kept set, in this process or in workers."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from joblib import Parallel

from dprune import models, train
from dprune.data import ImageData
from dprune.plan import Plan

Indices = npt.NDArray[np.int64]


def trained(
    data: ImageData,
    plan: Plan,
    kept: Indices,
    seed: int,
    out: Path,
    recorder: train.Recorder | None = None,
) -> Any:
    """A network trained from scratch; a checkpoint stands in ``out`` until it is done."""
    shape = (data.classes, data.channels, data.pixels, plan.width)
    model = models.seeded(seed, models.network, plan.network, *shape)
    checkpoint = out / f"checkpoint-{run_key(kept, seed).replace('/', '-')}.pt"
    train.fit(
        model,
        data.images[kept],
        data.labels[kept],
        plan.recipe,
        seed,
        device=plan.device,
        recorder=recorder,
        checkpoint=checkpoint,
    )
    checkpoint.unlink()
    return model


def train_and_test(
    data: ImageData,
    plan: Plan,
    kept: Indices,
    seed: int,
    out: Path,
    test: tuple[npt.NDArray[Any], Indices],
) -> dict[str, float]:
    """Accuracy on ``test``, and the seconds of the training."""
    if plan.jobs > 1:  # in a worker
        torch.set_num_threads(1)
    start = time.perf_counter()
    model = trained(data, plan, kept, seed, out)
    seconds = time.perf_counter() - start
    return {"accuracy": train.accuracy(model, *test), "seconds": seconds}


def run_key(kept: Indices, seed: int) -> str:
    """Names a training in a folder."""
    return f"{hashlib.sha256(kept.tobytes()).hexdigest()[:16]}/{seed}"


def in_workers(plan: Plan, tasks: list[Any]) -> Iterator[dict[str, float]]:
    """Do joblib's ``delayed`` tasks by ``plan.jobs`` processes, in order."""
    # Copied on write: PyTorch warns of arrays that must not be written.
    pool = Parallel(plan.jobs, return_as="generator", mmap_mode="c")
    runs: Iterator[dict[str, float]] = pool(tasks)
    return runs
