"""What a model reads beside the words: columns and keys of data, checks, saved models, commands."""

from __future__ import annotations

import json
import random
import re

import pytest
import torch

from seq2seq import Tagger, UsageError
from seq2seq.config import config_from_dict
from seq2seq.tasks.tagging.batches import TaggingBatches, encode_words
from seq2seq.tasks.tagging.config import TaggingDataConfig
from seq2seq.tasks.tagging.sentences import load_sentences
from seq2seq.tasks.tagging.vocabulary import Feature, build_vocabulary
from seq2seq.training.loop import train
from tests.seq2seq.tasks.tagging.conftest import settings

WORDS, KINDS = ["a", "b", "c"], {"N": "B-X", "V": "O", "M": "O"}


def write_random(path, count, seed):
    """Words that say nothing; the label follows from the column beside them."""
    draw = random.Random(seed)
    lines = []
    for _ in range(count):
        kinds = [draw.choice(list(KINDS)) for _ in range(draw.randint(1, 6))]
        lines += [f"{draw.choice(WORDS)}\t{kind}\t{KINDS[kind]}" for kind in kinds] + [""]
    path.write_text("\n".join(lines))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    write_random(folder / "train.txt", 120, 1)
    write_random(folder / "validation.txt", 30, 2)
    values = settings(folder, data__labels=["ner=2"], data__features=["kind=1"])
    values["model"]["feature_size"] = 6
    del values["data"]["sentence_label"]
    threads = torch.get_num_threads()
    path = train(config_from_dict(values), quiet=True)
    torch.set_num_threads(threads)
    return path


@pytest.fixture(scope="module")
def tagger(model):
    return Tagger.from_pretrained(model, device="cpu")


def test_labels_follow_from_the_feature(tagger):
    assert tagger.vocabulary.features == [Feature("kind", ["M", "N", "V"])]
    assert tagger.model.features[0].weight.shape == (4, 6)
    kinds = ["N", "V", "M", "N"]
    found = tagger.tag("a a a a", features={"kind": kinds})
    assert found.labels["ner"] == [KINDS[kind] for kind in kinds]
    many = tagger.tag(
        [["b", "c"], "", "a a a a"],
        features=[{"kind": ["V", "N"]}, {"kind": []}, {"kind": kinds}],
    )
    assert [one.labels["ner"] for one in many] == [["O", "B-X"], [], found.labels["ner"]]
    assert tagger.tag("", features=None).labels == {"ner": []}
    unseen = tagger.tag("a", features={"kind": ["unseen"]}, probabilities=True)
    unknown = tagger.tag("a", features={"kind": ["other"]}, probabilities=True)
    assert unseen.probabilities == unknown.probabilities


@pytest.mark.parametrize(
    ("sentences", "features", "message"),
    [
        ("a b", None, r"reads 'kind' beside each word.*features=\{'kind': .*--features kind=N"),
        (["a b"], None, "reads 'kind' beside each word"),
        ("a b", {"kind": ["N"]}, "sentence 1: features: 2 words and 1 values of 'kind'"),
        ("a b", {"pos": ["N", "N"]}, "sentence 1: features has pos; the model reads kind"),
        ("a b", {"kind": "NN"}, "'kind' is 'NN'; expected a list of text"),
        (["a", "b"], [{"kind": ["N"]}], "features is 1; expected a mapping for each of 2"),
        (["a"], {"kind": [["N"]]}, r"sentence 1: features is 'kind'|expected a mapping for each"),
        (["a", "b"], [{"kind": ["N"]}, ["N"]], r"sentence 2: features is \['N'\]"),
    ],
)
def test_wrong_features(tagger, sentences, features, message):
    with pytest.raises(UsageError, match=message):
        tagger.tag(sentences, features=features)


def test_features_that_no_model_reads(model, tmp_path):
    words = load_sentences(model.parent.parent / "train.txt", TaggingDataConfig(labels=["n=2"]))
    assert words[0].features == []
    config = config_from_dict({"task": "tagging"})
    vocabulary = build_vocabulary(words, config, None)
    assert encode_words([["a"]], vocabulary).features.shape == (1, 1, 0)
    vocabulary.save(tmp_path)
    assert "features" not in json.loads((tmp_path / "vocabulary.json").read_text())


def test_some_values_are_hidden_in_training(model):
    values = settings(model.parent.parent, data__labels=["ner=2"], data__features=["kind=1"])
    del values["data"]["sentence_label"]
    values["model"]["feature_dropout"] = 0.5
    config = config_from_dict(values)
    sentences = load_sentences(config.data.train, config.data)
    vocabulary = build_vocabulary(sentences, config, None)
    batches = TaggingBatches(sentences, vocabulary, config, set())
    ids = [batch.words.features for batch in batches.epoch(0)]
    real = [
        features[torch.arange(features.shape[1]) < batch.words.lengths[:, None]]
        for features, batch in zip(ids, batches.epoch(0), strict=True)
    ]
    hidden = (torch.cat(real) == 0).float().mean()
    assert 0.4 < hidden < 0.6
    again = [batch.words.features for batch in batches.epoch(0, skip=1, every=2)]
    assert all(torch.equal(a, b) for a, b in zip(ids[1::2], again, strict=True))


