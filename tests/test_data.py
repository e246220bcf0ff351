"""Data sets: formats as distributed, written small by the tests; glyphs from bundled fonts."""

import dataclasses
import pickle
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image, ImageFont

from dprune import data, files
from dprune.data import ImageData
from dprune.glyphs import glyphs

BUNDLED = Path(mpl.get_data_path()) / "fonts" / "ttf"


def cifar_arrays(n, classes, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 3072), dtype=np.uint8), rng.integers(0, classes, n)


def write_cifar10(folder, kind, n=6):
    folder.mkdir(parents=True)
    batches = []
    for k, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        pixels, labels = cifar_arrays(n, 10, k)
        batches.append((pixels, labels))
        if kind == "py":
            content = {b"data": pixels, b"labels": labels.tolist(), b"batch_label": b"x"}
            (folder / name).write_bytes(pickle.dumps(content, protocol=2))
        else:
            rows = np.column_stack([labels.astype(np.uint8), pixels])
            rows.tofile(folder / f"{name}.bin")
    return batches


@pytest.mark.parametrize("kind", ["py", "bin"])
@pytest.mark.parametrize("parent", [True, False])
def test_cifar10_reads_both_archives(tmp_path, kind, parent):
    folder = tmp_path / f"cifar-10-batches-{kind}"
    batches = write_cifar10(folder, kind)
    found = files.cifar10(tmp_path if parent else folder)
    assert found.images.shape == (30, 3, 32, 32)
    assert found.images.dtype == np.uint8
    for k in range(5):
        pixels, labels = batches[k]
        assert (found.images[6 * k : 6 * k + 6].reshape(6, -1) == pixels).all()
        assert (found.labels[6 * k : 6 * k + 6] == labels).all()
    assert (found.test_images.reshape(6, -1) == batches[5][0]).all()


@pytest.mark.parametrize("kind", ["python", "binary"])
def test_cifar100_uses_the_fine_labels(tmp_path, kind):
    folder = tmp_path / f"cifar-100-{kind}"
    folder.mkdir()
    for name in ("train", "test"):
        pixels, fine = cifar_arrays(7, 100)
        coarse = fine // 5
        if kind == "python":
            content = {
                b"data": pixels,
                b"fine_labels": fine.tolist(),
                b"coarse_labels": coarse.tolist(),
            }
            (folder / name).write_bytes(pickle.dumps(content, protocol=2))
        else:
            np.column_stack([coarse, fine, pixels]).astype(np.uint8).tofile(folder / f"{name}.bin")
    found = data.load("cifar100", tmp_path)
    assert (found.labels == fine).all()
    assert (found.images.reshape(7, -1) == pixels).all()


def test_a_pickle_may_hold_arrays_only(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    write_cifar10(folder, "py")

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "owned",))

    (folder / "data_batch_3").write_bytes(pickle.dumps({b"data": Evil()}))
    with pytest.raises(pickle.UnpicklingError, match="may hold arrays only, found"):
        files.cifar10(tmp_path)
    assert not (tmp_path / "owned").exists()


def test_missing_and_broken_cifar_say_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"unpack the archive of https://\S+ there, as"):
        files.cifar10(tmp_path)
    folder = tmp_path / "cifar-10-batches-bin"
    write_cifar10(folder, "bin")
    (folder / "test_batch.bin").write_bytes(b"123")
    with pytest.raises(ValueError, match="rows of 3073 bytes, found 3 bytes"):
        files.cifar10(tmp_path)


def save_image(path, value, size=(64, 64)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, value).save(path)


def test_tiny_imagenet_reads_its_annotations(tmp_path):
    root = tmp_path / "tiny-imagenet-200"
    for k, name in enumerate(["n02", "n01"]):
        for i in range(3):
            save_image(root / "train" / name / "images" / f"{name}_{i}.JPEG", (0, 100 * k, 0))
    for i in range(2):
        save_image(root / "val" / "images" / f"val_{i}.JPEG", (200, 0, 0))
    (root / "val" / "val_annotations.txt").write_text(
        "val_0.JPEG\tn02\t0\t0\t63\t63\nval_1.JPEG\tn01\t0\t0\t63\t63\n"
    )
    found = data.load("tiny-imagenet", tmp_path)
    assert found.class_names == ("n01", "n02")
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.test_labels.tolist() == [1, 0]
    assert abs(int(found.images[0, 1].mean()) - 100) < 3  # n01 is the green one
    with pytest.raises(FileNotFoundError, match=r"unpack http://\S+ there"):
        files.tiny_imagenet(tmp_path / "elsewhere")


