"""Fitting the head, and taking it from a torch model."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import dprune
import oracle
from conftest import LOADERS, load_scaled


def gradient(head):
    """Of the head loss, written out."""
    h = np.hstack([head.features.astype(float), np.ones((head.n, 1))])
    errors = oracle.softmax(h @ head.theta.T) - np.eye(head.classes)[head.labels]
    return errors.T @ h / head.n + head.weight_decay * head.theta


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("weight_decay", [1e-2, 1e-4])
def test_fit_reaches_the_minimum(name, weight_decay):
    X, y = load_scaled(name)
    head = dprune.LastLayer.fit(X, y, weight_decay)
    assert np.linalg.norm(gradient(head)) <= 1.0001e-8


def test_fit_equals_scikit_learn():
    """Its penalty leaves the bias free: an explicit column of ones puts it under the penalty."""
    X, y = load_scaled("wine")
    head = dprune.LastLayer.fit(X, y, 1e-2)
    h = np.hstack([X.astype(float), np.ones((len(X), 1))])
    peer = LogisticRegression(
        C=1 / (1e-2 * len(X)), fit_intercept=False, tol=1e-10, max_iter=10_000
    ).fit(h, y)
    np.testing.assert_allclose(head.theta, peer.coef_, atol=1e-6)


def test_fit_from_a_start_finds_the_same():
    X, y = load_scaled("wine")
    cold = dprune.LastLayer.fit(X, y, 1e-2)
    start = 5 * np.random.default_rng(0).standard_normal(cold.theta.shape)
    np.testing.assert_allclose(
        dprune.LastLayer.fit(X, y, 1e-2, start=start).theta, cold.theta, atol=1e-6
    )


def test_loss_is_the_mean_cross_entropy(digits_head, digits):
    p = oracle.softmax(np.hstack([digits[2], np.ones((len(digits[2]), 1))]) @ digits_head.theta.T)
    expected = -np.log(p[np.arange(len(p)), digits[3]]).mean()
    assert digits_head.loss(digits[2], digits[3]) == pytest.approx(expected, rel=1e-12)


def test_change_is_the_sum_of_the_rows(digits_head, digits_rows):
    removed = np.arange(0, 1257, 3)
    S = digits_rows.expand().astype(float)
    for c in (0.0, 1.0):
        m = len(removed)
        expected = (S[removed].sum(axis=0) - c * m * S.mean(axis=0)) / (1 - c * m / 1257)
        found = digits_head.change(removed, reweight=c)
        np.testing.assert_allclose(found.theta.ravel(), expected, atol=1e-6)
        assert found.norm == pytest.approx(np.linalg.norm(expected), rel=1e-6)


def test_fingerprint_names_data_and_order(digits):
    X, y = digits[0][:50], digits[1][:50]
    one = dprune.LastLayer.fit(X, y, 1e-1, classes=10)
    assert one.fingerprint == dprune.LastLayer.fit(X, y, 1e-2, classes=10).fingerprint
    turned = dprune.LastLayer.fit(X[::-1], y[::-1], 1e-1, classes=10)
    assert one.fingerprint != turned.fingerprint


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (
            {"features": np.zeros((4, 2), int)},
            TypeError,
            "features must be float16, float32 or float64",
        ),
        ({"features": np.zeros(4)}, ValueError, "features must have 2 dimensions"),
        ({"features": np.zeros((0, 2))}, ValueError, "features must not be empty"),
        ({"features": np.array([[0.0], [1], [np.nan], [2]])}, ValueError, "features.*row 2"),
        ({"labels": np.array([0, 1, 0])}, ValueError, r"labels must have shape \(4,\)"),
        ({"labels": np.array([0, 1, 0, -1])}, ValueError, "labels.*-1 in row 3"),
        ({"labels": np.zeros(4, int)}, ValueError, "at least 2 classes"),
        ({"weight_decay": 0.0}, ValueError, "weight_decay must be positive"),
        ({"weight_decay": float("inf")}, ValueError, "weight_decay must be positive"),
        ({"start": np.zeros((3, 3))}, ValueError, r"start must have shape \(2, 3\)"),
    ],
)
def test_bad_input(change, error, match):
    arguments = {
        "features": np.random.default_rng(0).standard_normal((4, 2)),
        "labels": np.array([0, 1, 0, 1]),
        **change,
    }
    with pytest.raises(error, match=match):
        dprune.LastLayer.fit(**arguments)


# ---- from torch ----------------------------------------------------------------------------------

torch = pytest.importorskip("torch")
from torch.utils.data import DataLoader, RandomSampler, TensorDataset, WeightedRandomSampler  # noqa: E402


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(
            torch.nn.Linear(8, 6),
            torch.nn.BatchNorm1d(6),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.5),
            torch.nn.Linear(6, 3),
        )


def dataset(n=50):
    rng = np.random.default_rng(0)
    return TensorDataset(
        torch.from_numpy(rng.standard_normal((n, 8), dtype=np.float32)),
        torch.from_numpy(rng.integers(0, 3, n)),
    )


def test_from_torch_takes_the_inputs_of_the_last_layer():
    model, data = network(), dataset()
    model.train()
    model[1].eval()  # mixed modes, all to be put back
    hooks = [len(module._forward_pre_hooks) for module in model.modules()]
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    head = dprune.LastLayer.from_torch(model, DataLoader(data, batch_size=7), refit=False)
    assert [module.training for module in model.modules()] == modes
    assert [len(module._forward_pre_hooks) for module in model.modules()] == hooks
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])
    model.eval()
    with torch.no_grad():
        np.testing.assert_allclose(
            head.features, model[:4](data.tensors[0]).numpy(), rtol=1e-5, atol=1e-6
        )
        np.testing.assert_allclose(
            head.probabilities,
            torch.softmax(model(data.tensors[0]), dim=1).numpy(),
            rtol=1e-4,
            atol=1e-6,
        )
    assert (head.labels == data.tensors[1].numpy()).all()


def test_from_torch_refits():
    head = dprune.LastLayer.from_torch(network(), dataset(), 1e-3)
    assert np.linalg.norm(gradient(head)) <= 1.0001e-8


def test_from_torch_does_not_depend_on_the_batch_size():
    heads = [
        dprune.LastLayer.from_torch(network(), DataLoader(dataset(), batch_size=b), 1e-2)
        for b in (1, 13, 50)
    ]
    for head in heads[1:]:
        np.testing.assert_allclose(head.features, heads[0].features, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(head.theta, heads[0].theta, rtol=1e-4, atol=1e-5)


def test_from_torch_layer_by_name_and_without_bias():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(8, 3, bias=False)
            self.unused = torch.nn.Linear(2, 2)

        def forward(self, x):
            return self.head(x)

    model = Net()
    head = dprune.LastLayer.from_torch(model, dataset(), layer="head", refit=False)
    assert (head.theta[:, -1] == 0).all()
    assert head.features.shape == (50, 8)
    with pytest.raises(ValueError, match="once for each batch, ran 0 times"):
        dprune.LastLayer.from_torch(model, dataset())
    with pytest.raises(ValueError, match=r"layer must name a module.*'tail'"):
        dprune.LastLayer.from_torch(model, dataset(), layer="tail")


def test_hooks_are_removed_after_an_error():
    model = network()
    broken = TensorDataset(torch.zeros(4, 5), torch.zeros(4, dtype=torch.long))
    model.train()
    with pytest.raises(RuntimeError):
        dprune.LastLayer.from_torch(model, broken)
    assert model.training
    assert not model[4]._forward_pre_hooks


@pytest.mark.parametrize(
    ("loader", "match"),
    [
        (lambda d: DataLoader(d, shuffle=True), "shuffle=False.*RandomSampler"),
        (lambda d: DataLoader(d, sampler=RandomSampler(d)), "RandomSampler"),
        (
            lambda d: DataLoader(d, sampler=WeightedRandomSampler([1.0] * len(d), len(d))),
            "WeightedRandomSampler",
        ),
        (lambda d: DataLoader(d, batch_size=8, drop_last=True), "drop_last=True"),
    ],
)
def test_loaders_that_lose_the_order(loader, match):
    with pytest.raises(ValueError, match=match):
        dprune.LastLayer.from_torch(network(), loader(dataset()))


def test_model_without_a_linear():
    with pytest.raises(ValueError, match=r"end in a torch\.nn\.Linear"):
        dprune.LastLayer.from_torch(torch.nn.Conv2d(1, 1, 1), dataset())
