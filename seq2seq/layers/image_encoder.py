"""Image encoders: each turns an image into a list of vectors.

All have the same interface:

    encoder(source, lengths) -> values (B, S, D), lengths (B,) or None

where ``source`` is images (B, 3, P, P), normalised (``images.to_float``), or features
computed beforehand (B, S, F) with the number of each image's regions. ``size`` is D. A grid is read
row by row: position s lies at row s // W, column s % W of a grid W wide.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.config.images import ImageEncoderConfig
from seq2seq.errors import UsageError

_GROUP = 16  # channels that group normalisation takes together


def image_encoder(config: ImageEncoderConfig, pretrained: bool = False) -> ImageEncoder:
    """The encoder that the configuration names; ``pretrained``: with weights that timm fetches.

    Raises UsageError where ``timm`` is not installed, or knows no such backbone.
    """
    if config.kind == "residual":
        return ResidualCNN(config)
    if config.kind == "timm":
        return TimmBackbone(config, pretrained)
    if config.kind == "features":
        return Precomputed(config.size)
    return Constant(config.positions, config.size)


class ResidualCNN(nn.Module):
    """A residual network (He et al. 2016) small enough to be trained from scratch on few images.

    A 5x5 convolution of stride 2, then stages of basic blocks (two 3x3 convolutions); where a block
    halves the grid its shortcut is a 2x2 mean and a 1x1 convolution (He et al. 2019, ResNet-D). At
    128 pixels and strides 2, 2, 2, 1 the grid is 8 x 8.

    With ``drop_path`` p, block i of n passes its input on alone with probability p i / n, for each
    image and each step of training anew (stochastic depth: Huang et al. 2016, eq. 2 and 4; what a
    block adds is divided by the share that stays, so that nothing is scaled afterwards). With
    ``squeeze`` what a block adds is weighed channel by channel (Hu et al. 2018, eq. 2 to 4).

    With ``coordinates`` the decoder is told where a vector stands: values + W (x, y), with x and y
    from -1 to 1 over the grid. Convolutions know of places by the padding at the borders alone.
    """

    def __init__(self, config: ImageEncoderConfig) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, config.stem, 5, stride=2, padding=2, bias=False)
        self.norm = _norm(config.norm, config.stem)
        blocks: list[Block] = []
        width = config.stem
        stages = zip(config.widths, config.blocks, config.strides, strict=True)
        for outputs, count, stride in stages:
            for number in range(count):
                drop = config.drop_path * (len(blocks) + 1) / sum(config.blocks)
                stride_here = 1 if number else stride
                block = Block(width, outputs, stride_here, config.norm, config.squeeze, drop)
                blocks.append(block)
                width = outputs
        self.blocks = nn.ModuleList(blocks)
        self.places = nn.Linear(2, width, bias=False) if config.coordinates else None
        self.size = width  # D
        self.stride = 2 * math.prod(config.strides)  # pixels for each step of the grid
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, None]:
        """images (B, 3, P, P) -> values (B, S, D)"""
        # convolutions over pixels whose channels are side by side: 2 to 3 times as fast on a CPU
        x = images.contiguous(memory_format=torch.channels_last)
        x = F.relu(self.norm(self.stem(x)))  # (B, C, P/2, P/2)
        for block in self.blocks:
            x = block(x)
        values = _positions(x)
        if self.places is not None:
            height, width = x.shape[2:]
            values = values + self.places(_coordinates(height, width, x.device))
        return values, None


class Block(nn.Module):
    """relu(norm(conv(relu(norm(conv(x))))) + shortcut(x)); the first term weighed by ``Squeeze``
    where that is on, and left out of training with probability ``drop``."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int,
        norm: str,
        squeeze: bool = False,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.drop = drop
        self.squeeze = Squeeze(outputs) if squeeze else None
        self.first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.first_norm = _norm(norm, outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = _norm(norm, outputs)
        # the block begins as its shortcut alone (Goyal et al. 2017, section 5.1)
        nn.init.zeros_(self.second_norm.weight)
        self.stride = stride
        self.shortcut: nn.Conv2d | None = None
        self.shortcut_norm: nn.Module | None = None
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.shortcut_norm = _norm(norm, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        if self.squeeze is not None:
            y = self.squeeze(y)
        if self.training and self.drop:
            kept = torch.rand(len(y), 1, 1, 1, device=y.device) >= self.drop  # (B, 1, 1, 1)
            y = y * (kept / (1 - self.drop)).to(y.dtype)
        if self.shortcut is not None and self.shortcut_norm is not None:
            if self.stride > 1:
                x = F.avg_pool2d(x, self.stride, ceil_mode=True, count_include_pad=False)
            x = self.shortcut_norm(self.shortcut(x))
        return F.relu(y + x)


class Squeeze(nn.Module):
    """x sigmoid(W2 relu(W1 mean(x))): each channel times a number between 0 and 1 that the means of
    all channels decide (squeeze and excitation; Hu et al. 2018, eq. 2 to 4, r = 8)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.narrow = nn.Linear(channels, max(1, channels // 8))
        self.widen = nn.Linear(max(1, channels // 8), channels)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> the same shape"""
        weights = torch.sigmoid(self.widen(F.relu(self.narrow(x.mean((2, 3))))))  # (B, C)
        return x * weights[:, :, None, None].to(x.dtype)


class TimmBackbone(nn.Module):
    """A backbone of the ``timm`` library without its classifier: its last feature map as a grid, or
    the tokens of a transformer (class and register tokens left out).

    With ``frozen`` its weights stay as they are, dropout and batch statistics too.
    """

    def __init__(self, config: ImageEncoderConfig, pretrained: bool = False) -> None:
        super().__init__()
        timm = _timm()
        try:
            self.backbone = timm.create_model(config.backbone, pretrained=pretrained, num_classes=0)
        except RuntimeError as error:  # of an unknown name, or of weights that are not to be had
            raise UsageError(
                f"model.encoder.backbone: timm makes no '{config.backbone}' ({error}); "
                "timm.list_models() names those it has"
            ) from None
        if not hasattr(self.backbone, "forward_features"):
            raise UsageError(
                f"model.encoder.backbone: '{config.backbone}' has no forward_features; choose "
                "another of timm's models"
            )
        self.size = int(self.backbone.num_features)  # D
        self.prefix = int(getattr(self.backbone, "num_prefix_tokens", 0))

    def forward(self, images: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, None]:
        """images (B, 3, P, P) -> values (B, S, D)"""
        x = self.backbone.forward_features(images)
        if x.dim() == 3:  # (B, prefix + S, D), a transformer
            return x[:, self.prefix :], None
        if x.shape[1] != self.size and x.shape[-1] == self.size:  # (B, H, W, D), as Swin gives it
            return x.flatten(1, 2), None
        return _positions(x), None


class Precomputed(nn.Module):
    """Features computed beforehand: pooled (S = 1), of a grid or of regions, as they are."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size  # D

    def forward(self, features: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """features (B, S, D), lengths (B,): how many of the S are real; None: all"""
        if features.shape[2] != self.size:
            raise UsageError(
                f"features have {features.shape[2]} numbers each; model.encoder.size is {self.size}"
            )
        return features, lengths


class Constant(nn.Module):
    """The same learned vectors for every image: what is said without looking."""

    def __init__(self, positions: int, size: int) -> None:
        super().__init__()
        self.size = size  # D
        self.values = nn.Parameter(torch.randn(positions, size) * 0.1)

    def forward(self, images: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, None]:
        return self.values.expand(images.shape[0], -1, -1), None


ImageEncoder = ResidualCNN | TimmBackbone | Precomputed | Constant


def _norm(kind: str, channels: int) -> nn.GroupNorm | nn.BatchNorm2d:
    if kind == "group":
        return nn.GroupNorm(channels // _GROUP, channels)
    norm = nn.BatchNorm2d(channels)
    # the momentum is fixed: nothing reads the number of batches, and all else is floating point
    norm.register_buffer("num_batches_tracked", None)
    return norm


def _coordinates(height: int, width: int, device: torch.device) -> Tensor:
    """x and y of each place of a grid, row by row: (H * W, 2), from -1 to 1"""
    y = torch.linspace(-1, 1, height, device=device).repeat_interleave(width)
    x = torch.linspace(-1, 1, width, device=device).repeat(height)
    return torch.stack([x, y], 1)


def _positions(grid: Tensor) -> Tensor:
    """(B, D, H, W) -> (B, H * W, D)"""
    return grid.flatten(2).transpose(1, 2)


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise UsageError(
            f"model.encoder.kind 'timm' needs the timm library, which cannot be imported ({error}):"
            " pip install timm torchvision; or use 'residual' or features computed beforehand"
        ) from None
    return timm
