"""Captioning models in use: encoders, search, bad images, saving and loading, commands."""

from __future__ import annotations

import copy
import json
import os
import pickle
import sys
import types

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

pytest.importorskip("PIL")

from PIL import Image

from seq2seq import Captioner, RunError, UsageError
from seq2seq.cli import main
from seq2seq.config import ImageEncoderConfig, config_from_dict
from seq2seq.data.caption_batches import clean_caption, pad_captions, whole_images
from seq2seq.data.features import Features, pad_features, read_features
from seq2seq.data.images import ImageError, to_float
from seq2seq.models import CaptioningModel
from seq2seq.models.image_encoder import Precomputed, ResidualCNN, TimmBackbone
from seq2seq.training.loop import train
from seq2seq.units import Words
from tests.seq2seq.drawings import settings, write_split

WORDS = "<eos> a red green blue circle square on the black ground".split()


def make(size=32, **model) -> Captioner:
    """A model of random weights, whose logits are far apart."""
    torch.manual_seed(0)
    encoder = {"stem": 8, "widths": [16, 24], "blocks": [1, 1], "strides": [2, 2]}
    values = {
        "task": "captioning",
        "data": {"image_size": size},
        "model": {
            "encoder": encoder | model.pop("encoder", {}),
            "decoder": {"hidden_size": 16} | model.pop("decoder", {}),
            "embedding_size": 8,
            "init_range": 1.0,
            "tied_embeddings": False,
            **model,
        },
        "decoding": {"beam_size": 3, "max_length": 8, "min_length": 1},
    }
    config = config_from_dict(values)
    units = Words(WORDS)
    return Captioner(CaptioningModel(config.model, len(units)), units, config)


@pytest.fixture
def images(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(7)]
    colours = "white red yellow blue black green purple".split()
    for number, (path, colour) in enumerate(zip(paths, colours, strict=True)):
        Image.new("RGB", (50, 40), colours[number - 3]).save(path)
        with Image.open(path) as image:
            image.paste(colour, (5 * number, 5, 5 * number + 15, 30))
            image.save(path)
    return paths


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


# --- search --------------------------------------------------------------------------------


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize(
    "model",
    [
        {},
        {"decoder": {"sentinel": True, "context_gate": "scalar"}},
        {"decoder": {"attention": "none"}, "image_first": True, "start": "zero"},
        {"encoder": {"pooled": True}, "decoder": {"cell": "gru"}},
    ],
    ids=["attention", "sentinel and gate", "show and tell", "pooled"],
)
def test_an_image_alone_and_in_a_batch(images, model, beam):
    captioner = make(**model)
    together = captioner.caption(images, beam_size=beam)
    assert len({one.text for one in together}) > 1
    for path, found in zip(images, together, strict=True):
        alone = captioner.caption([path], beam_size=beam)[0]
        assert alone.text == found.text
        assert alone.captions[0].score == pytest.approx(found.captions[0].score, abs=1e-5)
    small = captioner.caption(images, beam_size=beam, batch_size=3)
    assert [one.text for one in small] == [one.text for one in together]


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"decoder": {"sentinel": True, "context_gate": "vector", "layers": 2}},
        {"decoder": {"attention": "none", "cell": "gru"}, "image_first": True},
    ],
    ids=["attention", "sentinel", "show and tell"],
)
def test_what_search_finds_has_the_probability_of_teacher_forcing(images, model):
    captioner = make(**model)
    captioner.model.eval()
    best = captioner.caption(images[:3], attention=True)
    with torch.no_grad():
        source = torch.stack([captioner._read(path) for path in images[:3]])
        encoded = captioner.model.encode(whole_images(source, captioner.config.data))
        for row, found in enumerate(best):
            caption = found.captions[0]
            ids = np.array([WORDS.index(word) + 2 for word in caption.tokens])
            inputs, targets = pad_captions([ids])
            vectors, attention = captioner.model(encoded, torch.tensor([row]), inputs)
            log_p = captioner.model.projection(vectors)[0].log_softmax(-1)
            steps = len(ids) + caption.finished
            total = sum(log_p[t, targets[0, t]] for t in range(steps)).item()
            assert total == pytest.approx(caption.log_probability, abs=1e-4)
            if attention is not None:
                torch.testing.assert_close(
                    caption.attention, attention[0, :steps], atol=1e-5, rtol=1e-4
                )


def test_whole_images_are_read_in_the_size_of_training():
    data = config_from_dict({"task": "captioning", "data": {"image_size": 32}}).data
    images = torch.full((1, 3, 32, 32), 200, dtype=torch.uint8)
    images[..., 16:] = 20
    data.augmentation.size = 16
    small, plain = whole_images(images, data), to_float(images)
    assert small.shape == (1, 3, 16, 16)
    torch.testing.assert_close(small[..., :6], plain[..., :16, :6], atol=1e-5, rtol=0)
    torch.testing.assert_close(small[..., 10:], plain[..., :16, 26:], atol=1e-5, rtol=0)
    data.augmentation.size = None
    torch.testing.assert_close(whole_images(images, data), plain)


