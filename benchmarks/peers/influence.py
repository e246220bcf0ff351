"""Influence rows by dprune and by other libraries, side by side, against a float64 oracle.

n = 2,000, d = 256, C = 10, lam = 1e-3, one thread, one run. In a virtual environment of its own:

    python -m venv .venv-peers
    .venv-peers/bin/pip install -c constraints.txt torch numpy scikit-build-core pybind11 cmake
    .venv-peers/bin/pip install -c constraints.txt pyDVL distributed zarr dattri \
        curvlinops-for-pytorch kronfluence ninja
    .venv-peers/bin/pip install --no-build-isolation --no-deps .
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 \
        .venv-peers/bin/python benchmarks/peers/influence.py

All are given the same fitted linear head. Wall and processor seconds, the median of several runs
where they are short. Errors are largest relative errors of a row, and, where a
library gives only inner products, the relative Frobenius error of 100 x 2,000 of them.
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dprune

warnings.filterwarnings("ignore")
N, D, C, LAM = 2000, 256, 10, 1e-3
QUERIES = 100
# Rows that a library solves for when all of them would take too long.
FEW = 16


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    scale = np.arange(1, D + 1) ** -0.5
    X = np.maximum(rng.standard_normal((N, D)) * scale, 0).astype(np.float32)
    planted = 3 * rng.standard_normal((C, D))
    y = np.argmax(X @ planted.T + rng.gumbel(size=(N, C)), axis=1)
    head = dprune.LastLayer.fit(X, y, LAM)
    H, G = dense(head)
    truth = np.linalg.solve(H, G.T).T / N
    names = ("dprune", "pyDVL", "dattri", "curvlinops-for-pytorch", "kronfluence", "torch")
    print(
        f"{platform.processor() or platform.machine()}, one thread, python {sys.version.split()[0]}"
    )
    print(", ".join(f"{name} {version(name)}" for name in names))
    print(f"n = {N}, d = {D}, C = {C}, lam = {LAM}, condition {np.linalg.norm(H, 2) / LAM:.0f}\n")
    print("| method | seconds | processor s | error | note |\n|---|---|---|---|---|")

    model = linear(head)
    x, t = torch.from_numpy(X), torch.from_numpy(y)

    def rows(method: str) -> Callable[[], dprune.InfluenceRows]:
        # A fresh head: nothing that an earlier run has computed is used again.
        return lambda: dprune.influence(dprune.LastLayer(X, y, LAM, head.theta), method)

    report("dprune dense", rows("dense"), truth, repeat=5)
    report("dprune pcg", rows("pcg"), truth, note="all rows to a residual of 1e-5")
    report("dprune kfac", rows("kfac"), truth, repeat=5, note="factored rows")
    report("dprune lissa", lambda: lissa(head), truth, note="as the paper; 16 rows", rows=few())
    report("pyDVL direct", lambda: pydvl(model, x, t), truth, repeat=3)
    report("dattri explicit", lambda: dattri_explicit(model, x, t, np.arange(N)), truth)
    report("dattri cg", lambda: dattri_cg(model, x, t), truth, note="16 rows", rows=few())
    report("curvlinops cg", lambda: curvlinops_cg(model, x, t), truth, note="16 rows", rows=few())
    try:
        kronfluence(model, x, t, G, truth)
    except Exception as error:  # the table goes on without it
        print(f"| kronfluence ekfac | - | - | - | failed: {type(error).__name__}: {error} |")


def few() -> np.ndarray:
    return np.linspace(0, N - 1, FEW).astype(int)


def report(
    name: str,
    run: Callable[[], Any],
    truth: np.ndarray,
    *,
    repeat: int = 1,
    note: str = "",
    rows: np.ndarray | slice = slice(None),
) -> None:
    wall, busy = [], []
    for _ in range(repeat):
        start, start_busy = time.perf_counter(), time.process_time()
        found = run()
        wall.append(time.perf_counter() - start)
        busy.append(time.process_time() - start_busy)
    if isinstance(found, dprune.InfluenceRows):
        found = found.expand()
    gap = np.linalg.norm(found - truth[rows], axis=1) / np.linalg.norm(truth[rows], axis=1)
    times = f"{statistics.median(wall):.3f} | {statistics.median(busy):.3f}"
    print(f"| {name} | {times} | {gap.max():.1e} | {note} |", flush=True)


def dense(head: dprune.LastLayer) -> tuple[np.ndarray, np.ndarray]:
    """Hessian and gradients in all C (d + 1) parameters, float64, no structure."""
    h = np.hstack([head.features.astype(np.float64), np.ones((N, 1))])
    z = h @ head.theta.T
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    H = np.zeros((C, D + 1, C, D + 1))
    for a in range(C):
        for b in range(C):
            H[a, :, b] = (h * (p[:, a] * ((a == b) - p[:, b]))[:, None]).T @ h / N
    H = H.reshape(C * (D + 1), -1) + LAM * np.eye(C * (D + 1))
    g = (p - np.eye(C)[head.labels])[:, :, None] * h[:, None, :]
    return H, g.reshape(N, -1)


def linear(head: dprune.LastLayer) -> nn.Linear:
    """Weights and bias as one matrix acting on [x, 1] would not fit these libraries' models."""
    layer = nn.Linear(D, C)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(head.theta[:, :-1]))
        layer.bias.copy_(torch.from_numpy(head.theta[:, -1]))
    return layer


def in_order(flat: np.ndarray) -> np.ndarray:
    """(rows, all weights then all biases) to dprune's class-by-class order."""
    weight = flat[:, : C * D].reshape(len(flat), C, D)
    return np.concatenate([weight, flat[:, C * D :, None]], axis=2).reshape(len(flat), -1)


