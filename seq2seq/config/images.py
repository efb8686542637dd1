"""The configuration of images as inputs: which files are images, and the network that turns an
image into vectors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from seq2seq.config.checks import MAX_LAYERS, check_fractions
from seq2seq.config.paths import PATH
from seq2seq.errors import UsageError

IMAGE_ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
)
# A folder of images, or a file that lists images beside it.
ImagesText = Annotated[str, PATH, IMAGE_ENDINGS]


@dataclass
class ImageEncoderConfig:
    """What turns an image into vectors."""

    # residual: a CNN trained from scratch; timm: a backbone of that library; features: computed
    # beforehand; constant: the same learned vectors for every image (a baseline that sees nothing)
    kind: Literal["residual", "timm", "features", "constant"] = "residual"
    stem: int = 32  # channels of the first convolution
    widths: list[int] = field(default_factory=lambda: [64, 128, 256, 256])  # channels of stages
    blocks: list[int] = field(default_factory=lambda: [1, 1, 1, 1])  # residual blocks of stages
    strides: list[int] = field(default_factory=lambda: [2, 2, 2, 1])  # of stages; the stem's is 2
    norm: Literal["batch", "group"] = "batch"
    # where in the image a vector stands is added to it: a linear map of column and row
    coordinates: bool = False
    squeeze: bool = False  # channels of a block are weighed by the mean of all (Hu et al. 2018)
    drop_path: float = 0.0  # the last block is left out so often in training, earlier ones less
    dropout: float = 0.0  # of the vectors
    pooled: bool = False  # their mean alone: one vector an image, nothing to look around in
    frozen: bool = False  # weights stay as they were: pretrained ones, or of training.start_from
    backbone: str = "resnet50"  # of timm
    pretrained: bool = True  # its weights, too; only when a run begins
    size: int = 256  # features: their width; constant: the width of its vectors
    positions: int = 64  # constant: how many vectors


def check_image_encoder(encoder: ImageEncoderConfig, where: str, key: str) -> None:
    """Raises UsageError for stages that make no network; ``key`` is the name of the section."""
    stages = {"widths": encoder.widths, "blocks": encoder.blocks, "strides": encoder.strides}
    if len({len(values) for values in stages.values()}) > 1 or not encoder.widths:
        found = ", ".join(f"{name} {values}" for name, values in stages.items())
        raise UsageError(f"{where}: '{key}' has {found}; expected as many of each: one for a stage")
    for name, values in {**stages, "strides": encoder.strides}.items():
        if any(value < 1 for value in values) or (name == "strides" and max(values) > 2):
            expected = "1 or 2" if name == "strides" else "at least 1"
            raise UsageError(f"{where}: '{key}.{name}' is {values}; expected {expected}")
    if sum(encoder.blocks) > MAX_LAYERS:
        raise UsageError(
            f"{where}: '{key}.blocks' is {encoder.blocks}; expected at most {MAX_LAYERS:,} in all"
        )
    check_fractions({f"{key}.drop_path": encoder.drop_path}, where)
    if encoder.norm == "group" and any(width % 16 for width in [encoder.stem, *encoder.widths]):
        raise UsageError(
            f"{where}: '{key}.norm: group' normalises 16 channels at a time; 'stem' is "
            f"{encoder.stem}, 'widths' {encoder.widths}; expected multiples of 16"
        )
