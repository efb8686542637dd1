"""Captions that are drawn, and minimum Bayes risk, with sacrebleu's sentence BLEU as the oracle."""

from __future__ import annotations

import dataclasses
import json

import numpy
import pytest
import sacrebleu
import torch

pytest.importorskip("PIL")

from seq2seq import Captioner, UsageError
from seq2seq.cli import main
from seq2seq.tasks.captioning.captioned import Caption
from seq2seq.tasks.captioning.mbr import by_expected_utility, pairwise_bleu
from seq2seq.tasks.captioning.scores import tokenize
from tests.seq2seq.tasks.captioning.models import make

TEXTS = [
    "a dog runs on grass",
    "A dog.",
    "",
    "two dogs run on the grass",
    "a a a a dog",
    "cats",
    "a dog runs on grass in a park",
]


def drawer(**model) -> Captioner:
    captioner = make(**model)
    captioner.config.decoding.min_length = 0  # sampling has none
    return captioner


def test_pairwise_bleu_is_that_of_sacrebleu():
    bleu = sacrebleu.BLEU(
        smooth_method="add-k", smooth_value=1, effective_order=True, tokenize="none"
    )
    words = [" ".join(tokenize(text)) for text in TEXTS]
    expected = [[bleu.sentence_score(one, [other]).score for other in words] for one in words]
    assert pairwise_bleu(TEXTS) == pytest.approx(numpy.array(expected), abs=1e-9)
    assert pairwise_bleu([""]).tolist() == [[0.0]]


def test_each_drawn_caption_counts():
    drawn = [Caption(TEXTS[i], 0.0, -1.0, True, []) for i in (0, 3, 0, 1, 6)]
    found = by_expected_utility(drawn)
    assert found[0].text == TEXTS[0] and len(found) == 4
    bleu = pairwise_bleu([one.text for one in drawn])
    for one in found:
        row = [other.text for other in drawn].index(one.text)
        assert one.score == pytest.approx(bleu[row].mean())
    assert by_expected_utility([]) == []


@pytest.mark.parametrize("mirror", [False, True])
def test_an_image_has_the_same_samples_alone_and_in_a_batch(images, mirror):
    captioner = drawer()
    captioner.config.decoding.mirror = mirror
    options = {"samples": 4, "temperature": 1.3, "seed": 5}
    together = captioner.sample(images, **options)
    assert len({caption.text for one in together for caption in one.captions}) > 4
    for path, found in zip(images, together, strict=True):
        (alone,) = captioner.sample([path], **options)
        assert [one.text for one in alone.captions] == [one.text for one in found.captions]
        for one, other in zip(alone.captions, found.captions, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-5)
    few = captioner.sample(images[:2], samples=2, temperature=1.3, seed=5)
    for one, more in zip(few, together, strict=False):
        assert [c.text for c in one.captions] == [c.text for c in more.captions[:2]]
    other = captioner.sample(images, samples=4, temperature=1.3, seed=6)
    assert [one.text for one in other] != [one.text for one in together]


def texts_of(found):
    return [[caption.text for caption in one.captions] for one in found]


def test_images_that_the_model_sees_alike_have_numbers_of_their_own(images):
    captioner = drawer(encoder={"kind": "constant", "size": 24, "positions": 4})
    one, other = captioner.sample(images[:2], samples=6, temperature=1.5, seed=1)
    assert [c.text for c in one.captions] != [c.text for c in other.captions]


def test_the_settings_of_the_model_count(images):
    captioner = drawer()
    options = {"samples": 6, "temperature": 1.5, "seed": 1}
    plain = captioner.sample(images, **options)
    words = [caption.tokens for one in plain for caption in one.captions]
    assert any(len(set(one)) < len(one) for one in words)
    assert "<unk>" not in {word for one in words for word in one}
    settings = captioner.config.decoding
    once = dataclasses.replace(settings, no_repeat_ngram=1)
    found = captioner.sample(images, decoding=once, **options)
    assert all(len(set(c.tokens)) == len(c.tokens) for one in found for c in one.captions)
    mirrored = captioner.sample(
        images, decoding=dataclasses.replace(settings, mirror=True), **options
    )
    assert texts_of(mirrored) != texts_of(plain)
    likeliest = captioner.sample(images, top_k=1, **options)
    assert texts_of(likeliest) == [[one.text] * 6 for one in captioner.caption(images, beam_size=1)]


def test_without_a_seed_each_call_gives_others(images):
    captioner = drawer()
    found = [texts_of(captioner.sample(images, samples=8, temperature=1.5)) for _ in range(2)]
    assert found[0] != found[1]


@pytest.mark.parametrize(("samples", "largest"), [(1, 2), (2, 2), (6, 1), (100, 1)])
def test_no_more_images_go_together_than_the_batch_size(images, samples, largest):
    captioner = drawer()
    captioner.config.decoding.batch_size = 2
    sizes, encode = [], captioner.model.encode

    def counted(source, lengths=None):
        sizes.append(len(source))
        return encode(source, lengths)

    captioner.model.encode = counted
    captioner.sample(images, samples=samples, seed=1)
    assert max(sizes) == largest and sum(sizes) == len(images)


def test_features_of_any_kind_of_tensor():
    captioner = drawer(encoder={"kind": "features", "size": 5})
    values = torch.randn(3, 5)
    found = captioner.sample([-values, torch._neg_view(values)], samples=3, seed=1)
    assert texts_of(found[:1]) == texts_of(found[1:])


