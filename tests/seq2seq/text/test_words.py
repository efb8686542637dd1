"""Text parted into words, and words put together again."""

from __future__ import annotations

import json

import pytest

from seq2seq.config.vocabulary import VocabularyConfig
from seq2seq.text.vocabulary import UNK, load_units, save_units, train_units
from seq2seq.text.words import split_words

TEXT = "Mr. Smith's country-dance -- (see No. 3.5, 1,000) -- isn't over...\n'Yes!' <unk> said _I_"
# Hindi, Thai, an accent of its own, Persian with a joiner, a red heart, a family, a flag
COMBINED = (
    "हिन्दी ภาษาไทย cafe\u0301 \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 ½ 5² "
    "\u2764\ufe0f love \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea"
)


def test_words_stand_between_spaces():
    assert split_words("a b,  c.\nd ") == ["a", "b,", "c.", "<eos>", "d"]
    assert split_words("\n") == ["<eos>"] and split_words("") == []


def test_punctuation_is_words_of_its_own():
    found = split_words(TEXT, lowercase=True, split_punctuation=True)
    assert " ".join(found) == (
        "mr . smith's country-dance -- ( see no . 3.5 , 1,000 ) -- isn't over ... <eos> "
        "' yes ! ' <unk> said _i_"
    )
    assert split_words(" ".join(found[:-7]), split_punctuation=True) == found[:-7]


def test_marks_and_joiners_belong_to_the_letter_or_sign_before_them():
    assert split_words(COMBINED, split_punctuation=True) == COMBINED.split()


def test_vocabularies_of_before_part_words_as_they_did(tmp_path):
    text = "हिन्दी cafe\u0301"
    units = train_units([text], VocabularyConfig(kind="words", split_punctuation=True))
    save_units(units, tmp_path)
    assert load_units(tmp_path).unknown(text) == []
    content = json.loads((tmp_path / "units.json").read_text(encoding="utf-8"))
    del content["combining"]  # there was no such key
    content["words"] = ["<eos>", "cafe", "\u0301"]
    (tmp_path / "units.json").write_text(json.dumps(content), encoding="utf-8")
    before = load_units(tmp_path)
    assert before.unknown(text) == ["ह", "ि", "न", "्", "द", "ी"]
    assert before.extended(["new"]).unknown("cafe\u0301") == []
    assert split_words(COMBINED, False, True, combining=False) != COMBINED.split()


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("split", [False, True])
def test_the_style_is_saved_and_text_comes_back(tmp_path, lowercase, split):
    config = VocabularyConfig(kind="words", lowercase=lowercase, split_punctuation=split)
    units = train_units(["He saw (by chance) Mr. Smith, and ran!\nWho?"], config)
    save_units(units, tmp_path)
    units = load_units(tmp_path)
    text = "Mr. Smith ran, and saw (by chance), who?" if split else "Mr. Smith, and ran! Who?"
    ids = units.encode(text).tolist()
    decoder = units.decoder()
    written = "".join(map(decoder.add, ids)) + decoder.finish()
    known = [unit != UNK for unit in ids]
    if lowercase:
        assert all(known) and written == text.lower()
    else:
        assert all(known) == (not split)  # "who" was never seen, "Who" was
        assert written == text.replace("who", "<unk>")
