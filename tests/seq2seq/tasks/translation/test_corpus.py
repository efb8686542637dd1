import json

import datasets
import numpy as np
import pytest

from seq2seq.config.vocabulary import TokenizerConfig
from seq2seq.errors import RunError, UsageError
from seq2seq.tasks.translation import corpus as corpus_module
from seq2seq.tasks.translation.config import DataConfig, FilterConfig, TranslationConfig
from seq2seq.tasks.translation.corpus import build_tokenizers, tokenize_pairs
from seq2seq.tasks.translation.pairs import load_pairs
from seq2seq.text.sentencepiece import Tokenizer

PAIRS = [
    ("a b c", "x y z"),
    ("", "x"),
    ("a", " "),
    ("a b c", "x y z"),
    ("a b", "x y z x y z x y z"),
    ("c " * 40, "x " * 40),
    ("b b", "y y"),
    ("a b c", "x y y"),
    ("", ""),
]


def characters(lines):
    return Tokenizer.train(lines, TokenizerConfig(kind="char", vocab_size=400))


TOKENIZER = characters(["abc xyz"] * 4)


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{source}\t{target}\n" for source, target in PAIRS))
    return load_pairs(
        DataConfig(train=str(path), columns=["en", "de"], cache_dir=str(tmp_path / "cache")),
        "train",
    )


def test_without_a_filter_every_line_counts(pairs):
    corpus = tokenize_pairs(pairs, TOKENIZER, TOKENIZER, None)
    assert len(corpus) == len(PAIRS) and corpus.dropped == {}
    assert corpus.pairs.column_names == ["source", "target", "source_ids", "target_ids"]
    assert corpus.pairs.features["target_ids"].feature.dtype == "int32"
    assert corpus.pairs["source_ids"][:] == [TOKENIZER.encode(source) for source, _ in PAIRS]
    assert corpus.pairs["target_ids"][:] == [TOKENIZER.encode(target) for _, target in PAIRS]
    assert corpus.source_lengths.tolist() == list(map(len, corpus.pairs["source_ids"]))
    assert corpus.target_lengths.tolist() == list(map(len, corpus.pairs["target_ids"]))
    assert corpus.source_lengths.dtype == np.int32


def test_each_side_has_its_own_tokenizer(pairs):
    other = characters(["zyx"] * 4)
    corpus = tokenize_pairs(pairs, TOKENIZER, other, None)
    assert corpus.pairs[0]["source_ids"] == TOKENIZER.encode("a b c")
    assert corpus.pairs[0]["target_ids"] == other.encode("x y z")


def kept(corpus):
    return list(zip(corpus.pairs["source"], corpus.pairs["target"], strict=True))


def test_what_each_filter_drops(pairs):
    # Lengths: a character each, and one for the space before the first word.
    options = FilterConfig(max_length=20, max_length_ratio=3.0, deduplicate=True)
    corpus = tokenize_pairs(pairs, TOKENIZER, TOKENIZER, options)
    assert kept(corpus) == [PAIRS[0], PAIRS[6], PAIRS[7]]
    assert corpus.dropped == {
        "empty": 3,
        "too_short": 0,
        "too_long": 1,
        "ratio": 1,
        "duplicate": 1,
    }
    assert corpus.source_lengths.tolist() == [6, 4, 6]
    assert [len(ids) for ids in corpus.pairs["target_ids"]] == corpus.target_lengths.tolist()


def test_bounds_are_inclusive(pairs):
    lengths = [len(TOKENIZER.encode(text)) for text in PAIRS[4]]
    ratio = lengths[1] / lengths[0]
    within = FilterConfig(max_length=lengths[1], max_length_ratio=ratio, min_length=lengths[0])
    assert PAIRS[4] in kept(tokenize_pairs(pairs, TOKENIZER, TOKENIZER, within))
    for name, value in (
        ("max_length", lengths[1] - 1),
        ("max_length_ratio", ratio * 0.99),
        ("min_length", lengths[0] + 1),
    ):
        beyond = FilterConfig(**{**vars(within), name: value})
        assert PAIRS[4] not in kept(tokenize_pairs(pairs, TOKENIZER, TOKENIZER, beyond))


def test_the_default_filter_keeps_repetitions_and_drops_empty_sides(pairs):
    corpus = tokenize_pairs(pairs, TOKENIZER, TOKENIZER, FilterConfig())
    assert kept(corpus).count(PAIRS[0]) == 2
    assert corpus.dropped["empty"] == 3 and sum(corpus.dropped.values()) == 3


def test_a_filter_that_drops_everything(pairs):
    corpus = tokenize_pairs(pairs, TOKENIZER, TOKENIZER, FilterConfig(max_length=1))
    assert len(corpus) == len(corpus.pairs) == 0
    assert sum(corpus.dropped.values()) == len(PAIRS)


def test_tokens_are_made_once_for_a_text_and_a_pair_of_models(pairs, monkeypatch):
    calls = []
    original = corpus_module._tokenize

    def counting(batch, source, target):
        calls.append(len(batch["source"]))
        return original(batch, source, target)

    monkeypatch.setattr(corpus_module, "_tokenize", counting)
    first = tokenize_pairs(pairs, TOKENIZER, TOKENIZER, None)
    assert sum(calls) == len(PAIRS)
    again = Tokenizer(TOKENIZER.model)  # the same bytes, another object
    second = tokenize_pairs(pairs, again, again, FilterConfig())
    assert sum(calls) == len(PAIRS)
    assert first.pairs.cache_files == second.pairs.cache_files != []
    other = characters(["cba zyx"] * 3 + ["c"])
    assert other.model != TOKENIZER.model
    third = tokenize_pairs(pairs, TOKENIZER, other, None)
    assert sum(calls) == 2 * len(PAIRS)
    assert third.pairs[0]["target_ids"] == other.encode("x y z")


