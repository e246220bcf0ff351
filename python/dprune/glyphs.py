"""Glyphs: letters and digits rendered from the font files of this machine.

A data set of tens of thousands of small grey images that needs no download: the fonts differ as
hands do, from plain to barely legible. What it holds depends on the fonts that are installed, so
results name its fingerprint and the number of fonts.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dprune.data import ImageData
from dprune.result import write_beside

CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SUFFIXES = {".ttf", ".otf", ".ttc"}
# No font has this code point: what it draws instead is what missing characters look like.
_MISSING = "\U0010fffe"
_MARGIN = 2
# Many fonts draw 0 and O or 1 and I alike; one that draws more alike has no small letters, say.
_LEAST_DISTINCT = 0.9
_LEAST_FONTS = 5
# For further variants of a character: degrees, share of the size, pixels.
_ROTATION, _SCALING, _SHIFT = 12.0, 0.15, 2.0


def glyphs(
    *,
    classes: int = 36,
    pixels: int = 32,
    variants: int = 1,
    test_share: float = 0.2,
    split: str = "family",
    seed: int = 0,
    fonts: str | Path | Sequence[str | Path] | None = None,
    cache: str | Path | None = None,
) -> ImageData:
    """Digits and letters in all installed fonts, split into training and test by font.

    Parameters
    ----------
    classes : int, default 36
        The first so many of ``0-9A-Za-z``, 2..62.
    pixels : int, default 32
        Height and width.
    variants : int, default 1
        Images of each character and font: the first upright, the others turned, scaled and
        shifted a little at random.
    test_share : float, default 0.2
        Share of the fonts that are for testing, (0, 1).
    split : {"family", "font"}, default "family"
        What is never in both parts. By font, a test font's bold or italic may be among the training
        fonts, which makes an easier test. ``groups`` of the data are the same units.
    seed : int, default 0
        Of the split and the variants.
    fonts : path or paths, optional
        Folders or font files; default the system's and those that come with matplotlib.
    cache : path, optional
        An ``.npz`` file: read if it is there, else written.

    Raises
    ------
    FileNotFoundError
        If fewer than 5 usable fonts are found; says what to install.
    ValueError
        On values out of range, and for a cache that was made with other settings.

    Notes
    -----
    Left out: fonts that miss or leave blank one of the characters, draw more than a tenth of them
    alike, or all of them as an earlier font does. The same fonts give the same arrays: files are
    taken in the order of their contents' hashes, not of their paths.
    """
    if not 2 <= classes <= len(CHARACTERS):
        raise ValueError(f"classes must lie in 2..{len(CHARACTERS)}, found {classes}")
    if pixels < 8:
        raise ValueError(f"pixels must be at least 8, found {pixels}")
    if variants < 1:
        raise ValueError(f"variants must be at least 1, found {variants}")
    if not 0.0 < test_share < 1.0:
        raise ValueError(f"test_share must lie in (0, 1), found {test_share}")
    if split not in ("family", "font"):
        raise ValueError(f"split must be 'family' or 'font', found {split!r}")
    settings = {
        "classes": classes,
        "pixels": pixels,
        "variants": variants,
        "test_share": test_share,
        "split": split,
        "seed": seed,
    }
    if cache is not None and Path(cache).is_file():
        return _from_cache(Path(cache), settings)
    data = _rendered(_font_files(fonts), settings)
    if cache is not None:
        _to_cache(Path(cache), settings, data)
    return data


def _rendered(files: list[Path], settings: dict[str, Any]) -> ImageData:
    characters = CHARACTERS[: settings["classes"]]
    rng = np.random.default_rng(settings["seed"])
    families, sheets, seen = [], [], set()
    for file in files:
        found = _sheet(file, characters, settings["pixels"])
        if found is None or found[1].tobytes() in seen:
            continue
        seen.add(found[1].tobytes())
        families.append(found[0])
        sheets.append(found[1])
    if len(sheets) < _LEAST_FONTS or len(set(families)) < 2:
        raise FileNotFoundError(
            f"glyphs needs at least {_LEAST_FONTS} usable fonts of two families, found "
            f"{len(sheets)} in {len(files)} files; install some (Debian: apt-get install "
            "fonts-aenigma fonts-freefont-ttf fonts-lato fonts-adf-*) or name a folder with fonts="
        )
    images = _varied(np.stack(sheets), settings["variants"], rng)
    unit = np.arange(len(sheets))
    if settings["split"] == "family":
        unit = np.unique(families, return_inverse=True)[1].astype(np.int64)
    in_test = _split(unit, settings["test_share"], rng)
    labels = np.arange(len(characters), dtype=np.int64)

    def part(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        chosen = images[mask]  # (fonts, variants, characters, height, width)
        flat = chosen.reshape(-1, 1, *chosen.shape[3:])
        return flat, np.tile(labels, len(flat) // len(labels))

    return ImageData(
        "glyphs",
        *part(~in_test),
        *part(in_test),
        tuple(characters),
        groups=np.repeat(unit[~in_test], settings["variants"] * len(labels)),
    )


def _font_files(fonts: str | Path | Sequence[str | Path] | None) -> list[Path]:
    """Font files in the order of their contents, each once."""
    if fonts is None:
        import matplotlib as mpl
        from matplotlib.font_manager import findSystemFonts

        places = [Path(path) for path in findSystemFonts()]
        places.append(Path(mpl.get_data_path()) / "fonts" / "ttf")
    elif isinstance(fonts, str | Path):
        places = [Path(fonts)]
    else:
        places = [Path(place) for place in fonts]
    files: set[Path] = set()
    for place in places:
        if place.is_dir():
            files.update(p for p in place.rglob("*") if p.suffix.lower() in _SUFFIXES)
        elif place.is_file():
            files.add(place)
        else:
            raise FileNotFoundError(f"fonts must name folders or files, found nothing at {place}")
    by_content: dict[str, Path] = {}
    for file in sorted(files):
        try:
            by_content.setdefault(hashlib.sha256(file.read_bytes()).hexdigest(), file)
        except OSError:  # not readable for this user
            continue
    return [by_content[digest] for digest in sorted(by_content)]


def _sheet(file: Path, characters: str, pixels: int) -> tuple[str, npt.NDArray[np.uint8]] | None:
    """Family and (characters, pixels, pixels) images of a font, or None if it cannot serve."""
    from PIL import Image, ImageDraw, ImageFont

    try:
        large = ImageFont.truetype(file, 100)
        missing = bytes(large.getmask(_MISSING))
        boxes = [large.getbbox(c) for c in characters]
        extent = max(max(right - left, low - top) for left, top, right, low in boxes)
        if extent <= 0 or any(bytes(large.getmask(c)) == missing for c in characters):
            return None
        font = ImageFont.truetype(file, max(1, int(100 * (pixels - 2 * _MARGIN) / extent)))
        sheet = np.zeros((len(characters), pixels, pixels), dtype=np.uint8)
        for k, c in enumerate(characters):
            left, top, right, low = font.getbbox(c)
            image = Image.new("L", (pixels, pixels))
            corner = ((pixels - left - right) / 2, (pixels - top - low) / 2)
            ImageDraw.Draw(image).text(corner, c, font=font, fill=255)
            sheet[k] = np.asarray(image)
    except (OSError, ValueError):  # not a scalable font, or broken
        return None
    blank = sheet.reshape(len(characters), -1).max(axis=1) < 128
    distinct = len({image.tobytes() for image in sheet})
    if blank.any() or distinct < _LEAST_DISTINCT * len(characters):
        return None
    return str(large.getname()[0]), sheet


def _varied(
    sheets: npt.NDArray[np.uint8], variants: int, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """(fonts, variants, characters, pixels, pixels); the first variant is the sheet itself."""
    from PIL import Image

    images = np.repeat(sheets[:, None], variants, axis=1)
    side = sheets.shape[-1]
    centre = (side - 1) / 2
    for index in np.ndindex(*images.shape[:3]):
        if index[1] == 0:
            continue
        angle = np.deg2rad(rng.uniform(-_ROTATION, _ROTATION))
        scale = 1.0 + rng.uniform(-_SCALING, _SCALING)
        shift = rng.uniform(-_SHIFT, _SHIFT, 2)
        cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
        inverse = (
            *(cos, sin, centre - cos * (centre + shift[0]) - sin * (centre + shift[1])),
            *(-sin, cos, centre + sin * (centre + shift[0]) - cos * (centre + shift[1])),
        )
        turned = Image.fromarray(images[index]).transform(
            (side, side), Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR
        )
        images[index] = np.asarray(turned)
    return images


def _split(
    unit: npt.NDArray[np.int64], test_share: float, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Mask of the test fonts: whole units, in random order, until the share is reached."""
    sizes = np.bincount(unit)
    order = rng.permutation(len(sizes))
    count = int(np.searchsorted(np.cumsum(sizes[order]), test_share * len(unit))) + 1
    return np.isin(unit, order[: min(count, len(order) - 1)])


def _to_cache(path: Path, settings: dict[str, Any], data: ImageData) -> None:
    header = {**settings, "class_names": data.class_names}
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        header=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
        images=data.images,
        labels=data.labels,
        test_images=data.test_images,
        test_labels=data.test_labels,
        groups=np.asarray(data.groups),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_beside(path, buffer.getvalue())


def _from_cache(path: Path, settings: dict[str, Any]) -> ImageData:
    with np.load(path, allow_pickle=False) as file:
        header = json.loads(file["header"].tobytes())
        names = tuple(header.pop("class_names"))
        if header != settings:
            raise ValueError(f"cache must have been made with {settings}, found {header}: {path}")
        return ImageData(
            "glyphs",
            file["images"],
            file["labels"],
            file["test_images"],
            file["test_labels"],
            names,
            file["groups"],
        )
