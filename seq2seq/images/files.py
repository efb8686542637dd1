"""Image files as tensors of one size: (3, P, P) bytes, red, green, blue; P pixels a side.

The whole image is squeezed into the square. A centre crop would keep proportions but cut off
what lies at the sides, of which the caption may well speak, and would show attention over a part
of the picture only; with borders around it, an image would waste a third of its pixels. A model
trained on squeezed images knows them so.

Colour profiles are not applied: values are taken for sRGB.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image

from seq2seq.config.images import IMAGE_ENDINGS
from seq2seq.config.paths import normal_path
from seq2seq.errors import UsageError

MAX_PIXELS = 80_000_000
"""Images of more pixels are refused before they are decoded: a file of kilobytes can unpack to
gigabytes. Pillow itself begins to warn a little beyond this number."""

# Pillow reads more (PostScript, by starting Ghostscript): of strangers' files these are enough.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
SUFFIXES = frozenset(IMAGE_ENDINGS)

# Mean and deviation of ImageNet's photographs: pretrained backbones expect images scaled by them.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

# Silencing a warning changes a list that all threads share.
_WARNINGS = threading.Lock()


class ImageError(UsageError):
    """One image that cannot be used; the message begins with its name."""


def read_image(source: str | Path | Image.Image, size: int) -> torch.Tensor:
    """Decode an image, turn it upright and scale it to ``size`` x ``size``.

    Turned as its EXIF orientation says. Greyscale (of 16 bits, too), palettes and CMYK become
    RGB; what is transparent lies on white. Of an animation the first frame counts. Scaled with
    Pillow's antialiasing bicubic filter, the whole image into the square.

    Args:
        source: a file, or an image that Pillow has opened, which is left as it is.
        size: P, pixels a side.

    Returns:
        (3, P, P) uint8.

    Raises:
        ImageError: neither a file's name nor a Pillow image, no such file, an empty or truncated
            file, none of FORMATS, more than MAX_PIXELS pixels (found out before decoding),
            floating-point pixels.
        UsageError: a size below 1.
    """
    if size < 1:
        raise UsageError(f"image size is {size}; expected at least 1 pixel a side")
    if isinstance(source, Image.Image):
        name = getattr(source, "filename", "") or "image"
        _check_pixels(name, *source.size)
        return _decode(source, size, name)
    given: object = source  # of any type, whatever the annotation says
    if not isinstance(given, (str, os.PathLike)):  # open() takes numbers, too: open files
        kind = type(given).__name__
        raise ImageError(f"an image is {kind}; expected the name of a file or a Pillow image")
    source = name = normal_path(os.fsdecode(source))
    if "\0" in name:
        raise ImageError(f"{name!r}: no name of a file (it holds a null character)")
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        raise ImageError(f"{name!a}: no name of a file (it holds half a character)") from None
    try:
        with open(source, "rb") as stream:
            if not stream.read(1):
                raise ImageError(f"{name}: the file is empty; expected an image")
            stream.seek(0)
            with _open(stream, name) as image:
                # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size: much quicker, and twice
                # what is asked for is enough to scale down from.
                image.draft(None, (2 * size, 2 * size))
                return _decode(image, size, name)
    except OSError as error:
        raise ImageError(f"{name}: cannot be read ({error.strerror or error})") from None


def read_images(
    sources: Iterable[str | Path | Image.Image], size: int
) -> list[torch.Tensor | ImageError]:
    """``read_image`` of each; the error in place of an image that cannot be used.

    So one bad image does not lose the others.
    """
    found: list[torch.Tensor | ImageError] = []
    for source in sources:
        try:
            found.append(read_image(source, size))
        except ImageError as error:
            found.append(error)
    return found


def to_float(
    images: torch.Tensor,
    mean: tuple[float, ...] = MEAN,
    std: tuple[float, ...] = STD,
) -> torch.Tensor:
    """(images / 255 - mean) / std, channel by channel: what the networks read.

    Args:
        images: (..., 3, P, P) uint8.

    Returns:
        (..., 3, P, P) float32.
    """
    scale = 1 / (255 * torch.tensor(std, device=images.device))  # (3,)
    shift = torch.tensor(mean, device=images.device) / torch.tensor(std, device=images.device)
    return images * scale[:, None, None] - shift[:, None, None]


def _open(stream: IO[bytes], name: str) -> Image.Image:
    """The image with its header read, its pixels not yet."""
    try:
        with _WARNINGS, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(stream, formats=FORMATS)
    except Image.DecompressionBombError:
        raise _too_large(name, "more than 160 million pixels") from None
    except Image.UnidentifiedImageError:
        raise ImageError(f"{name}: not an image; expected one of {', '.join(FORMATS)}") from None
    except Exception as error:  # a damaged header can raise anything in Pillow's readers
        raise ImageError(f"{name}: not a readable image ({error})") from None
    _check_pixels(name, *image.size)
    return image


def _check_pixels(name: str, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _too_large(name, f"{width:,} x {height:,} pixels")
    if width * height == 0:
        raise ImageError(f"{name}: {width} x {height} pixels; expected at least 1 x 1")


def _too_large(name: str, size: str) -> ImageError:
    return ImageError(
        f"{name}: {size}, more than the {MAX_PIXELS:,} that are allowed; scale the image down"
    )


def _decode(image: Image.Image, size: int, name: str) -> torch.Tensor:
    try:
        # Scaled before it is turned and recoloured, while that is right: fewer pixels to move.
        small = _to_rgb(image, name).resize((size, size), Image.Resampling.BICUBIC)
        small = _upright(small, image)
        pixels = np.array(small, dtype=np.uint8)  # (P, P, 3)
    except ImageError:
        raise
    except Exception as error:  # damaged data can raise anything in Pillow's readers
        raise ImageError(f"{name}: damaged or truncated image ({error})") from None
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()  # (3, P, P)


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        image.load()
        return image
    if image.mode.startswith("I"):  # 16 bits, also in Pillow's 32-bit mode
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ImageError(
                f"{name}: greyscale values from {values.min()} to {values.max()}; expected 16 "
                "bits, 0 to 65,535"
            )
        return Image.fromarray((values * 255 // 65535).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ImageError(f"{name}: floating-point pixels; convert the image to 8 bits a channel")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _upright(small: Image.Image, image: Image.Image) -> Image.Image:
    """The square turned as the image's EXIF orientation asks for."""
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(image.getexif().get(0x0112, 1))  # 1: upright already
    return small if turn is None else small.transpose(turn)