def test_minimum_bayes_risk_draws_at_temperature_one_half(images):
    captioner = drawer()
    found = captioner.minimum_bayes_risk(images, samples=6, seed=1)
    drawn = captioner.sample(images, samples=6, temperature=0.5, seed=1)
    assert texts_of(found) == [[c.text for c in by_expected_utility(d.captions)] for d in drawn]


def test_at_temperature_0_the_likeliest_is_drawn(images):
    captioner = drawer()
    greedy = captioner.caption(images, beam_size=1)
    drawn = captioner.sample(images, samples=2, temperature=0)
    for one, two in zip(greedy, drawn, strict=True):
        assert [caption.text for caption in two.captions] == [one.text] * 2
        assert two.captions[0].log_probability == pytest.approx(
            one.captions[0].log_probability, abs=1e-5
        )


def test_minimum_bayes_risk_ranks_what_is_drawn(images, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff")
    paths = [images[0], bad, images[1]]
    captioner = drawer()
    options = {"samples": 12, "temperature": 1.5, "seed": 3}
    found = captioner.minimum_bayes_risk(paths, **options)
    drawn = captioner.sample(paths, **options)
    assert found[1].error is not None and found[1].captions == []
    for one, samples in zip(found[::2], drawn[::2], strict=True):
        assert one.captions == by_expected_utility(samples.captions)


def test_features_and_ensembles_are_drawn_from(images):
    captioner = drawer(encoder={"kind": "features", "size": 5})
    random = numpy.random.default_rng(0)
    features = [random.normal(size=(n, 5)).astype(numpy.float32) for n in (3, 1, 2)]
    together = captioner.sample(features, samples=3, temperature=1.5, seed=1)
    for one, found in zip(features, together, strict=True):
        (alone,) = captioner.sample([one], samples=3, temperature=1.5, seed=1)
        assert [c.text for c in alone.captions] == [c.text for c in found.captions]
    both = Captioner.ensemble([drawer(), drawer()])
    one = drawer().sample(images[:2], samples=3, seed=2)
    two = both.sample(images[:2], samples=3, seed=2)
    assert [c.text for x in one for c in x.captions] == [c.text for x in two for c in x.captions]


def test_by_command(images, tmp_path, capsys):
    captioner = drawer()
    captioner.save_pretrained(tmp_path / "model")
    model, paths = str(tmp_path / "model"), [str(path) for path in images[:3]]
    drawing = ["--temperature", "1.3", "--seed", "5"]
    assert main(["caption", model, *paths, "--samples", "2", *drawing]) == 0
    expected = captioner.sample(paths, samples=2, temperature=1.3, seed=5)
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[2] for line in lines] == [c.text for one in expected for c in one.captions]
    ranked = captioner.minimum_bayes_risk(paths, samples=8, temperature=1.3, seed=5)
    assert main(["caption", model, *paths, "--mbr", "8", *drawing]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert lines == [[path, one.text] for path, one in zip(paths, ranked, strict=True)]
    assert main(["caption", model, *paths, "--mbr", "8", *drawing, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [[c["text"] for c in row["captions"]] for row in rows] == [
        [c.text for c in one.captions] for one in ranked
    ]
    data = tmp_path / "metadata.jsonl"
    rows = [{"file_name": path.name, "captions": ["a red circle"]} for path in images]
    data.write_text("\n".join(map(json.dumps, rows)))
    output = tmp_path / "out.jsonl"
    options = ["--mbr", "8", *drawing, "--output", str(output)]
    assert main(["evaluate-captions", model, str(data), *options]) == 0
    written = [json.loads(line)["caption"] for line in output.read_text().splitlines()]
    assert written[:3] == [one.text for one in ranked]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--seed", "1"], "--samples N, or --mbr N"),
        (["--samples", "2", "--mbr", "4"], "--samples does not go with --mbr"),
        (["--samples", "2", "--beam-size", "3"], "--beam-size does not go with --samples"),
        (["--mbr", "4", "--require", "a dog"], "--require does not go with --mbr"),
        (["--mbr", "4", "--n-best", "2"], "--n-best does not go with --mbr"),
        (["--n-best", "9"], "--n-best is 9; expected 1 to 3 (--beam-size)"),
        (["--samples", "2", "--top-p", "2"], "--top-p is 2.0; expected more than 0, at most 1"),
        (["--samples", "2", "--temperature", "1e-9"], "--temperature is 1e-09; expected 0, or"),
        (["--samples", "2", "--min-length", "1"], "--min-length is 1; sampling has no minimum"),
    ],
)
def test_options_that_do_not_go_together(images, saved, tmp_path, capsys, options, expected):
    output = tmp_path / "out"
    output.write_text("precious")
    assert main(["caption", str(saved), str(images[0]), *options, "--output", str(output)]) == 2
    assert expected in capsys.readouterr().err
    assert output.read_text() == "precious"


def test_evaluation_by_drawing_has_no_beam(images, saved, capsys):
    assert main(["evaluate-captions", str(saved), "x", "--mbr", "8", "--beam-size", "2"]) == 2
    assert "--beam-size does not go with --mbr" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["caption", str(saved), str(images[0]), "--mbr", "2000"])
    assert "'2000' is no whole number of at most 1,000" in capsys.readouterr().err


def test_what_cannot_be_drawn(images):
    with pytest.raises(UsageError, match="samples is 0"):
        drawer().sample(images, samples=0)
    with pytest.raises(UsageError, match="min_length is 1"):
        make().sample(images)
    with pytest.raises(UsageError, match="images is str"):
        drawer().minimum_bayes_risk("photo.jpg")