def test_a_pillow_image_is_as_its_file(images):
    captioner = make()
    with Image.open(images[0]) as picture:
        assert captioner.caption([picture])[0].text == captioner.caption([images[0]])[0].text


def test_n_best_and_errors_of_use(images):
    captioner = make()
    found = captioner.caption(images[:2], n_best=3)
    for one in found:
        assert len(one.captions) == 3
        assert [c.score for c in one.captions] == sorted(c.score for c in one.captions)[::-1]
    with pytest.raises(UsageError, match="expected a list: caption"):
        captioner.caption(str(images[0]))
    with pytest.raises(UsageError, match="n_best is 4; expected 1 to 3"):
        captioner.caption(images, n_best=4)
    with pytest.raises(UsageError, match="beam_size is 0"):
        captioner.caption(images, beam_size=0)
    with pytest.raises(UsageError, match="precision is 'half'"):
        captioner.caption(images, precision="half")
    with pytest.raises(UsageError, match="n_best is '2'"):
        captioner.caption(images, n_best="2")
    assert captioner.caption([]) == []


def test_one_bad_image_does_not_lose_the_others(images, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_text("not an image")
    captioner = make()
    captioner.model.train()
    found = captioner.caption([images[0], bad, tmp_path / "none.png", images[1]], batch_size=2)
    assert [one.error is None for one in found] == [True, False, False, True]
    assert found[3].text == captioner.caption([images[1]])[0].text
    with pytest.raises(ImageError, match=r"bad\.jpg: not an image"):
        _ = found[1].text
    assert captioner.model.training  # as it was
    assert all(one.error for one in captioner.caption([bad, bad]))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (None, "an image is NoneType"),
        (7, "an image is int"),  # an open file's number
        (np.zeros((4, 4, 3), np.uint8), "an image is ndarray"),
        (torch.zeros(3, 4, 4), "an image is Tensor"),
        ("a\0.png", "null character"),
        ("a" * 300, "too long"),
    ],
)
def test_what_is_no_image_at_all_does_not_lose_the_others(images, bad, message):
    found = make().caption([bad, images[0]])
    assert message in str(found[0].error)
    assert found[1].error is None


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (None, "features are NoneType"),
        (np.array(["a", "b", "c", "d"]), "expected real numbers"),
        (torch.zeros(4, dtype=torch.complex64), "expected real numbers"),
        ("empty.npy", "features cannot be read"),
        ("several.npy", "archive of several arrays"),
    ],
)
def test_features_that_are_none_do_not_lose_the_others(tmp_path, bad, message):
    (tmp_path / "empty.npy").touch()
    with open(tmp_path / "several.npy", "wb") as stream:
        np.savez(stream, a=np.zeros(4))
    bad = tmp_path / bad if isinstance(bad, str) else bad
    found = make(encoder={"kind": "features", "size": 4}).caption([bad, np.ones(4)])
    assert message in str(found[0].error)
    assert found[1].error is None


# --- directories and commands --------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    make().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_saved_and_loaded_models_say_the_same(saved, images):
    captioner = Captioner.from_pretrained(saved)
    assert [one.text for one in captioner.caption(images)] == [
        one.text for one in make().caption(images)
    ]
    assert "image-to-text" in (saved / "README.md").read_text()
    assert "encoder.norm.running_mean" in safetensors.torch.load_file(saved / "model.safetensors")


def test_damaged_directories_are_named(saved, tmp_path):
    with pytest.raises(UsageError, match="no such directory"):
        Captioner.from_pretrained(tmp_path / "none")
    values = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**values, "format": "seq2seq-translation"}))
    with pytest.raises(RunError, match="not a captioning model"):
        Captioner.from_pretrained(saved)
    values["config"]["model"]["encoder"]["widths"] = [16, 16]
    (saved / "config.json").write_text(json.dumps(values))
    with pytest.raises(RunError, match="has shape"):
        Captioner.from_pretrained(saved)
    (saved / "units.json").unlink()
    with pytest.raises(RunError, match=r"units\.json is missing"):
        Captioner.from_pretrained(saved)