def lissa(head: dprune.LastLayer) -> np.ndarray:
    from dprune import iterative

    few_rows = few()
    rhs = head.gradients(few_rows).T / N
    x, _ = iterative.lissa_solve(head, rhs, np.random.default_rng(0))
    q = head.hessian.contrasts
    return np.einsum("ck,nkj->ncj", q, x.T.reshape(FEW, *head.hessian.shape)).reshape(FEW, -1)


def pydvl(model: nn.Linear, x: torch.Tensor, t: torch.Tensor) -> np.ndarray:
    from pydvl.influence.torch import DirectInfluence

    direct = DirectInfluence(model, nn.functional.cross_entropy, regularization=LAM)
    direct.fit(DataLoader(TensorDataset(x, t), batch_size=N))
    return in_order(direct.influence_factors(x, t).detach().numpy()) / N


def flat_gradients(model: nn.Linear, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    errors = torch.softmax(model(x), dim=1).detach()
    errors[torch.arange(len(t)), t] -= 1
    return torch.cat([(errors[:, :, None] * x[:, None, :]).flatten(1), errors], dim=1)


def dattri_loss(x: torch.Tensor, t: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    def loss(theta: torch.Tensor) -> torch.Tensor:
        weight, bias = theta[: C * D].reshape(C, D), theta[C * D :]
        return nn.functional.cross_entropy(x @ weight.T + bias, t)

    return loss


def dattri_parameters(model: nn.Linear) -> torch.Tensor:
    return torch.cat([model.weight.detach().flatten(), model.bias.detach()])


def dattri_explicit(
    model: nn.Linear, x: torch.Tensor, t: torch.Tensor, rows: np.ndarray
) -> np.ndarray:
    from dattri.func.hessian import ihvp_explicit

    solve = ihvp_explicit(dattri_loss(x, t), argnums=0, regularization=LAM)
    found = solve((dattri_parameters(model),), flat_gradients(model, x[rows], t[rows]))
    return in_order(found.detach().numpy()) / N


def dattri_cg(model: nn.Linear, x: torch.Tensor, t: torch.Tensor) -> np.ndarray:
    from dattri.func.hessian import ihvp_cg

    solve = ihvp_cg(dattri_loss(x, t), argnums=0, max_iter=100, tol=1e-7, regularization=LAM)
    found = solve((dattri_parameters(model),), flat_gradients(model, x[few()], t[few()]))
    return in_order(found.detach().numpy()) / N


def curvlinops_cg(model: nn.Linear, x: torch.Tensor, t: torch.Tensor) -> np.ndarray:
    from curvlinops import CGInverseLinearOperator, HessianLinearOperator
    from curvlinops.examples import IdentityLinearOperator

    parameters = list(model.parameters())
    hessian = HessianLinearOperator(
        model, nn.CrossEntropyLoss(), parameters, [(x, t)], check_deterministic=False
    )
    shapes = [p.shape for p in parameters]
    damping = IdentityLinearOperator(shapes, x.device, x.dtype)
    inverse = CGInverseLinearOperator(hessian + LAM * damping, tolerance=1e-6, max_iter=200)
    found = inverse @ flat_gradients(model, x[few()], t[few()]).T
    return in_order(found.T.detach().numpy()) / N


def kronfluence(
    model: nn.Linear, x: torch.Tensor, t: torch.Tensor, G: np.ndarray, truth: np.ndarray
) -> None:
    """EKFAC with the damping lam; only inner products g_q . H^-1 g_i come out."""
    import tempfile

    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments, ScoreArguments
    from kronfluence.task import Task

    class Classification(Task):
        def compute_train_loss(self, batch, model, sample=False):
            inputs, labels = batch
            logits = model(inputs)
            if sample:
                labels = torch.multinomial(logits.softmax(dim=1).detach(), 1).flatten()
            return nn.functional.cross_entropy(logits, labels, reduction="sum")

        def compute_measurement(self, batch, model):
            return self.compute_train_loss(batch, model)

    task = Classification()
    data = TensorDataset(x, t)
    wrapped = prepare_model(nn.Sequential(linear_copy(model)), task)
    with tempfile.TemporaryDirectory() as folder:
        analyzer = Analyzer("bench", wrapped, task, cpu=True, output_dir=folder, disable_tqdm=True)
        start, start_busy = time.perf_counter(), time.process_time()
        analyzer.fit_all_factors(
            "ekfac", data, per_device_batch_size=500, factor_args=FactorArguments("ekfac")
        )
        analyzer.compute_pairwise_scores(
            scores_name="scores",
            factors_name="ekfac",
            query_dataset=torch.utils.data.Subset(data, range(QUERIES)),
            train_dataset=data,
            per_device_query_batch_size=QUERIES,
            score_args=ScoreArguments(damping_factor=LAM),
        )
        times = f"{time.perf_counter() - start:.3f} | {time.process_time() - start_busy:.3f}"
        scores = analyzer.load_pairwise_scores("scores")["all_modules"].numpy()
    exact = N * G[:QUERIES] @ truth.T
    # The scale of its loss sums is a matter of convention: the best one is granted.
    scale = np.sum(scores * exact) / np.sum(scores * scores)
    error = np.linalg.norm(scale * scores - exact) / np.linalg.norm(exact)
    print(f"| kronfluence ekfac | {times} | {error:.1e} | {QUERIES} x {N} inner products |")


def linear_copy(model: nn.Linear) -> nn.Linear:
    copy = nn.Linear(D, C)
    copy.load_state_dict(model.state_dict())
    return copy


if __name__ == "__main__":
    main()
