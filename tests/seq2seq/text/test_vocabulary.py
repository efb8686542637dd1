"""Units: text to ids and back, piece by piece."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.errors import RunError, UsageError
from seq2seq.tasks.generation.config import UnitsConfig
from seq2seq.text.vocabulary import END, UNK, load_units, save_units, train_units

TEXT = "The cat — naïve, 日本語 🙂 —\n\n  sat on the mat.\tEnd\n"


def make(kind, texts=(TEXT,) * 3, **options):
    return train_units(texts, UnitsConfig(kind=kind, **{"vocab_size": 285, **options}))


def decode(units, ids) -> str:
    decoder = units.decoder()
    return "".join(decoder.add(int(unit)) for unit in ids) + decoder.finish()


@pytest.mark.parametrize("kind", ["characters", "bytes", "subwords"])
def test_text_comes_back_as_it_was(kind):
    units = make(kind)
    for text in (TEXT, "", "\n", " ", "\n\n cat \n", "cat"):
        ids = units.encode(text)
        assert ids.dtype == "int32" and ids.ndim == 1
        assert decode(units, ids) == text
        assert not {UNK, END} & set(ids.tolist())


@given(text=st.text(max_size=40))
@settings(max_examples=50)
def test_bytes_spell_any_text(text):
    units = make("bytes")
    whole = text.encode("utf-8", "replace").decode("utf-8")
    assert decode(units, units.encode(whole)) == whole
    assert len(units) == 258


def test_subwords_spell_what_they_have_not_seen_in_bytes():
    units = make("subwords")
    assert decode(units, units.encode("Ωμέγα\nx")) == "Ωμέγα\nx"
    assert len(units) == 285


def test_a_character_spread_over_pieces_is_given_when_it_is_whole():
    units = make("bytes")
    decoder = units.decoder()
    ids = units.encode("é🙂").tolist()
    assert [decoder.add(unit) for unit in ids] == ["", "é", "", "", "", "🙂"]
    decoder.add(ids[2])
    assert decoder.finish() == "\N{REPLACEMENT CHARACTER}"


def test_characters_never_seen_are_unknown():
    units = make("characters")
    ids = units.encode("cΩt").tolist()
    assert ids[1] == UNK and UNK not in (ids[0], ids[2])
    assert units.unknown("cΩtΨΩ") == ["Ω", "Ψ"]
    assert not units.knows_unknown
    rare = make("characters", min_count=4)
    assert rare.knows_unknown and "日" in rare.unknown(TEXT)
    few = make("characters", vocab_size=5)
    assert len(few) == 7


def test_words_as_in_penn_treebank_and_wikitext():
    units = make("words", ["the cat <unk> sat\n the dog \n"], vocab_size=100)
    ids = units.encode("the <unk> bird\nsat")
    names = [units.piece(int(unit)) for unit in ids]
    assert names == ["the", "<unk>", "<unk>", "<eos>", "sat"]
    assert units.unknown("the bird sat") == ["bird"]
    assert decode(units, units.encode("the cat\nsat the\n")) == "the cat\nsat the\n"
    # <unk> in the file is the special one; <eos> stands for line ends
    assert len(units) == 2 + len(["<eos>", "the", "cat", "sat", "dog"])
    assert units.encode("<unk>").tolist() == [UNK]


@pytest.mark.parametrize("kind", ["characters", "bytes", "subwords", "words"])
def test_saved_and_loaded_they_are_the_same(kind, tmp_path):
    units = make(kind)
    save_units(units, tmp_path / "units")
    loaded = load_units(tmp_path / "units")
    assert loaded.kind == kind and len(loaded) == len(units)
    assert loaded.encode(TEXT).tolist() == units.encode(TEXT).tolist()
    assert loaded.ignored == units.ignored and loaded.knows_unknown == units.knows_unknown
    again = make(kind)
    assert again.files() == units.files()  # the same text gives the same bytes


def test_damaged_files_are_named(tmp_path):
    with pytest.raises(RunError, match=r"units\.json: cannot be read"):
        load_units(tmp_path)
    (tmp_path / "units.json").write_text("{")
    with pytest.raises(RunError, match="damaged"):
        load_units(tmp_path)
    for values in ('{"kind": "words", "words": ["<eos>", 1]}',
                   '{"kind": "characters", "characters": [null]}'):  # fmt: skip
        (tmp_path / "units.json").write_text(values)
        with pytest.raises(RunError, match="damaged"):
            load_units(tmp_path)
    (tmp_path / "units.json").write_text('{"kind": "runes"}')
    with pytest.raises(RunError, match="unknown kind 'runes'"):
        load_units(tmp_path)
    save_units(make("subwords"), tmp_path)
    model = tmp_path / "subwords.model"
    model.write_bytes(model.read_bytes()[:40])
    with pytest.raises(RunError, match="not a SentencePiece model"):
        load_units(tmp_path)


def test_a_size_that_the_text_does_not_yield_is_named():
    with pytest.raises(UsageError, match=r"'units.vocab_size' is 5000"):
        make("subwords", vocab_size=5000)


@pytest.mark.parametrize("kind", ["characters", "words"])
def test_a_text_that_yields_no_vocabulary_is_named(kind):
    with pytest.raises(UsageError, match=r"'units.min_count' is 5: nothing"):
        train_units(["a b c"], UnitsConfig(kind=kind, min_count=5))
