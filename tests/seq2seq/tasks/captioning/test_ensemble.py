"""Several models as one, and an image with its mirror image."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

pytest.importorskip("PIL")

from PIL import Image, ImageOps

from seq2seq import Captioner, UsageError
from seq2seq.cli import main
from seq2seq.config import config_from_dict
from seq2seq.tasks.captioning.batches import pad_captions, whole_images
from seq2seq.tasks.captioning.ensemble import CaptionEnsemble
from seq2seq.text.vocabulary import Words
from tests.seq2seq.tasks.captioning.models import WORDS, make


def another(**model) -> Captioner:
    """Other weights than those of ``make``."""
    captioner = make(**model)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in captioner.model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return captioner


def mirror_of(path):
    with Image.open(path) as image:
        return ImageOps.mirror(image.convert("RGB"))


def mirroring(captioner, **settings):
    return {"decoding": captioner.config.decoding.__class__(
        **{**vars(captioner.config.decoding), "mirror": True, **settings})}  # fmt: skip


def log_probability(views, caption) -> float:
    """Sum the log of the views' mean probability over the words of a caption. A view is a captioner
    and an image as it encoded it."""
    ids = np.array([WORDS.index(word) + 2 for word in caption.tokens])
    inputs, targets = pad_captions([ids])
    each = []
    for captioner, encoded in views:
        vectors, _ = captioner.model(encoded, torch.tensor([0]), inputs)
        each.append(captioner.model.projection(vectors)[0].softmax(-1))
    log_p = torch.stack(each).mean(0).log()
    return sum(log_p[t, targets[0, t]] for t in range(len(ids) + caption.finished)).item()


def encoded_by(captioner, image):
    source = whole_images(captioner._read(image)[None], captioner.config.data)
    return captioner.model.encode(source)


@pytest.mark.parametrize("mirror", [False, True])
def test_an_ensemble_has_the_mean_of_the_probabilities(images, mirror):
    members = [make(), another(decoder={"cell": "gru", "hidden_size": 24})]
    both = Captioner.ensemble(members)
    options = mirroring(both) if mirror else {}
    found = both.caption(images[:3], **options)
    for path, one in zip(images[:3], found, strict=True):
        with torch.no_grad():
            views = [(member, encoded_by(member, path)) for member in members]
            if mirror:
                views += [(member, encoded_by(member, mirror_of(path))) for member in members]
            expected = log_probability(views, one.captions[0])
        assert one.captions[0].log_probability == pytest.approx(expected, abs=1e-4)


def test_an_ensemble_of_one_model_is_that_model(images):
    captioner = make()
    alone, twice = captioner, Captioner.ensemble([captioner, captioner])
    for one, two in zip(alone.caption(images), twice.caption(images), strict=True):
        assert one.text == two.text
        assert one.captions[0].score == pytest.approx(two.captions[0].score, abs=1e-5)


@pytest.mark.parametrize("model", [{}, {"encoder": {"pooled": True}}], ids=["grid", "pooled"])
def test_an_image_and_its_mirror_image_have_one_caption(images, model):
    captioner = make(**model)
    options = mirroring(captioner)
    found = captioner.caption(images, attention=True, **options)
    turned = captioner.caption([mirror_of(path) for path in images], attention=True, **options)
    plain = captioner.caption(images)
    assert any(
        one.captions[0].score != pytest.approx(other.captions[0].score, abs=1e-3)
        for one, other in zip(plain, found, strict=True)
    )
    for one, other in zip(found, turned, strict=True):
        assert one.text == other.text
        assert one.captions[0].score == pytest.approx(other.captions[0].score, abs=1e-4)
        here, there = one.captions[0].attention, other.captions[0].attention
        side = round(here.shape[1] ** 0.5)
        torch.testing.assert_close(
            here.unflatten(1, (side, side)).flip(2).flatten(1), there, atol=1e-4, rtol=1e-3
        )


@pytest.mark.parametrize("beam", [1, 3])
def test_alone_and_in_a_batch(images, beam):
    both = Captioner.ensemble([make(), another()])
    options = mirroring(both, beam_size=beam)
    together = both.caption(images, **options)
    for path, found in zip(images, together, strict=True):
        alone = both.caption([path], **options)[0]
        assert alone.text == found.text
        assert alone.captions[0].score == pytest.approx(found.captions[0].score, abs=1e-5)


def test_an_ensemble_of_ensembles_is_one_of_its_members(images):
    one, other = make(), another()
    nested = Captioner.ensemble([Captioner.ensemble([one, other]), one])
    assert isinstance(nested.model, CaptionEnsemble) and len(nested.model.members) == 3
    flat = Captioner.ensemble([one, other, one])
    texts = [[found.text for found in ensemble.caption(images)] for ensemble in (nested, flat)]
    assert texts[0] == texts[1]


def test_a_model_in_training_stays_so(images):
    captioner = make()
    captioner.model.train()
    captioner.caption(images[:1], **mirroring(captioner))
    assert captioner.model.training and captioner.model.encoder.training


def test_wrong_ensembles(tmp_path):
    with pytest.raises(UsageError, match="an ensemble of no models"):
        Captioner.ensemble([])
    with pytest.raises(UsageError, match=r"'data.image_size' is 32 in model 1 and 48 in model 2"):
        Captioner.ensemble([make(), make(size=48)])
    other = make()
    other.units = Words([*WORDS[:-1], "sky"])
    with pytest.raises(UsageError, match="models 1 and 3 have different vocabularies"):
        Captioner.ensemble([make(), make(), other])
    with pytest.raises(UsageError, match="an ensemble is not one model and cannot be saved"):
        Captioner.ensemble([make()]).save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    features = make(encoder={"kind": "features", "size": 12})
    with pytest.raises(UsageError, match=r"'model.encoder.kind: features' is False in"):
        Captioner.ensemble([make(), features])
    wider = make(encoder={"kind": "features", "size": 16})
    with pytest.raises(UsageError, match=r"'model.encoder.size' is 12 in model 1 and 16 in model"):
        Captioner.ensemble([features, wider])
    for given, found in (
        ("runs/a", "found 'runs/a'"),
        (make(), "Captioner object"),
        (["runs/a", "runs/b"], "member 1 is 'runs/a'"),
        ([make(), 3], "member 2 is a int"),
    ):
        with pytest.raises(UsageError, match=r"expected a list of Captioners") as told:
            Captioner.ensemble(given)
        assert found in str(told.value)


@pytest.mark.parametrize("other", [{"strides": [1, 2]}, {"kind": "constant", "positions": 9}])
@pytest.mark.parametrize("beam", [1, 3])
def test_models_may_look_through_unlike_grids(images, other, beam):
    """Their probabilities have a mean; attention is that of the first model's grid."""
    members = [make(), another(encoder=other)]
    found = Captioner.ensemble(members).caption(images[:2], beam_size=beam, attention=True)
    for one, image in zip(found, images, strict=False):
        best = one.captions[0]
        with torch.no_grad():
            views = [(member, encoded_by(member, image)) for member in members]
            expected = log_probability(views, best)
        assert best.log_probability == pytest.approx(expected, abs=1e-4)
        assert best.attention.shape[1] == 16
        np.testing.assert_allclose(best.attention.sum(1), 1, atol=1e-5)