def test_image_folder_with_and_without_a_test_part(tmp_path):
    for part, count in (("train", 4), ("val", 2)):
        for k, name in enumerate(["cat", "dog"]):
            for i in range(count):
                save_image(tmp_path / "a" / part / name / f"{i}.png", (10 * k, 0, 0), (12, 12))
    found = files.image_folder(tmp_path / "a")
    assert found.images.shape == (8, 3, 12, 12)
    assert found.test_labels.tolist() == [0, 0, 1, 1]
    alone = files.image_folder(tmp_path / "a" / "train", test_share=0.25, pixels=8)
    assert alone.images.shape == (6, 3, 8, 8)
    assert alone.class_names == ("cat", "dog")
    save_image(tmp_path / "a" / "train" / "dog" / "large.png", (0, 0, 0), (20, 20))
    with pytest.raises(ValueError, match=r"one size, found .* pass pixels"):
        files.image_folder(tmp_path / "a")
    with pytest.raises(FileNotFoundError, match="found nothing at"):
        files.image_folder(tmp_path / "none")


def test_any_torch_data_set():
    import torch
    from torch.utils.data import TensorDataset

    x, y = torch.rand(5, 3, 4, 4), torch.arange(5)
    found = data.from_torch("mine", TensorDataset(x, y), TensorDataset(x[:2], y[:2]))
    assert (found.images == x.numpy()).all()
    assert found.test_labels.tolist() == [0, 1]
    with pytest.raises(TypeError, match="train must be a map-style data set, found generator"):
        data.from_torch("mine", (i for i in range(3)), None)


@pytest.fixture(scope="module")
def rendered():
    return glyphs(fonts=BUNDLED)


