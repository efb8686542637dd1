"""Image encoders, and features computed beforehand."""

from __future__ import annotations

import json
import sys
import types

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

pytest.importorskip("PIL")


from seq2seq import Captioner, UsageError
from seq2seq.cli import main
from seq2seq.config import config_from_dict
from seq2seq.config.images import ImageEncoderConfig
from seq2seq.images.files import ImageError
from seq2seq.layers.image_encoder import Block, Precomputed, ResidualCNN, Squeeze, TimmBackbone
from seq2seq.tasks.captioning.features import Features, pad_features, read_features
from seq2seq.training.loop import train
from tests.seq2seq.tasks.captioning.drawings import settings, write_split
from tests.seq2seq.tasks.captioning.models import make

# --- encoders ------------------------------------------------------------------------------


@pytest.mark.parametrize(("pixels", "grid"), [(128, 8), (112, 7), (64, 4), (50, 4), (16, 1)])
def test_the_grid_of_the_residual_cnn(pixels, grid):
    encoder = ResidualCNN(ImageEncoderConfig(stem=8, widths=[8, 8, 8, 16]))
    values, lengths = encoder(torch.randn(2, 3, pixels, pixels))
    assert values.shape == (2, grid * grid, encoder.size) and lengths is None


def test_positions_are_read_row_by_row():
    torch.manual_seed(0)  # with other weights a neighbour may change more
    encoder = ResidualCNN(ImageEncoderConfig(stem=8, widths=[16], blocks=[1], strides=[2])).eval()
    images = torch.zeros(2, 3, 32, 32)
    images[1, :, :4, 28:] = 3.0  # changes at the right of the top
    difference = (encoder(images)[0][1] - encoder(images)[0][0]).norm(dim=1)  # (64,)
    assert difference.argmax() == 7


def test_blocks_are_left_out_in_training_alone():
    torch.manual_seed(0)
    block = Block(16, 16, 1, "batch", drop=0.5)
    nn.init.ones_(block.second_norm.weight)
    x = torch.randn(200, 16, 4, 4).relu()
    kept = (block(x) != x).flatten(1).any(1)  # a block that is left out passes its input on
    assert 0.4 < kept.float().mean() < 0.6
    assert (block.eval()(x) != x).flatten(1).any(1).all()


def test_later_blocks_are_left_out_more_often():
    config = ImageEncoderConfig(stem=8, widths=[8, 8], blocks=[2, 2], strides=[2, 2], drop_path=0.4)
    shares = [block.drop for block in ResidualCNN(config).blocks]
    assert shares == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_squeeze_by_hand():
    squeeze = Squeeze(16).double()
    x = torch.randn(3, 16, 5, 5, dtype=torch.float64)
    mean = x.mean((2, 3))
    hidden = (mean @ squeeze.narrow.weight.T + squeeze.narrow.bias).clamp(min=0)
    weights = 1 / (1 + (-(hidden @ squeeze.widen.weight.T + squeeze.widen.bias)).exp())
    torch.testing.assert_close(squeeze(x), x * weights[:, :, None, None])


def test_neither_changes_what_older_models_hold():
    names = set(ResidualCNN(ImageEncoderConfig()).state_dict())
    assert not any("squeeze" in name for name in names)
    more = set(ResidualCNN(ImageEncoderConfig(squeeze=True, drop_path=0.2)).state_dict())
    assert names < more and all(".squeeze." in name for name in more - names)


class _Backbone(nn.Module):
    """What timm's models offer, in small."""

    num_features = 6

    def __init__(self, kind):
        super().__init__()
        self.kind, self.norm = kind, nn.BatchNorm2d(6)
        self.conv = nn.Conv2d(3, 6, 8, stride=8)
        if kind == "vit":
            self.num_prefix_tokens = 1

    def forward_features(self, images):
        grid = self.norm(self.conv(images))  # (B, D, H, W)
        if self.kind == "swin":
            return grid.permute(0, 2, 3, 1)
        if self.kind == "vit":
            tokens = grid.flatten(2).transpose(1, 2)
            return torch.cat([tokens.new_full((len(tokens), 1, 6), 99.0), tokens], 1)
        return grid


@pytest.fixture
def timm(monkeypatch):
    """A module of timm's interface, built here."""
    asked = []

    def create_model(name, pretrained, num_classes):
        asked.append((name, pretrained, num_classes))
        if name not in ("resnet", "vit", "swin"):
            raise RuntimeError(f"Unknown model ({name})")
        return _Backbone(name)

    module = types.ModuleType("timm")
    module.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", module)
    return asked


@pytest.mark.parametrize("name", ["resnet", "vit", "swin"])
def test_backbones_of_timm_give_their_grid(timm, name):
    torch.manual_seed(0)
    encoder = TimmBackbone(ImageEncoderConfig(kind="timm", backbone=name), pretrained=True).eval()
    assert timm == [(name, True, 0)]
    images = torch.randn(2, 3, 32, 32)
    values, lengths = encoder(images)
    assert values.shape == (2, 16, 6) and lengths is None
    grid = encoder.backbone.norm(encoder.backbone.conv(images))
    torch.testing.assert_close(values[:, 5], grid[:, :, 1, 1])


