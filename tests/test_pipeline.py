"""Algorithm 1 in one call on a torch model."""

from __future__ import annotations

import numpy as np
import pytest

import dprune

torch = pytest.importorskip("torch")


def test_prune_dataset(digits):
    data = torch.utils.data.TensorDataset(
        torch.from_numpy(digits[0][:400]), torch.from_numpy(digits[1][:400])
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10)
        )
    pruned = dprune.prune_dataset(
        model, data, fraction=0.5, reweight=1, balance="proportional", weight_decay=1e-2
    )
    assert len(pruned.dataset) == 200
    assert pruned.result.norm == pytest.approx(pruned.check.predicted, rel=1e-4)
    assert pruned.check.change < pruned.check.random_change
    kept = np.bincount(digits[1][:400][pruned.result.kept])
    np.testing.assert_allclose(kept, np.bincount(digits[1][:400]) / 2, atol=1)
    within = dprune.prune_dataset(model, data, 0.2, reweight=1, weight_decay=1e-2, sweeps=200)
    assert within.result.norm <= 0.2
