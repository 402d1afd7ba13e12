"""Pictures of the synthetic shop's products, drawn by code: a shape for each product, its colours by theme and brand."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.core.files import atomic_folder
from recsys.core.schema import TITLE
from recsys.data.synthetic.shop_words import THEMES

PICTURE: Final = "picture"
"""The column that names a product's picture."""
SIZE: Final = 64
_GOLDEN: Final = 0.61803398875

Pixels = NDArray[np.uint8]


def draw(theme: int, kind: int, brand: int) -> Pixels:
    """A picture, uint8 (64, 64, 3): equal numbers give equal pictures.

    Parameters
    ----------
    theme : int
        Sets the background.
    kind : int
        Of the product within its theme, which sets the shape.
    brand : int
        Sets the colour, and with the others where the shape stands, and how large it is.
    """
    y, x = np.mgrid[0:SIZE, 0:SIZE] / (SIZE - 1) * 2 - 1
    lot = np.random.default_rng([theme, kind, brand])
    (left, up), size = lot.uniform(-0.15, 0.15, 2), lot.uniform(0.5, 0.75)
    u, v = (x - left) / size, (y - up) / size
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    shapes = (
        radius < 1,
        np.maximum(abs(u), abs(v)) < 0.85,
        abs(u) + abs(v) < 1.1,
        (v < 0.8) & (abs(u) < (v + 1) / 1.8),
        (radius < 1) & (radius > 0.5),
        radius < 0.65 + 0.35 * np.cos(5 * angle),
        (abs(u) < 0.3) | (abs(v) < 0.3),
        (np.maximum(abs(u), abs(v)) < 0.9) & (np.sin(9 * u) > 0),
    )
    inside = shapes[kind % len(shapes)] & (np.maximum(abs(u), abs(v)) < 1.2)
    picture = np.empty((SIZE, SIZE, 3))
    picture[:] = _colour(theme * _GOLDEN, 0.25, 0.95)
    picture *= 1.05 - 0.1 * (y[..., None] + 1)
    picture[inside] = _colour(0.13 + brand * _GOLDEN, 0.75, 0.8)
    return np.clip(picture * 255, 0, 255).astype(np.uint8)


def _colour(hue: float, strength: float, light: float) -> NDArray[np.float64]:
    """HSV to RGB, float (3,) in [0, 1]."""
    steps = (np.array([5.0, 3.0, 1.0]) + (hue % 1) * 6) % 6
    wave: NDArray[np.float64] = light - light * strength * np.clip(np.minimum(steps, 4 - steps), 0, 1)
    return wave


def png(pixels: Pixels) -> bytes:
    """A PNG file (ISO/IEC 15948) of pixels, uint8 (H, W, 3)."""
    height, width = pixels.shape[:2]
    rows = np.concatenate([np.zeros((height, 1), dtype=np.uint8), pixels.reshape(height, -1)], axis=1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def write_pictures(items: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Write a picture of each product of each brand into a folder, all or none, and name them in a column ``picture``.

    Parameters
    ----------
    items : DataFrame
        Of :class:`recsys.data.synthetic.shop.Shop`.
    folder : Path
        An earlier one is replaced.
    """
    themes = {theme.name: number for number, theme in enumerate(THEMES)}
    nouns = {product[0]: number for theme in THEMES for number, product in enumerate(theme.products)}
    brands = {brand: number for number, brand in enumerate(dict.fromkeys(one for theme in THEMES for one in theme.brands))}
    longest_first = sorted(nouns, key=len, reverse=True)
    kinds = [nouns[next(noun for noun in longest_first if noun in title)] for title in items[TITLE]]
    about = list(zip(items["category"].replace_strict(themes), kinds, items["brand"].replace_strict(brands), strict=True))
    with atomic_folder(folder, replace=True) as target:
        for one in sorted(set(about)):
            (target / _name(one)).write_bytes(png(draw(*one)))
    return items.with_columns(pl.Series(PICTURE, [str(folder / _name(one)) for one in about], dtype=pl.String))


def _name(about: tuple[int, int, int]) -> str:
    return "-".join(map(str, about)) + ".png"
