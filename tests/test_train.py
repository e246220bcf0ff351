"""Networks and training: shapes, recipe, augmentation, recording, checkpoints."""

import numpy as np
import pytest
import torch

from dprune import scores, train
from dprune._torch import find_layer
from dprune.data import digits
from dprune.models import ConvNet, SmallCNN, convnet_space, network, parameters, seeded


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data():
    return digits().take(200)


QUICK = train.Recipe(epochs=4, batch=32)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("name", ["small", "convnet", "senet", "resnet18", "resnet50"])
@pytest.mark.parametrize(("channels", "pixels"), [(1, 16), (3, 32)])
def test_every_network_takes_small_images(name, channels, pixels):
    model = network(name, 7, channels, pixels, width=4)
    assert model.eval()(torch.zeros(2, channels, pixels, pixels)).shape == (2, 7)
    assert isinstance(
        [m for m in model.modules() if isinstance(m, torch.nn.Linear)][-1].bias, torch.Tensor
    )


def test_networks_of_torchvision_end_in_a_head():
    model = network("torchvision:mobilenet_v3_small", 7, 3, 64)
    assert model.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 7)
    assert find_layer(model, None).out_features == 7
    with pytest.raises(ValueError, match="channels must be 3 and width None with torchvision:res"):
        network("torchvision:resnet18", 7, 1)
    with pytest.raises(
        ValueError, match=r"name must be torchvision: and one of alexnet, .*'lenet'"
    ):
        network("torchvision:lenet", 7)


def test_sizes_are_those_of_the_paper():
    # ResNet-18 and -50 with a 3 x 3 stem and 10 classes; the small network has 1.25 million.
    assert parameters(network("resnet18", 10)) == 11_173_962
    assert parameters(network("resnet50", 10)) == 23_520_842
    assert abs(parameters(network("senet", 10)) - 1.25e6) < 0.05e6


def test_the_convnet_space_has_720_networks():
    space = convnet_space()
    assert len(set(map(str, space))) == len(space) == 720
    x = torch.rand(3, 1, 8, 8)
    for shape in convnet_space(widths=(4,)):
        assert ConvNet(10, 1, 8, shape)(x).shape == (3, 10)


def test_recipe_is_the_papers_and_checks_its_fields():
    recipe = train.Recipe.paper(epochs=100)
    assert (recipe.epochs, recipe.batch, recipe.lr, recipe.momentum) == (100, 128, 0.01, 0.9)
    assert (recipe.weight_decay, recipe.crop, recipe.flip) == (5e-4, 4, True)
    few = train.Recipe(epochs=3, batch=32, least_steps=100)
    assert [few.epochs_for(n) for n in (32, 320, 3200)] == [100, 10, 3]
    with pytest.raises(ValueError, match="epochs must be positive, found 0"):
        train.Recipe(epochs=0)
    with pytest.raises(ValueError, match="precision must be one of float32, bfloat16, float16"):
        train.Recipe(precision="int8")
    with pytest.raises(ValueError, match="crop must not be negative, found -1"):
        train.Recipe(crop=-1)


def test_augmentation_moves_each_image_by_itself():
    x = torch.rand(50, 2, 6, 5)
    moved = train._augmented(x, train.Recipe(crop=2), torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2))
    corners = set()
    for i in range(50):
        places = [
            (r, c)
            for r in range(5)
            for c in range(5)
            if torch.equal(padded[i, :, r : r + 6, c : c + 5], moved[i])
        ]
        assert len(places) == 1
        corners.add(places[0])
    assert len(corners) > 15
    flipped = train._augmented(x, train.Recipe(flip=True), torch.Generator().manual_seed(0))
    same = [torch.equal(flipped[i], x[i]) for i in range(50)]
    assert 10 < sum(same) < 40
    assert all(torch.equal(flipped[i], x[i].flip(2)) for i in range(50) if not same[i])


def test_an_epoch_is_cut_into_even_batches(data):
    sizes, seen = [], []

    class Watched(SmallCNN):
        def forward(self, x):
            sizes.append(len(x))
            seen.append(x.detach().sum(dim=(1, 2, 3)))
            return super().forward(x)

    recipe = train.Recipe(epochs=2, batch=32)
    train.fit(Watched(10), data.images[:65], data.labels[:65], recipe)
    assert sizes == [22, 22, 21] * 2
    for epoch in (torch.cat(seen[:3]), torch.cat(seen[3:])):  # every sample once
        expected = np.sort(data.images[:65].sum(axis=(1, 2, 3)))
        np.testing.assert_allclose(np.sort(epoch.numpy()), expected, rtol=1e-5)
    assert not torch.equal(seen[0], seen[3])


