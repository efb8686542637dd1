"""A trained tagger in Python: sentences in, labels out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from seq2seq import RunError, Tagger, UsageError
from seq2seq.config import TrainingConfig
from seq2seq.tasks.tagging.batches import encode_words
from seq2seq.tasks.tagging.config import TaggingDataConfig
from seq2seq.tasks.tagging.schemes import is_valid
from seq2seq.tasks.tagging.sentences import load_sentences
from seq2seq.tasks.tagging.vocabulary import VOCABULARY_FILE

TEXT = "we met Ann Bo in Rome ?"


@pytest.fixture(scope="module")
def tagger(model):
    return Tagger.from_pretrained(model, device="cpu")


def test_what_it_learnt(tagger, model):
    found = tagger.tag(TEXT, probabilities=True)
    assert [token.text for token in found.tokens] == TEXT.split()
    assert found.labels["ner"] == "O O B-PER I-PER O B-LOC O".split()
    assert found.labels["pos"] == "W V N N W N M".split()
    spans = [(s.text, s.type, s.start, s.end, s.words) for s in found.spans["ner"]]
    assert spans == [("Ann Bo", "PER", 7, 13, (2, 4)), ("Rome", "LOC", 17, 21, (5, 6))]
    assert "pos" not in found.spans and found.sentence_label == "question"
    assert all(0.5 < p <= 1 for column in found.probabilities.values() for p in column)
    assert found.spans["ner"][0].probability == min(found.probabilities["ner"][2:4])
    data = tagger.config.data
    sentences = load_sentences(data.validation, data)
    tagged = tagger.tag([one.words for one in sentences])
    assert sum(a.labels["ner"] == b.labels[0] for a, b in zip(tagged, sentences, strict=True)) > 27


def test_one_or_many_and_how_words_are_found(tagger):
    many = tagger.tag([TEXT, "", "  ", TEXT.split()])
    assert [len(one.tokens) for one in many] == [7, 0, 0, 7]
    assert many[0].labels == many[3].labels == tagger.tag(TEXT).labels
    assert many[1].labels == {"ner": [], "pos": []} and many[1].spans == {"ner": []}
    assert many[0].probabilities is None and many[1].sentence_label is None
    assert tagger.tag([]) == []
    running = tagger.tag("We saw Di in Oslo.", split="words")
    assert [token.text for token in running.tokens] == ["We", "saw", "Di", "in", "Oslo", "."]
    assert running.spans["ner"][-1].text == "Oslo" and running.spans["ner"][-1].end == 17
    values = json.loads(json.dumps(running.to_dict()))
    assert values["offsets"][-1] == [17, 18]
    assert values["spans"]["ner"][0]["label"] == "PER"


def test_running_text_is_split_as_the_vocabulary_says(tagger, model, tmp_path):
    assert [token.text for token in tagger.tag("हिन्दी!", split="words").tokens] == ["हिन्दी", "!"]
    shutil.copytree(model, tmp_path / "before")
    path = tmp_path / "before" / VOCABULARY_FILE
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["combining"]  # as it was saved before there was such a key
    path.write_text(json.dumps(content), encoding="utf-8")
    config = json.loads((tmp_path / "before" / "config.json").read_text(encoding="utf-8"))
    del config["files_sha256"]  # of the vocabulary as it was
    (tmp_path / "before" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    before = Tagger.from_pretrained(tmp_path / "before")
    assert len(before.tag("हिन्दी!", split="words").tokens) == 7
    data = TaggingDataConfig(labels=["ner"])
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"text": "हिन्दी!", "ner": [{"start": 0, "end": 6, "label": "X"}]}\n', "utf-8")
    assert [len(load_sentences(lines, data, kept)[0].words) for kept in (True, False)] == [2, 7]


def test_a_sentence_alone_and_in_any_batch(tagger):
    words = TEXT.split()
    texts = [[*words[:n], "☃" * n] for n in range(1, 8)] + [words * 5, ["strange", "?"]]
    together = tagger.tag(texts, probabilities=True)
    for batch_size in (1, 2):
        alone = tagger.tag(texts, batch_size=batch_size, probabilities=True)
        for one, other in zip(together, alone, strict=True):
            assert one.labels == other.labels and one.sentence_label == other.sentence_label
            for name, values in one.probabilities.items():
                assert values == pytest.approx(other.probabilities[name], abs=1e-5)


def test_padding_reaches_nothing(tagger):
    """Scores of a sentence beside a longer one, with longer words, in float64."""
    model = tagger.model.double()
    try:
        short, long = ["we", "met", "Ann"], ["extraordinarily"] * 9
        with torch.no_grad():
            alone = model(encode_words([short], tagger.vocabulary))
            beside = model(encode_words([long, short], tagger.vocabulary))
    finally:
        tagger.model.float()
    for one, other in zip(alone.columns, beside.columns, strict=True):
        torch.testing.assert_close(one[0], other[1, :3], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(alone.sentence[0], beside.sentence[1], rtol=1e-6, atol=1e-6)


def test_labels_never_break_bio(tagger):
    state = {name: value.clone() for name, value in tagger.model.state_dict().items()}
    torch.manual_seed(0)
    try:
        with torch.no_grad():
            for parameter in tagger.model.parameters():
                parameter.normal_()
        texts = [f"{word} " * n for n, word in enumerate(TEXT.split() * 6, start=1)]
        assert all(is_valid(one.labels["ner"]) for one in tagger.tag(texts))
    finally:
        tagger.model.load_state_dict(state)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3,), "sentences is int"),
        (([3],), "a sentence is 3"),
        (([["a", ""]],), "a sentence is"),
    ],
)
def test_wrong_sentences(tagger, arguments, message):
    with pytest.raises(UsageError, match=message):
        tagger.tag(*arguments)


def test_wrong_settings(tagger):
    for options, message in (
        ({"split": "lines"}, "split is 'lines'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
    ):
        with pytest.raises(UsageError, match=message):
            tagger.tag("a", **options)


def test_saved_again_it_is_the_same(tagger, tmp_path, model):
    tagger.save_pretrained(tmp_path / "again")
    for name in ("config.json", "vocabulary.json", "model.safetensors", "README.md"):
        assert (tmp_path / "again" / name).read_bytes() == (model / name).read_bytes()
    card = (model / "README.md").read_text()
    assert "token-classification" in card and "spans of LOC, PER" in card
    assert "| label of the sentence | question, statement |" in card
    assert "validation, ner: F1" in card and "validation, kind: accuracy" in card


def test_damaged_models(model, tmp_path):
    copy = Path(shutil.copytree(model, tmp_path / "copy"))
    (copy / "vocabulary.json").unlink()
    with pytest.raises(RunError, match=r"vocabulary.json is missing"):
        Tagger.from_pretrained(copy)
    values = json.loads((model / "vocabulary.json").read_text())
    values["words"].append("more")
    (copy / "vocabulary.json").write_text(json.dumps(values))
    with pytest.raises(RunError, match="pieces, but the weights were trained with"):
        Tagger.from_pretrained(copy)


def test_bf16_gives_nearly_the_same(tagger):
    found = tagger.tag([TEXT], precision="bf16")[0]
    assert found.labels == tagger.tag([TEXT])[0].labels
    assert isinstance(tagger.config.training, TrainingConfig)