def test_a_plot_needs_one_model_that_attends(images, tmp_path, capsys):
    blind = another(decoder={"attention": "none"})
    for name, captioner in (("sees", make()), ("blind", blind)):
        captioner.save_pretrained(tmp_path / name)
    for order in (["sees", "blind"], ["blind", "sees"]):
        one, two = (str(tmp_path / name) for name in order)
        picture = tmp_path / f"{order[0]}.png"
        command = ["caption", one, str(images[0]), "--ensemble", two]
        assert main([*command, "--attention-plot", str(picture)]) == 0, capsys.readouterr().err
        assert picture.exists()
    capsys.readouterr()
    alone = ["caption", str(tmp_path / "blind"), str(images[0]), "--attention-plot", "x.png"]
    assert main(alone) == 2 and "attends to no grid" in capsys.readouterr().err


def test_what_has_no_mirror_image(images):
    features = make(encoder={"kind": "features", "size": 12})
    with pytest.raises(UsageError, match=r"'decoding.mirror' needs an encoder of images"):
        features.caption([np.zeros((4, 12), np.float32)], **mirroring(features))
    values = {"task": "captioning", "decoding": {"mirror": True}}
    values["model"] = {"encoder": {"kind": "constant"}}
    with pytest.raises(UsageError, match=r"'decoding.mirror' needs an encoder of images"):
        config_from_dict(values)


def test_command_line(saved, images, tmp_path, capsys):
    other = tmp_path / "other"
    another().save_pretrained(other)
    first = [str(saved), str(images[0]), str(images[1])]
    assert main(["caption", *first, "--mirror", "--ensemble", str(other), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    both = Captioner.ensemble([Captioner.from_pretrained(path) for path in (saved, other)])
    expected = both.caption(images[:2], **mirroring(both))
    for row, one in zip(rows, expected, strict=True):
        assert row["captions"][0]["text"] == one.text
        assert row["captions"][0]["score"] == pytest.approx(one.captions[0].score, abs=1e-5)
    features = tmp_path / "features"
    make(encoder={"kind": "features", "size": 12}).save_pretrained(features)
    assert main(["caption", str(features), "x.npy", "--mirror"]) == 2
    assert "'decoding.mirror' needs an encoder of images" in capsys.readouterr().err
    assert main(["caption", *first, "--ensemble", str(features)]) == 2
    assert "ensemble: " in capsys.readouterr().err