def test_a_frozen_backbone_is_saved_with_the_model(timm, images, tmp_path):
    captioner = make(encoder={"kind": "timm", "backbone": "resnet", "frozen": True})
    assert not captioner.model.train().encoder.backbone.norm.training
    assert all(not p.requires_grad for p in captioner.model.encoder.parameters())
    captioner.save_pretrained(tmp_path / "model")
    timm.clear()
    again = Captioner.from_pretrained(tmp_path / "model")
    assert timm == [("resnet", False, 0)]  # its weights are in the directory
    expected = [one.text for one in captioner.caption(images)]
    assert [one.text for one in again.caption(images)] == expected


def test_without_timm_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match=r"needs the timm library.*pip install timm"):
        make(encoder={"kind": "timm"})


def test_an_unknown_backbone_is_named(timm):
    with pytest.raises(UsageError, match=r"timm makes no 'resnot' \(Unknown model"):
        make(encoder={"kind": "timm", "backbone": "resnot"})


# --- features ------------------------------------------------------------------------------


def test_features_from_one_file_and_from_a_folder(tmp_path):
    first, second = torch.randn(3, 4), torch.randn(4)
    safetensors.torch.save_file({"a.jpg": first, "b": second}, tmp_path / "f.safetensors")
    np.save(tmp_path / "a.npy", first.numpy().astype(np.float16))
    np.save(tmp_path / "b.npy", second.numpy())
    for place, tolerance in ((tmp_path / "f.safetensors", 0), (tmp_path, 1e-2)):
        found, lengths = Features(place, 4).read(["x/a.jpg", "x/b.jpg"])
        assert found.shape == (2, 3, 4) and lengths.tolist() == [3, 1]
        torch.testing.assert_close(found[0], first, atol=tolerance, rtol=tolerance)
        torch.testing.assert_close(found[1, 0], second, atol=tolerance, rtol=tolerance)
        assert found[1, 1:].abs().max() == 0
        with pytest.raises(ImageError, match=r"c\.(jpg|npy)"):
            Features(place, 4).read(["x/c.jpg"])
    with pytest.raises(ImageError, match=r"shape \(3, 4\); expected \(regions, 5\)"):
        read_features(tmp_path / "a.npy", 5)
    np.save(tmp_path / "a.png.npy", second.numpy())  # a.jpg and a.png are two images
    assert torch.equal(Features(tmp_path, 4).one("a.png")[0], second)
    assert torch.equal(Features(tmp_path, 4).one("a.jpg"), first.half().float())
    np.save(tmp_path / "c.npy", np.array([[1.0, np.nan, 0, 0]]))
    with pytest.raises(ImageError, match="NaN"):
        read_features(tmp_path / "c.npy", 4)
    np.save(tmp_path / "d.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(ImageError, match="cannot be read"):  # never unpickled
        read_features(tmp_path / "d.npy", 4)
    with pytest.raises(UsageError, match="no such file or folder"):
        Features(tmp_path / "none", 4)
    (tmp_path / "bad.safetensors").write_bytes(b"bad")
    with pytest.raises(UsageError, match="not a safetensors file"):
        Features(tmp_path / "bad.safetensors", 4)


def test_regions_of_unequal_number_are_as_if_alone():
    captioner = make(encoder={"kind": "features", "size": 5})
    torch.manual_seed(1)
    features = [torch.randn(n, 5) for n in (3, 1, 6)]
    together = captioner.caption(features, attention=True)
    for one, found in zip(features, together, strict=True):
        alone = captioner.caption([one], attention=True)[0].captions[0]
        best = found.captions[0]
        assert best.text == alone.text
        assert best.attention.shape[1] == len(one)
        torch.testing.assert_close(best.attention, alone.attention, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(best.attention.sum(1), torch.ones(len(best.attention)))
    padded, lengths = pad_features(features)
    encoded = captioner.model.eval().encode(padded, lengths)
    mean = captioner.model.norm(features[1]).mean(0)
    torch.testing.assert_close(encoded.mean[1], mean)
    with pytest.raises(UsageError, match=r"features have 4 numbers each; .* is 5"):
        Precomputed(5)(torch.zeros(1, 2, 4), None)
    result = captioner.caption(["photo.jpg"])[0]
    assert "expected a .npy file" in str(result.error)


def test_training_on_features(tmp_path):
    folder = tmp_path / "data"
    write_split(folder / "train", 24, seed=1)
    write_split(folder / "validation", 6, seed=2)
    colours = {"red": 0, "green": 1, "blue": 2}
    for split in ("train", "validation"):
        tensors = {}
        for line in (folder / split / "metadata.jsonl").read_text().splitlines():
            row = json.loads(line)
            vector = torch.zeros(2, 3)
            vector[:, colours[row["captions"][0].split()[1]]] = 1.0
            tensors[row["file_name"]] = vector
        safetensors.torch.save_file(tensors, folder / f"{split}.safetensors")
    values = settings(
        folder, tmp_path / "run", max_steps=60, validate_every=60, learning_rate=2e-2,
        word_epochs=0, ema_decay=0.0, log_every=20,
    )  # fmt: skip
    values["model"]["encoder"] = {"kind": "features", "size": 3}
    values["data"]["features"] = str(folder / "{split}.safetensors")
    model = train(config_from_dict(values), quiet=True)
    vector = torch.zeros(3)
    vector[1] = 1.0
    assert "green" in Captioner.from_pretrained(model).caption([vector])[0].text
    assert main(["evaluate-captions", str(model), str(folder / "validation")]) == 0
