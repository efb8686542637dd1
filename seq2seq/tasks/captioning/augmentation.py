"""Random changes to a batch of images that leave their captions true.

All of a batch at once, in torch; all randomness from the generator that is given, and as much of
it whatever is switched on, so that a resumed run draws what the first one would have drawn.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch
from torch.nn import functional

from seq2seq.images.files import MEAN

_ASPECT = 4 / 3  # at most so much wider, or narrower, than the image a crop is
_COVERED = (0.02, 0.25)  # of the area, what a cover hides
_COVER_ASPECT = 5 / 2  # at most so much wider, or higher, than a square it is
_SIDES = re.compile(r"\b(?:left|right)(?:most|hand|ward|wards)?\b", re.IGNORECASE)
_GREY = (0.299, 0.587, 0.114)  # brightness of red, green and blue (ITU-R BT.601)


def augment(
    images: torch.Tensor,
    generator: torch.Generator,
    crop: float = 1.0,
    flip: float | torch.Tensor = 0.0,
    colour: float = 0.0,
    size: int | None = None,
    erase: float = 0.0,
) -> torch.Tensor:
    """Crop, mirror, recolour and cover each image by chance.

    - crop: a rectangle whose share of the image's area is drawn from [crop, 1] and whose
      proportions from [3/4, 4/3] on a log scale (as far as they fit in), anywhere in the image,
      scaled up to the whole of it (Szegedy et al. 2015, section 6).
    - flip: mirrored left to right with this probability. Off by default: where captions tell
      left from right, a mirrored image makes them false (see ``names_sides``).
    - colour: brightness, contrast and saturation, in this order, each times a factor drawn from
      [1 - colour, 1 + colour].
    - erase: with this probability a rectangle of 2 to 25% of the area and of proportions from 2/5
      to 5/2 is covered with the mean colour of photographs (Zhong et al. 2020).

    Args:
        images: (B, 3, P, P) uint8.
        generator: on the CPU; numbers are drawn in the same quantity whatever the options.
        crop: smallest share of the area, in (0, 1]; 1 switches it off.
        flip: one probability, or (B,) of them, one for each image.
        colour: in [0, 1]; 0 switches it off.
        erase: in [0, 1]; 0 switches it off.
        size: p, pixels a side of the result; P when None.

    Returns:
        (B, 3, p, p) uint8.

    Raises:
        ValueError: an option out of its range.
    """
    if not 0 < crop <= 1:
        raise ValueError(f"crop is {crop}; expected a share of the area in (0, 1]")
    if not 0 <= colour <= 1:
        raise ValueError(f"colour is {colour}; expected a number in [0, 1]")
    if not 0 <= erase <= 1:
        raise ValueError(f"erase is {erase}; expected a number in [0, 1]")
    rows = len(images)
    draws = torch.rand(8, rows, generator=generator).to(images.device)  # (8, B), in [0, 1)
    size = images.shape[-1] if size is None else size
    mirrored = draws[4] < flip  # (B,)
    if crop < 1 or size != images.shape[-1]:
        pixels = _crop(images.float(), draws[:4], crop, mirrored, size)
    else:
        pixels = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    if colour > 0:
        factors = 1 + colour * (2 * draws[5:] - 1)  # (3, B)
        pixels = _recolour(pixels.float(), *factors)
    if pixels.dtype != torch.uint8:
        pixels = pixels.round_().clamp_(0, 255).to(torch.uint8)
    covers = torch.rand(5, rows, generator=generator).to(images.device)  # (5, B), in [0, 1)
    return _cover(pixels, covers, erase) if erase > 0 else pixels


def names_sides(captions: Sequence[str]) -> bool:
    """Whether any caption speaks of left or right (in English), so that its image must not be
    mirrored. ("right" as in "right next to" is taken for a side, too: better one too many.)"""
    return any(_SIDES.search(caption) for caption in captions)


def _crop(
    images: torch.Tensor, draws: torch.Tensor, smallest: float, mirrored: torch.Tensor, size: int
) -> torch.Tensor:
    """Rectangles of (B, 3, P, P) images, each scaled to (B, 3, p, p)."""
    area, proportion, across, down = draws  # (B,) each, in [0, 1)
    area = smallest + (1 - smallest) * area
    # Neither side may be longer than the image: sqrt(area * r) <= 1 and sqrt(area / r) <= 1.
    reach = torch.minimum(-area.log(), torch.full_like(area, math.log(_ASPECT)))
    ratio = (reach * (2 * proportion - 1)).exp()
    width, height = (area * ratio).sqrt(), (area / ratio).sqrt()  # of the image's sides
    x, y = (1 - width) * (2 * across - 1), (1 - height) * (2 * down - 1)  # centre, in [-1, 1]
    zero = torch.zeros_like(width)
    sign = torch.where(mirrored, -1.0, 1.0)
    rows = [torch.stack([sign * width, zero, x]), torch.stack([zero, height, y])]
    maps = torch.stack(rows).permute(2, 0, 1)  # (B, 2, 3): from the result's places to the image's
    grid = functional.affine_grid(maps, [len(images), 3, size, size], align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _cover(images: torch.Tensor, draws: torch.Tensor, erase: float) -> torch.Tensor:
    """A rectangle of some of (B, 3, P, P) images in one colour."""
    chosen, area, proportion, across, down = draws  # (B,) each, in [0, 1)
    area = _COVERED[0] + (_COVERED[1] - _COVERED[0]) * area
    ratio = (math.log(_COVER_ASPECT) * (2 * proportion - 1)).exp()
    width, height = (area * ratio).sqrt(), (area / ratio).sqrt()  # of the image's sides, below 1
    places = (torch.arange(images.shape[-1], device=images.device) + 0.5) / images.shape[-1]  # (P,)
    left, top = ((1 - width) * across)[:, None], ((1 - height) * down)[:, None]
    inside_x = (places >= left) & (places < left + width[:, None])  # (B, P)
    inside_y = (places >= top) & (places < top + height[:, None])
    inside = inside_y[:, None, :, None] & inside_x[:, None, None, :]  # (B, 1, P, P)
    inside = inside & (chosen < erase)[:, None, None, None]
    colour = torch.tensor(MEAN, device=images.device).mul(255).round().to(torch.uint8)
    return torch.where(inside, colour[:, None, None], images)


def _recolour(
    images: torch.Tensor, brightness: torch.Tensor, contrast: torch.Tensor, saturation: torch.Tensor
) -> torch.Tensor:
    """Each factor is (B,): towards black, towards the image's mean grey, towards each pixel's."""
    weights = torch.tensor(_GREY, device=images.device)[:, None, None]  # (3, 1, 1)
    images = (images * brightness[:, None, None, None]).clamp_(0, 255)
    mean = (images * weights).sum(1, keepdim=True).mean((2, 3), keepdim=True)  # (B, 1, 1, 1)
    images = mean.lerp(images, contrast[:, None, None, None]).clamp_(0, 255)
    grey = (images * weights).sum(1, keepdim=True)  # (B, 1, P, P)
    return grey.lerp(images, saturation[:, None, None, None])