def test_command_caption(saved, images, tmp_path, capsys):
    folder = tmp_path / "more"
    (folder / "below").mkdir(parents=True)
    images[0].rename(folder / "below" / "x.png")
    (folder / "notes.txt").write_text("no image")
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff")
    arguments = ["caption", str(saved), str(folder), str(bad), str(images[1])]
    assert main(arguments) == 1
    found = capsys.readouterr()
    lines = [line.split("\t") for line in found.out.splitlines()]
    assert [line[0] for line in lines] == [str(folder / "below" / "x.png"), str(images[1])]
    assert f"seq2seq: {bad}: " in found.err
    assert main([*arguments, "--json", "--n-best", "2", "--output", str(tmp_path / "o")]) == 1
    rows = [json.loads(line) for line in (tmp_path / "o").read_text().splitlines()]
    assert len(rows[0]["captions"]) == 2 and "error" in rows[1]
    assert rows[2]["captions"][0]["text"] == lines[1][1]
    assert main(["caption", str(saved), str(images[1]), "--n-best", "2", "--beam-size", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[0].split("\t")[0] == str(images[1])


def test_command_caption_draws_where_words_looked(saved, images, tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "focus.png"
    assert main(["caption", str(saved), str(images[0]), "--attention-plot", str(picture)]) == 0
    assert Image.open(picture).size[0] > 100
    pooled = tmp_path / "pooled"
    make(encoder={"pooled": True}).save_pretrained(pooled)
    assert main(["caption", str(pooled), str(images[0]), "--attention-plot", str(picture)]) == 2


def test_a_picture_that_cannot_be_written_loses_no_caption(saved, images, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    paths = [str(path) for path in (*images[:3], "a" * 300)]
    picture = tmp_path / "there.png"
    picture.mkdir()
    assert main(["caption", str(saved), *paths, "--attention-plot", str(picture)]) == 1
    out, err = capsys.readouterr()
    assert [line.split("\t")[0] for line in out.splitlines()] == paths[:3]
    assert "too long" in err and f"{picture}: cannot be written" in err


def test_names_that_are_no_utf8_are_written_as_they_are(saved, images, tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff.png"
    try:
        with open(name, "wb") as stream:
            stream.write(images[0].read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    out = tmp_path / "captions.txt"
    assert main(["caption", str(saved), os.fsdecode(name), "--output", str(out)]) == 0
    assert out.read_bytes().startswith(name + b"\t")


def test_misuse_of_the_command_exits_2(saved, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["caption", str(saved), str(tmp_path / "empty")]) == 2
    assert "no images in this folder" in capsys.readouterr().err
    assert main(["evaluate-captions", str(saved), str(tmp_path / "none")]) == 2
    assert main(["caption", str(saved), "x.png", "--beam-sze", "2"]) == 2
    assert "did you mean --beam-size" in capsys.readouterr().err


# --- text and configuration ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kind", "expected"),
    [
        ({}, "words", "a man's t-shirt says stop"),
        ({"lowercase": False}, "words", "A man's T-shirt says stop"),
        ({"punctuation": True}, "words", 'a man\'s t-shirt says " stop ! "'),
        ({"punctuation": True}, "subwords", 'a man\'s t-shirt says "stop!"'),
    ],
)
def test_captions_are_cleaned(options, kind, expected):
    data = config_from_dict({"task": "captioning", "data": options}).data
    assert clean_caption('A man\'s  T-shirt says "stop!"\n', data, kind) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": {"encoder": {"widths": [8]}}}, "expected as many of each"),
        ({"model": {"encoder": {"strides": [2, 2, 2, 3]}}}, "expected 1 or 2"),
        ({"model": {"encoder": {"norm": "group", "stem": 24}}}, "multiples of 16"),
        ({"model": {"decoder": {"attention": "none"}, "start": "zero"}}, "nothing of the image"),
        ({"model": {"decoder": {"attention": "none", "sentinel": True}}}, "needs attention"),
        ({"training": {"word_loss": 1.0}}, "'model.words' 0"),
        ({"training": {"word_epochs": 1}}, "set its weight"),
        ({"data": {"augmentation": {"crop": 0}}}, "'data.augmentation.crop' is 0"),
        ({"data": {"augmentation": {"flip": 1.5}}}, "expected 0 to 1"),
        ({"data": {"train": "x", "features": "y"}}, "features computed beforehand need both"),
        (
            {"data": {"train": "x"}, "training": {"objective": "self_critical"}},
            "set 'training.start_from'",
        ),
        (
            {"training": {"objective": "self_critical", "samples": 1, "baseline": "samples"}},
            "at least 2",
        ),
        ({"units": {"kinds": "words"}}, "did you mean 'units.kind'"),
        ({"data": {"image_size": 10**7}}, "expected at most 4096 pixels a side"),
        ({"data": {"augmentation": {"size": 5000}}}, "expected at most 4096 pixels a side"),
    ],
)
def test_configurations_that_make_no_sense(values, message):
    with pytest.raises(UsageError) as error:
        config_from_dict({"task": "captioning", **values})
    assert message in str(error.value)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_a_captioner_is_copied_after_use(images, again):
    captioner = make()
    expected = [one.text for one in captioner.caption(images[:2])]
    assert [one.text for one in again(captioner).caption(images[:2])] == expected
