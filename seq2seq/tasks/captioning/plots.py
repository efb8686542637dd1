"""Pictures of captions: where each word looked, and contact sheets of images with their captions.

Drawn with matplotlib, which the ``plots`` extra installs, into PNG, SVG or PDF files.
"""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.errors import UsageError
from seq2seq.plotting import END, new_figure, save_figure

if TYPE_CHECKING:
    import numpy
    import torch
    from matplotlib.axes import Axes
    from PIL import Image

    Picture = str | Path | Image.Image | torch.Tensor

_SIDE = 1.5  # inches of one image
_COLUMNS = 6  # images in a row of an overlay
_PIXELS = 300  # a side that images are drawn with
_HEAT = (255, 112, 16)
_COVER = 0.65  # of the image by the colour, where the weight is greatest
_INK = "#1a202c"
_LINE = 0.13  # inches of one line of a caption
_LETTERS = 28  # in a line of a caption


def attention_overlay(
    image: Picture,
    words: Sequence[str],
    weights: torch.Tensor | numpy.ndarray,
    path: str | os.PathLike[str],
    grid: tuple[int, int] | None = None,
) -> Path:
    """Draw an image once for each word of its caption, in grey, coloured where that word looked.

    The weights of each word are scaled up to the image (bilinear) and divided by their greatest
    value, so that faint attention shows, too; colours cannot be compared between words.

    Args:
        image: a file, an image opened by Pillow, or (3, P, P) bytes.
        words: T words.
        weights: (T, h, w), or (T, S) of a grid read row by row; one row more than there are words
            is that of the caption's end.
        path: the picture to write: .png, .svg or .pdf.
        grid: (h, w) of weights (T, S); None: a square.

    Raises:
        UsageError: no words, shapes that do not fit, an image that cannot be read, matplotlib
            missing.
        RunError: the file cannot be written.
    """
    maps = _maps(weights, len(words), grid)  # (T, h, w)
    pixels = _pixels(image)  # (P, P, 3)
    titles = [*words, END][: len(maps)]
    columns = min(_COLUMNS, len(maps) + 1)
    rows = math.ceil((len(maps) + 1) / columns)
    figure = new_figure()
    figure.set_size_inches(columns * _SIDE, rows * (_SIDE + 0.35))
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    _draw(panels[0], pixels, "")
    for axes, title, weight in zip(panels[1:], titles, maps, strict=False):
        _draw(axes, _coloured(pixels, weight), textwrap.shorten(title, 16, placeholder="..."))
    for axes in panels:
        axes.set_axis_off()
    return save_figure(figure, path)


def contact_sheet(
    images: Sequence[Picture],
    captions: Sequence[str],
    path: str | os.PathLike[str],
    columns: int = 5,
) -> Path:
    """Draw images in rows, each with its caption below.

    Args:
        images: N files, images opened by Pillow, or (3, P, P) bytes.
        captions: N texts; line breaks in them are kept, long lines broken.
        path: the picture to write: .png, .svg or .pdf.

    Raises:
        UsageError: no images, another number of captions, an image that cannot be read,
            matplotlib missing.
        RunError: the file cannot be written.
    """
    if len(images) != len(captions) or not images:
        raise UsageError(
            f"{len(images)} images and {len(captions)} captions; expected as many of both, at "
            "least one"
        )
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    texts = ["\n".join(textwrap.fill(x, _LETTERS) for x in c.split("\n")) for c in captions]
    lines = max(text.count("\n") + 1 for text in texts)
    # Laid out by hand: automatic layouts give rows with long captions smaller images.
    cell = (_SIDE + 0.25, _SIDE + 0.2 + _LINE * lines)  # inches
    width, height = columns * cell[0], rows * cell[1]
    figure = new_figure()
    figure.set_layout_engine("none")
    figure.set_size_inches(width, height)
    for number, (image, text) in enumerate(zip(images, texts, strict=True)):
        row, column = divmod(number, columns)
        left, top = column * cell[0] + 0.125, height - row * cell[1] - 0.1
        box = (left / width, (top - _SIDE) / height, _SIDE / width, _SIDE / height)
        axes = figure.add_axes(box)
        axes.set_axis_off()
        _draw(axes, _pixels(image), "")
        middle, below = (left + _SIDE / 2) / width, (top - _SIDE - 0.05) / height
        figure.text(
            middle, below, text, ha="center", va="top", size=7.5, color=_INK, parse_math=False
        )
    return save_figure(figure, path)


def _draw(axes: Axes, pixels: numpy.ndarray, title: str) -> None:
    axes.imshow(pixels, interpolation="antialiased")
    axes.set_title(title, size=10, color=_INK, pad=4, parse_math=False)


def _pixels(image: Picture) -> numpy.ndarray:
    """(P, P, 3) bytes, square, as the model saw it."""
    import torch
    from PIL import Image

    from seq2seq.images.files import read_image

    if isinstance(image, torch.Tensor):
        if image.dim() != 3 or image.shape[0] != 3 or image.dtype != torch.uint8:
            raise UsageError(
                f"image is {tuple(image.shape)} of {image.dtype}; expected (3, P, P) of torch.uint8"
            )
        image = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    return read_image(image, _PIXELS).permute(1, 2, 0).numpy()


def _maps(
    weights: torch.Tensor | numpy.ndarray, words: int, grid: tuple[int, int] | None
) -> numpy.ndarray:
    """Weights as (T, h, w)."""
    import numpy

    maps = numpy.asarray(weights, dtype=float)
    if maps.ndim == 2:
        side = math.isqrt(maps.shape[1])
        height, width = grid or (side, side)
        if height * width != maps.shape[1]:
            raise UsageError(
                f"attention over {maps.shape[1]} places is no grid of {height} x {width}; give "
                "its height and width"
            )
        maps = maps.reshape(len(maps), height, width)
    if maps.ndim != 3 or not words or len(maps) not in (words, words + 1) or not maps[0].size:
        raise UsageError(
            f"attention has shape {numpy.shape(weights)}; expected (T, places) or (T, height, "
            f"width) with T the number of words, {words}, or one more"
        )
    return maps


def _coloured(pixels: numpy.ndarray, weight: numpy.ndarray) -> numpy.ndarray:
    """An image (P, P, 3) in grey with colour over it by the weights (h, w) of one word."""
    import numpy
    import torch

    places = torch.from_numpy(weight)[None, None]  # (1, 1, h, w)
    size = pixels.shape[:2]
    scaled = torch.nn.functional.interpolate(places, size, mode="bilinear")[0, 0].numpy()
    cover = _COVER * (scaled / max(scaled.max(), 1e-12))[..., None]  # (P, P, 1)
    grey = pixels.mean(2, keepdims=True)  # (P, P, 1)
    return (grey * (1 - cover) + numpy.array(_HEAT) * cover).astype(numpy.uint8)