def write_mnist(folder, name, images, labels):
    """The idx files as torchvision unpacks them."""
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    shape = np.array(images.shape, dtype=">i4").tobytes()
    (raw / f"{name}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + shape + images.tobytes())
    count = np.array(len(labels), dtype=">i4").tobytes()
    (raw / f"{name}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + count + labels.tobytes())


def test_a_torchvision_data_set_from_its_files(tmp_path):
    rng = np.random.default_rng(0)
    parts = [
        (rng.integers(0, 256, (n, 28, 28), dtype=np.uint8), np.arange(n, dtype=np.uint8) % 10)
        for n in (20, 10)
    ]
    for name, part in zip(("train", "t10k"), parts, strict=True):
        write_mnist(tmp_path, name, *part)
    found = data.load("torchvision:FashionMNIST", tmp_path)
    assert found.name == "FashionMNIST"
    np.testing.assert_array_equal(found.images[:, 0], parts[0][0])
    np.testing.assert_array_equal(found.labels, parts[0][1])
    np.testing.assert_array_equal(found.test_images[:, 0], parts[1][0])
    with pytest.raises(FileNotFoundError, match="folder must hold FashionMNIST as torchvision"):
        data.load("torchvision:FashionMNIST", tmp_path / "empty")
    with pytest.raises(ValueError, match=r"training and a test part, .* found 'VisionDataset'"):
        data.load("torchvision:VisionDataset", tmp_path)


def test_glyphs_render_every_class_of_every_font(rendered):
    assert rendered.images.dtype == np.uint8
    assert rendered.images.shape[1:] == (1, 32, 32)
    assert len(set(np.bincount(rendered.labels))) == 1
    assert rendered.classes == len(rendered.class_names) == 36
    for images in (rendered.images, rendered.test_images):
        assert (images.reshape(len(images), -1).max(axis=1) >= 128).all()  # none is blank
    sheets = np.concatenate([rendered.images, rendered.test_images]).reshape(-1, 36 * 1024)
    assert len(np.unique(sheets, axis=0)) == len(sheets)  # no font twice
    # It can be learnt: the nearest class mean of the training fonts reads most of the others.
    means = np.stack([rendered.images[rendered.labels == k].mean(axis=0) for k in range(36)])
    gaps = rendered.test_images[:, None].astype(float) - means
    guesses = (gaps**2).sum(axis=(2, 3, 4)).argmin(axis=1)
    assert (guesses == rendered.test_labels).mean() > 0.5


def test_glyphs_of_one_family_are_one_group(rendered):
    names = {ImageFont.truetype(file, 20).getname()[0] for file in BUNDLED.glob("*.ttf")}
    groups = rendered.groups.reshape(-1, 36)
    assert (groups == groups[:, :1]).all()  # a font's characters
    assert 1 < len(np.unique(groups)) < min(len(groups), len(names))  # bold, italic: one family
    part = rendered.take(100)
    rows = {image.tobytes(): g for image, g in zip(rendered.images, rendered.groups, strict=True)}
    assert [rows[image.tobytes()] for image in part.images] == part.groups.tolist()
    without = dataclasses.replace(part, groups=None)
    assert without.fingerprint != part.fingerprint
    with pytest.raises(ValueError, match=r"groups must have shape \(100,\), found \(36,\)"):
        dataclasses.replace(part, groups=part.groups[:36])


def test_glyphs_split_by_font(rendered):
    by_font = glyphs(fonts=BUNDLED, split="font")

    def sheets(found):
        return {sheet.tobytes() for sheet in found.reshape(-1, 36 * 1024)}

    assert sheets(by_font.images) != sheets(rendered.images)
    assert sheets(by_font.images) | sheets(by_font.test_images) == sheets(rendered.images) | sheets(
        rendered.test_images
    )
    fonts = len(by_font.labels) // 36
    assert len(np.unique(by_font.groups)) == fonts
    assert (by_font.groups.reshape(fonts, 36) == by_font.groups[::36, None]).all()
    with pytest.raises(ValueError, match="split must be 'family' or 'font', found 'weight'"):
        glyphs(fonts=BUNDLED, split="weight")


def test_glyphs_are_reproducible_and_cached(rendered, tmp_path):
    cache = tmp_path / "sub" / "glyphs.npz"
    first = glyphs(fonts=BUNDLED, cache=cache)
    assert first.fingerprint == rendered.fingerprint
    again = glyphs(fonts=tmp_path, cache=cache)  # no font is read
    assert again.fingerprint == first.fingerprint
    assert again.class_names == first.class_names
    np.testing.assert_array_equal(again.groups, first.groups)
    with pytest.raises(ValueError, match="cache must have been made with"):
        glyphs(cache=cache, classes=10)


def test_glyph_variants_differ_and_keep_the_first(rendered):
    varied = glyphs(fonts=BUNDLED, variants=2, classes=4)
    plain = glyphs(fonts=BUNDLED, classes=4)
    assert len(varied.images) + len(varied.test_images) == 2 * (
        len(plain.images) + len(plain.test_images)
    )
    sheets = varied.images.reshape(-1, 2, 4, 32, 32)
    assert (sheets[:, 0] != sheets[:, 1]).any(axis=(2, 3)).all()
    correlation = np.corrcoef(sheets[0, 0, 2].ravel(), sheets[0, 1, 2].ravel())[0, 1]
    assert correlation > 0.3


def test_glyphs_skip_fonts_without_the_characters(tmp_path):
    used = glyphs(fonts=BUNDLED, classes=10)
    with_symbols = glyphs(
        fonts=[BUNDLED / "cmex10.ttf", BUNDLED / "cmsy10.ttf", BUNDLED], classes=10
    )
    assert used.fingerprint == with_symbols.fingerprint
    (tmp_path / "broken.ttf").write_bytes(b"not a font")
    with pytest.raises(FileNotFoundError, match=r"found 0 in 1 files; install some .*apt-get"):
        glyphs(fonts=tmp_path)
    with pytest.raises(FileNotFoundError, match="fonts must name folders or files"):
        glyphs(fonts=tmp_path / "none")


def test_take_is_stratified():
    whole = data.digits()
    part = whole.take(200, seed=1)
    assert len(part.labels) == 200
    assert (np.abs(np.bincount(part.labels) - 200 * np.bincount(whole.labels) / 1437) <= 1).all()
    assert part.test_images is whole.test_images
    with pytest.raises(ValueError, match=r"n must lie in 10..1437, found 5000"):
        whole.take(5000)


def test_bad_arrays_and_names_are_refused():
    x, y = np.zeros((3, 1, 4, 4), np.float32), np.zeros(3, np.int64)
    with pytest.raises(ValueError, match="images must be uint8 or float32"):
        ImageData("x", x.astype(float), y, x, y)
    with pytest.raises(ValueError, match=r"test_labels must have shape \(3,\)"):
        ImageData("x", x, y, x, y[:2])
    with pytest.raises(ValueError, match="name must be one of digits, glyphs, cifar10"):
        data.load("mnist")
    with pytest.raises(ValueError, match="folder must say where cifar10 lies"):
        data.load("cifar10")