def test_json_and_conllu(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"tokens": ["a", "b"], "ner": ["O", "B-X"], "pos": ["D", "N"]}\n')
    data = TaggingDataConfig(labels=["ner"], features=["pos"])
    (found,) = load_sentences(path, data)
    assert found.features == [["D", "N"]]
    for wrong, message in (('["D"]', "2 words and 1 values in 'pos'"), ('"D"', "'pos' is 'D'")):
        path.write_text(f'{{"tokens": ["a", "b"], "ner": ["O", "O"], "pos": {wrong}}}\n')
        with pytest.raises(UsageError, match=f"a.jsonl, line 1: .*{message}"):
            load_sentences(path, data)
    path = tmp_path / "a.conllu"
    path.write_text("1\tI\tI\tPRON\tPRP\t_\t3\tnsubj\t_\tO\n")
    (found,) = load_sentences(path, TaggingDataConfig(labels=["ner=9"], features=["upos", "l=2"]))
    assert found.features == [["PRON"], ["I"]] and found.labels == [["O"]]


@pytest.mark.parametrize(
    ("features", "text", "message"),
    [
        (["pos"], "a N O\n", r"'data.features' has 'pos'; expected pos=NUMBER"),
        (["pos=3"], "a N O\n", "line 1: 3 columns, and pos should stand in column 3"),
        (["pos=1"], "a\tN\tO\nb\t\tO\n", "line 2: no feature 'pos' in column 1"),
        (["pos=2"], "a N O\n", "two read the same column"),
    ],
)
def test_wrong_columns(tmp_path, features, text, message):
    path = tmp_path / "a.txt"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_sentences(path, TaggingDataConfig(features=features))


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("data", "features", ["kind", "kind"], "'data.features' is"),
        ("data", "features", ["ner=2"], "'ner' stands in 'data.labels' and 'data.features'"),
        ("model", "feature_size", 0, "'model.feature_size' is 0"),
        ("model", "feature_dropout", 1.0, "'model.feature_dropout' is 1.0"),
    ],
)
def test_wrong_configurations(tmp_path, section, key, value, message):
    with pytest.raises(UsageError, match=message):
        config_from_dict(settings(tmp_path, **{f"{section}__{key}": value}))


def test_starting_from_a_model_of_other_features(model, tmp_path):
    data = str(model.parent.parent / "train.txt")
    values = settings(tmp_path, data__labels=["ner=2"], training__start_from=str(model))
    values["data"] |= {"train": data, "validation": None}
    del values["data"]["sentence_label"]
    with pytest.raises(UsageError, match=r"features \['kind'\], and 'data.features' \[\]"):
        train(config_from_dict(values), quiet=True)


def test_commands(run, model, tmp_path):
    text = "a\tN\nb\tV\n\nc\tN\n"
    status, out, err = run("tag", model, "--columns", stdin=text.encode())
    assert status == 0, err
    assert out == "a\tN\tB-X\nb\tV\tO\n\nc\tN\tB-X\n\n"
    other = b"N\t7\ta\n"
    options = ("--columns", "--words", "2", "--features", "kind=0")
    status, out, err = run("tag", model, *options, stdin=other)
    assert status == 0 and out == "N\t7\ta\tB-X\n\n", err
    status, out, err = run("tag", model, *options, "--json", stdin=other)
    assert status == 0 and json.loads(out)["labels"] == {"ner": ["B-X"]}, err
    data = model.parent.parent / "validation.txt"
    status, out, err = run("evaluate-tags", model, data, "--output", tmp_path / "pairs.txt")
    assert status == 0 and out.startswith("ner: F1"), err
    assert (tmp_path / "pairs.txt").read_text() == (model.parent / "validation.columns").read_text()


@pytest.mark.parametrize(
    ("options", "text", "message"),
    [
        ((), "a b\n", "the model reads 'kind' beside each word.*--columns.*kind=1, counted from 0"),
        (("--columns",), "a\nb\n", "kind should stand in column 1"),
        (("--columns",), "a\tN\nb\t\n", "line 2: no feature 'kind' in column 1"),
        (("--columns", "--features", "pos=1"), "a\tN\n", "--features pos=1: the model reads kind"),
    ],
)
def test_wrong_input(run, model, options, text, message):

    status, _, err = run("tag", model, *options, stdin=text.encode())
    assert status == 2 and re.search(message, err), err