def test_pairs_that_are_a_selection(pairs):
    corpus = tokenize_pairs(pairs.select([7, 0]), TOKENIZER, TOKENIZER, None)
    assert kept(corpus) == [PAIRS[7], PAIRS[0]]
    assert corpus.source_lengths.tolist() == [6, 6]


def config(**options):
    return TranslationConfig(
        tokenizer=TokenizerConfig(**{"kind": "char", "vocab_size": 400, **options})
    )


def test_a_shared_tokenizer_is_one_object_that_knows_both_sides(pairs):
    source, target = build_tokenizers(config(byte_fallback=False), pairs)
    assert source is target
    assert source.unk not in source.encode("abc xyz")


def test_tokenizers_of_their_own_know_their_side(pairs):
    source, target = build_tokenizers(config(shared=False, byte_fallback=False), pairs)
    assert source.unk not in source.encode("abc") and source.unk in source.encode("x")
    assert target.unk not in target.encode("xyz") and target.unk in target.encode("a")


def test_existing_models_are_loaded(pairs, tmp_path):
    other = characters(["zyx"] * 4)
    TOKENIZER.save(tmp_path / "s.model")
    other.save(tmp_path / "t.model")
    model, target_model = str(tmp_path / "s.model"), str(tmp_path / "t.model")
    source, target = build_tokenizers(config(model=model), pairs)
    assert source is target and source.model == TOKENIZER.model
    source, target = build_tokenizers(
        config(model=model, target_model=target_model, shared=False), pairs
    )
    assert (source.model, target.model) == (TOKENIZER.model, other.model)


def test_wrong_tokenizer_options(pairs, tmp_path):
    TOKENIZER.save(tmp_path / "s.model")
    model = str(tmp_path / "s.model")
    with pytest.raises(UsageError, match=r"'tokenizer.model' is .*none\.model: no such file"):
        build_tokenizers(config(model=str(tmp_path / "none.model")), pairs)
    with pytest.raises(UsageError, match=r"'tokenizer.target_model' is not set"):
        build_tokenizers(config(model=model, shared=False), pairs)
    with pytest.raises(UsageError, match=r"'tokenizer.model' is not; set both"):
        build_tokenizers(config(target_model=model), pairs)
    (tmp_path / "bad.model").write_bytes(b"x")
    with pytest.raises(RunError, match=r"bad\.model: not a SentencePiece model"):
        build_tokenizers(config(model=str(tmp_path / "bad.model")), pairs)
    with pytest.raises(UsageError, match=r"'tokenizer.vocab_size' is 8000"):
        build_tokenizers(config(kind="unigram", vocab_size=8000), pairs)


def test_a_huge_corpus_is_sampled_for_the_tokenizer(monkeypatch):
    pairs = datasets.Dataset.from_dict({"source": ["ab"] * 50, "target": ["cd"] * 50})
    seen = []
    monkeypatch.setattr(
        Tokenizer, "train", classmethod(lambda cls, lines, _: seen.append(len(list(lines))))
    )
    build_tokenizers(config(sample_sentences=10), pairs)
    build_tokenizers(config(sample_sentences=50), pairs)
    assert seen == [20, 100]


def test_several_processes_give_the_same_tokens(monkeypatch, tmp_path):
    """In parts of their own in the cache; what one process has cached is taken as it is."""
    texts = [f"a b {n}" for n in range(40)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"en": t, "de": t[::-1]}) + "\n" for t in texts))
    data = DataConfig(train=str(path), cache_dir=str(tmp_path / "cache"))
    tokenizer = characters(texts)
    monkeypatch.setattr(corpus_module, "cores", lambda: 2)
    found = {}
    for workers, rows in ((1, 100), (2, 10)):
        monkeypatch.setattr(corpus_module, "_ROWS_A_WORKER", rows)
        pairs = load_pairs(data, "train")
        corpus = tokenize_pairs(pairs, tokenizer, tokenizer, FilterConfig(max_length=8))
        found[workers] = corpus.pairs[:]
        assert len(corpus.pairs.cache_files) == workers
        for file in list(tmp_path.rglob("cache-*.arrow")):
            assert workers == 1 or "_of_00002" in file.name
            again = tokenize_pairs(pairs, tokenizer, tokenizer, FilterConfig(max_length=8))
            assert len(again.pairs.cache_files) == workers
        for file in list(tmp_path.rglob("cache-*.arrow")):
            file.unlink()
    assert found[1] == found[2] and found[1]["source"]


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_full_disk_is_named_also_where_datasets_says_something_else(monkeypatch, wrapped):
    def write(self, *arguments, **options):
        try:
            raise OSError(28, "No space left on device")
        except OSError:
            if wrapped:
                raise ValueError("I/O operation on closed file")  # noqa: B904
            raise

    pairs = datasets.Dataset.from_dict({"source": ["a dog"], "target": ["ein hund"]})
    monkeypatch.setattr(datasets.Dataset, "map", write)
    with pytest.raises(RunError, match=r"cannot be written \(No space left on device\).*cache_dir"):
        tokenize_pairs(pairs, TOKENIZER, TOKENIZER, None)