def test_the_seed_decides_and_uint8_is_the_same_data(data):
    def trained(images, seed):
        model = seeded(seed, SmallCNN, 10)
        return weights(train.fit(model, images, data.labels, QUICK, seed))

    state = torch.random.get_rng_state()
    images = np.round(data.images * 255).astype(np.uint8)
    assert torch.equal(trained(images, 0), trained(images, 0))
    assert torch.equal(state, torch.random.get_rng_state())
    assert not torch.equal(trained(images, 0), trained(images, 1))
    as_float = images.astype(np.float32) / np.float32(255)
    assert torch.allclose(trained(images, 0), trained(as_float, 0), atol=1e-4)


def test_training_records_what_happens_to_each_sample(data):
    recorder = train.Recorder((1, 4))
    plain, model = seeded(0, SmallCNN, 10), seeded(0, SmallCNN, 10)
    train.fit(plain, data.images, data.labels, QUICK)
    train.fit(model, data.images, data.labels, QUICK, recorder=recorder)
    assert torch.equal(weights(plain), weights(model))  # watching changes nothing
    run = recorder.trajectory(seed=5)
    assert run.correct.shape == (4, 200)
    assert run.correct[3].mean() > run.correct[0].mean()
    # The last snapshot is that of the trained network: compare with scores from arrays.
    outputs = train.logits(model, data.images)
    p = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    with torch.no_grad():
        features = torch.nn.Sequential(*list(model)[:-1])(torch.from_numpy(data.images)).numpy()
    np.testing.assert_allclose(scores.el2n(run, epoch=4), scores.el2n(p, data.labels), atol=1e-5)
    expected = scores.grand(p, data.labels, features)
    np.testing.assert_allclose(scores.grand(run, epoch=4), expected, rtol=1e-3, atol=1e-5)


def test_gradient_norms_are_those_of_single_samples(data):
    model = network("senet", 10, 1, 8, width=4).eval()
    norms = train.gradient_norms(model, data.images[:5], data.labels[:5], batch=3)
    for i in range(5):
        model.zero_grad()
        x = torch.from_numpy(data.images[i : i + 1])
        y = torch.from_numpy(data.labels[i : i + 1])
        torch.nn.functional.cross_entropy(model(x), y).backward()
        whole = torch.cat([p.grad.flatten() for p in model.parameters()])
        assert norms[i] == pytest.approx(float(whole.norm()), rel=1e-4)


def test_an_interrupted_run_ends_like_a_whole_one(data, tmp_path):
    recipe = train.Recipe(epochs=6, batch=32, crop=1)
    whole, recorded = network("senet", 10, 1, 8, width=4), train.Recorder((2, 5))
    state = {name: value.clone() for name, value in whole.state_dict().items()}
    train.fit(whole, data.images, data.labels, recipe, 3, recorder=recorded)

    class Cut(train.Recorder):
        def __init__(self):
            super().__init__((2, 5))
            self.appended = 0
            self.correct = CutList()

    class CutList(list):
        def append(self, entry):
            if len(self) == 4:
                raise KeyboardInterrupt
            super().append(entry)

    path = tmp_path / "run" / "checkpoint.pt"
    model = network("senet", 10, 1, 8, width=4)
    model.load_state_dict(state)
    with pytest.raises(KeyboardInterrupt):
        train.fit(
            model,
            data.images,
            data.labels,
            recipe,
            3,
            recorder=Cut(),
            checkpoint=path,
            checkpoint_every=2,
        )
    fresh, again = network("senet", 10, 1, 8, width=4), train.Recorder((2, 5))
    train.fit(fresh, data.images, data.labels, recipe, 3, recorder=again, checkpoint=path)
    assert torch.equal(weights(whole), weights(fresh))
    assert (recorded.trajectory().correct == again.trajectory().correct).all()
    assert (recorded.trajectory().error_norms == again.trajectory().error_norms).all()
    with pytest.raises(ValueError, match="checkpoint must be of the run"):
        train.fit(fresh, data.images, data.labels, recipe, 4, checkpoint=path)


def test_mixed_precision_learns(data):
    model = seeded(0, SmallCNN, 10)
    recipe = train.Recipe(epochs=8, batch=8, precision="bfloat16")
    train.fit(model, data.images, data.labels, recipe)
    assert train.accuracy(model, data.test_images, data.test_labels) > 0.7
