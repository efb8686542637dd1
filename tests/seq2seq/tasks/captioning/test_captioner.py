"""Captioning models in use: search, bad images, saving and loading."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
import safetensors.torch
import torch

pytest.importorskip("PIL")

from PIL import Image

from seq2seq import Captioner, RunError, UsageError
from seq2seq.config import config_from_dict
from seq2seq.images.files import ImageError, to_float
from seq2seq.tasks.captioning.batches import pad_captions, whole_images
from seq2seq.tasks.captioning.config import CaptionDecodingConfig
from tests.seq2seq.tasks.captioning.models import WORDS, make

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


@pytest.mark.parametrize("name", ["caption", "sample", "minimum_bayes_risk"])
def test_a_minimum_length_above_the_maximum(images, name):
    decoding = CaptionDecodingConfig(min_length=9, max_length=8)
    with pytest.raises(UsageError, match="min_length is 9 and max_length is 8; expected"):
        getattr(make(), name)(images[:1], decoding=decoding)


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


@pytest.mark.parametrize("again", [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_a_captioner_is_copied_after_use(images, again):
    captioner = make()
    expected = [one.text for one in captioner.caption(images[:2])]
    assert [one.text for one in again(captioner).caption(images[:2])] == expected
