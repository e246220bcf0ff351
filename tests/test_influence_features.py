"""Features streamed from a torch model to a file."""

import numpy as np
import pytest

import dprune
from dprune import _resume

torch = pytest.importorskip("torch")
DataLoader, TensorDataset = torch.utils.data.DataLoader, torch.utils.data.TensorDataset


@pytest.fixture
def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))


@pytest.fixture
def dataset():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(90, 8, generator=generator)
    return TensorDataset(inputs, torch.randint(0, 3, (90,), generator=generator))


class Counting(torch.utils.data.Dataset):
    """Counts what is read."""

    def __init__(self, dataset):
        self.dataset = dataset
        self.read = []

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        self.read.append(index)
        return self.dataset[index]


def test_file_holds_the_features(model, dataset, tmp_path, capsys):
    memory = dprune.LastLayer.from_torch(model, dataset)
    file = dprune.LastLayer.from_torch(model, dataset, out=tmp_path / "x.npy", progress=True)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), memory.features)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy.labels.npy"), memory.labels)
    np.testing.assert_array_equal(file.theta, memory.theta)
    assert file.fingerprint == memory.fingerprint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.npy", "x.npy.labels.npy"]
    assert "90/90" in capsys.readouterr().out


def test_half_precision(model, dataset):
    half = dprune.LastLayer.from_torch(model, dataset, dtype=np.float16)
    assert half.features.dtype == np.float16
    full = dprune.LastLayer.from_torch(model, dataset)
    np.testing.assert_allclose(half.features, full.features, rtol=1e-3, atol=1e-6)
    with pytest.raises(ValueError, match="dtype must be float16 or float32, found int64"):
        dprune.LastLayer.from_torch(model, dataset, dtype=int)


def test_a_killed_run_goes_on(model, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(_resume, "_FLUSH_SECONDS", 0.0)
    counting = Counting(dataset)
    loader = DataLoader(counting, batch_size=16)
    forward = type(model).forward
    calls = []

    def killed(self, inputs):
        calls.append(len(inputs))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return forward(self, inputs)

    monkeypatch.setattr(type(model), "forward", killed)
    with pytest.raises(KeyboardInterrupt):
        dprune.LastLayer.from_torch(model, loader, out=tmp_path / "x.npy")
    monkeypatch.setattr(type(model), "forward", forward)
    counting.read.clear()
    head = dprune.LastLayer.from_torch(model, loader, out=tmp_path / "x.npy")
    assert counting.read == list(range(48, 90))
    truth = dprune.LastLayer.from_torch(model, dataset)
    np.testing.assert_array_equal(head.features, truth.features)
    np.testing.assert_array_equal(head.labels, truth.labels)


def test_another_model_starts_anew(model, dataset, tmp_path):
    (tmp_path / "x.npy.part").write_bytes(b"")
    (tmp_path / "x.npy.part.json").write_text('{"key": "features of another", "done": 50}')
    head = dprune.LastLayer.from_torch(model, dataset, out=tmp_path / "x.npy")
    truth = dprune.LastLayer.from_torch(model, dataset)
    np.testing.assert_array_equal(head.features, truth.features)
