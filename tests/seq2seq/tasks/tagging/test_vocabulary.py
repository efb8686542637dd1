"""What words become: ids, characters, shapes; vectors of words that training lacks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq import RunError
from seq2seq.config import config_from_dict
from seq2seq.tasks.tagging.batches import IGNORE, LabelIds, TaggingBatches, by_length, encode_words
from seq2seq.tasks.tagging.sentences import Sentence
from seq2seq.tasks.tagging.vocabulary import (
    SHAPES,
    VOCABULARY_FILE,
    TaggingVocabulary,
    build_vocabulary,
    make_column,
    shape_of,
)
from seq2seq.text.vectors import WordVectors

VECTORS = WordVectors(["the", "of", "rome", "1996", "Bonn"], np.zeros((5, 3), np.float32))


def sentence(text, labels, whole=None):
    return Sentence(text.split(), [labels.split()], whole, 1)


SENTENCES = [
    sentence("The Rome The 1996 1997 1998", "O B-L O O O O", "a"),
    sentence("zap Zap Bonn of", "O O B-P I-P", "b"),
]


def vocabulary(**model):
    values = {"task": "tagging", "data": {"labels": ["ner"], "sentence_label": "k"}, "model": model}
    config = config_from_dict(values)
    return build_vocabulary(SENTENCES, config, VECTORS), config


def test_words_are_found_under_the_form_that_has_a_vector():
    words, _ = vocabulary()
    assert words.words == ["0000", "the", "zap", "1996", "Bonn", "of", "rome"]
    assert words.trained == 7
    names = {word: words.word_id(word) for word in ("THE", "ZAP", "1996", "2001", "Bonn", "BONN")}
    assert names == {"THE": 2, "ZAP": 3, "1996": 4, "2001": 1, "Bonn": 5, "BONN": 0}
    exact, _ = vocabulary(lowercase=False)
    assert exact.word_id("The") > 0 and exact.word_id("THE") == 0 and exact.word_id("the") > 0
    assert "the" in exact.words[exact.trained :]  # a vector alone
    rare, _ = vocabulary(min_count=2)
    assert "zap" in rare.words and "1996" in rare.words and rare.word_id("zip") == 0


def test_kept_words_have_ids_after_those_of_training():
    some = SENTENCES[1:]
    config = config_from_dict({"task": "tagging", "model": {"kept_words": 2}})
    words = build_vocabulary(some, config, VECTORS)
    assert words.words[: words.trained] == ["zap", "Bonn", "of"]
    assert words.words[words.trained :] == ["the", "rome"]


def test_characters_of_long_words():
    words, _ = vocabulary(characters={"longest": 6})
    assert len(words.character_ids("x" * 100)) == 6
    assert words.character_ids("TheRomeZap") == [
        *words.character_ids("TheR"),
        *words.character_ids("ap"),
    ]
    assert words.character_ids("☃")[0] == 0


@pytest.mark.parametrize(
    ("word", "shape"),
    [
        *(("word", "lower"), ("Word", "Capital"), ("WORD", "CAPITALS"), ("wOrd", "miXed")),
        *(("J.", "C."), ("A", "C."), ("12", "digits"), ("1,000.5", "digits with marks")),
        *(("B2B", "letters with digits"), (",", "mark"), ("#", "mark"), ("#tag", "#tag")),
        *(("@me", "@name"), ("http://a.b", "address"), ("me@x.org", "address")),
        *(("日本", "other"), ("½", "other"), ("McKay", "miXed")),
    ],
)
def test_shapes(word, shape):
    assert SHAPES[shape_of(word)] == shape


def test_columns_of_spans_and_of_plain_labels():
    column = make_column("ner", ["O", "I-B", "B-A"], "bioes")
    assert column.spans and len(column.labels) == 9
    assert make_column("ner", ["O", "B-A"], "bio").labels == ["O", "B-A", "I-A"]
    plain = make_column("pos", ["V", "N", "V"], "bioes")
    assert not plain.spans and plain.labels == ["N", "V"]


def test_saved_and_loaded(tmp_path):
    words, _ = vocabulary()
    words.save(tmp_path)
    again = TaggingVocabulary.load(tmp_path)
    assert again == words and again.word_id("THE") == 2
    (tmp_path / VOCABULARY_FILE).write_text("{}")
    with pytest.raises(RunError, match="damaged"):
        TaggingVocabulary.load(tmp_path)
    with pytest.raises(RunError, match="cannot be read"):
        TaggingVocabulary.load(tmp_path / "none")


def test_sentences_as_numbers():
    words, config = vocabulary()
    found = encode_words([["The", "zap", "The"], ["☃"]], words)
    assert found.ids.tolist() == [2, 3, 0] and found.places.tolist() == [[0, 1, 0], [2, 0, 0]]
    assert found.lengths.tolist() == [3, 1] and found.character_lengths.tolist() == [3, 3, 1]
    unseen = sentence("a b", "B-NEW O", "c")
    labels = LabelIds(words, config.model.scheme)
    ids = labels.columns([SENTENCES[1], unseen])[0]
    names = words.columns[0].labels
    assert [names[i] for i in ids[0].tolist()] == ["O", "O", "B-P", "E-P"]
    assert ids[1].tolist() == [IGNORE, 0, IGNORE, IGNORE]
    assert labels.whole([SENTENCES[1], unseen]).tolist() == [1, IGNORE]


def test_batches_of_an_epoch_and_what_is_hidden():
    sentences = [sentence(f"w{n % 7} one{n}x", "O O", "a") for n in range(50)]
    values = {"task": "tagging", "data": {"batch_size": 4}, "model": {"singletons": 1.0}}
    config = config_from_dict({**values, "seed": 3})
    words = build_vocabulary(sentences, config, None)
    batches = TaggingBatches(sentences, words, config, set())
    epoch = list(batches.epoch(0))
    assert len(epoch) == batches.len_epoch(0) == 13
    assert sum(batch.target_count for batch in epoch) == 100
    again = list(batches.epoch(0, skip=10))
    assert all(
        (a.words.ids == b.words.ids).all() and (a.words.places == b.words.places).all()
        for a, b in zip(epoch[10:], again, strict=True)
    )
    assert any(
        a.words.ids.tolist() != b.words.ids.tolist()
        for a, b in zip(epoch, batches.epoch(1), strict=True)
    )
    for batch in epoch:  # digits become 0, so all words but w0 and one00x would be one word each
        assert ((batch.words.ids == 0) == 0).any()
    for skip in (0, 1):
        seen = [b.words.ids.tolist() for b in batches.epoch(0, skip, 2)]
        assert seen == [b.words.ids.tolist() for b in epoch[skip::2]]


def test_words_that_training_has_once_are_hidden():
    sentences = [sentence("common rare", "O O"), sentence("common rome", "O O")]
    config = config_from_dict({"task": "tagging", "model": {"singletons": 1.0}})
    words = build_vocabulary(sentences, config, VECTORS)
    (batch,) = TaggingBatches(sentences, words, config, set(VECTORS.words)).epoch(0)
    hidden = {words.words[i - 1] for i in batch.words.ids.tolist() if i}
    assert hidden == {"common", "rome"}  # of rome there is a vector
    assert batch.words.ids.tolist().count(0) == 1


@given(st.lists(st.integers(1, 6), max_size=60), st.integers(1, 9))
def test_sentences_of_one_length_are_together(lengths, size):
    lengths = sorted(lengths)
    batches = by_length(lengths, size)
    assert [place for batch in batches for place in batch] == list(range(len(lengths)))
    for number, batch in enumerate(batches):
        assert 0 < len(batch) <= size
        begun = [lengths[place] for place in batch[: -(-size // 4)]]
        assert len({lengths[place] for place in batch}) == 1 or len(set(begun)) > 1
        last = number + 1 == len(batches)
        assert last or 4 * len(batch) >= size
