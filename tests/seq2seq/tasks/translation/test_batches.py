from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.config.vocabulary import TokenizerConfig
from seq2seq.errors import UsageError
from seq2seq.tasks.translation.batches import IGNORE, Batch, TrainingBatches, collate, plan_batches
from seq2seq.tasks.translation.config import DataConfig
from seq2seq.tasks.translation.corpus import Corpus, tokenize_pairs
from seq2seq.text.sentencepiece import Tokenizer

FIELDS = tuple(Batch.__dataclass_fields__)
MULTI30K = Path(__file__).parents[3] / "shared" / "data" / "multi30k"


def same(first, second):
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in FIELDS)


def test_collate():
    batch = collate([[5, 6, 7], [8]], [[9], [10, 11]], [4, 2])
    assert batch.source.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch.source_lengths.tolist() == [3, 1]
    assert batch.target_input.tolist() == [[2, 9, 0], [2, 10, 11]]
    assert batch.target_output.tolist() == [[9, 3, IGNORE], [10, 11, 3]]
    assert batch.target_lengths.tolist() == [2, 3]
    assert batch.indices.tolist() == [4, 2]
    assert batch.target_count == 5 == int((batch.target_output != IGNORE).sum())
    assert all(getattr(batch, name).dtype == torch.int64 for name in FIELDS)


def test_collate_empty_sides():
    batch = collate([[], []], [[], [4]])
    assert batch.source.tolist() == [[0], [0]] and batch.source_lengths.tolist() == [0, 0]
    assert batch.target_input.tolist() == [[2, 0], [2, 4]]
    assert batch.target_output.tolist() == [[3, IGNORE], [4, 3]]
    assert batch.indices.tolist() == [0, 1]


def test_collate_unequal_numbers():
    with pytest.raises(ValueError, match="2 sources for 1 targets"):
        collate([[1], [2]], [[1]])


def test_a_batch_moves_to_a_device():
    batch = collate([[5]], [[6]]).to("meta")
    assert all(getattr(batch, name).device.type == "meta" for name in FIELDS)


LENGTHS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=200)


@settings(deadline=None, max_examples=60)
@given(LENGTHS, st.integers(1, 300), st.integers(1, 40), st.integers(0, 2**32), st.integers(0, 9))
def test_a_plan_holds_every_row_once_and_keeps_to_the_budget(lengths, tokens, most, seed, epoch):
    source = np.array([pair[0] for pair in lengths], dtype=np.int32)
    target = np.array([pair[1] for pair in lengths], dtype=np.int32)
    plan = plan_batches(source, target, tokens, most, seed, epoch)
    assert sorted(row for rows in plan for row in rows.tolist()) == list(range(len(lengths)))
    for rows in plan:
        longest = max(source[rows].max(), target[rows].max() + 1)
        assert 1 <= len(rows) <= most
        assert len(rows) * longest <= tokens or len(rows) == 1
    again = plan_batches(source, target, tokens, most, seed, epoch)
    assert all(np.array_equal(a, b) for a, b in zip(plan, again, strict=True))


def sentence_lengths(count=20000):
    """Lengths like those of image captions: around 14, target and source alike."""
    random = np.random.default_rng(0)
    target = random.gamma(9, 1.6, count) + 2
    source = np.maximum(target * random.normal(0.95, 0.18, count), 2)
    return source.astype(np.int32), target.astype(np.int32)


def padding(source, target, plan):
    """Fraction of positions that are padding, of the source and of the target side."""
    target = target + 1
    return [
        1 - side.sum() / sum(len(rows) * side[rows].max() for rows in plan)
        for side in (source, target)
    ]


def test_epochs_and_seeds_differ_in_order_and_in_batches():
    source, target = sentence_lengths()
    plans = [plan_batches(source, target, 4096, 1024, *key) for key in ((1, 0), (1, 1), (2, 0))]
    sets = [{frozenset(rows.tolist()) for rows in plan} for plan in plans]
    for other in (1, 2):
        assert len(sets[0] & sets[other]) < 0.05 * len(sets[0])
    sizes = [[len(rows) for rows in plan] for plan in plans]
    # Longer sentences make smaller batches: a sorted order would show.
    assert sizes[0] != sorted(sizes[0]) and sizes[0] != sorted(sizes[0], reverse=True)


def test_little_is_padding():
    source, target = sentence_lengths()
    plan = plan_batches(source, target, 4096, 1024, 1, 0)
    assert max(padding(source, target, plan)) < 0.10
    # And the budget is used, up to the batch at the end of the sorted order.
    filled = [len(rows) * max(source[rows].max(), target[rows].max() + 1) for rows in plan]
    assert np.mean(filled) > 0.95 * 4096


@pytest.fixture(scope="module")
def corpus():
    random = np.random.default_rng(3)
    words = ["".join(random.choice(list("abcdeü"), random.integers(2, 7))) for _ in range(300)]
    texts = [" ".join(random.choice(words, random.integers(1, 12))) for _ in range(500)]
    pairs = datasets.Dataset.from_dict({"source": texts, "target": texts[::-1]})
    source = Tokenizer.train(texts, TokenizerConfig(vocab_size=330))
    target = Tokenizer.train(texts, TokenizerConfig(kind="bpe", vocab_size=330))
    return tokenize_pairs(pairs, source, target, None), source, target


def batches(corpus, sampling=0.0, seed=1, tokens=300):
    data = DataConfig(batch_tokens=tokens, batch_sentences=32)
    return TrainingBatches(*corpus, data, sampling, seed)


def test_batches_hold_the_pairs_of_the_corpus(corpus):
    tokens, seen = 0, []
    for batch in batches(corpus).epoch(0):
        for row, index in enumerate(batch.indices.tolist()):
            pair = corpus[0].pairs[index]
            source = batch.source[row, : batch.source_lengths[row]].tolist()
            target = batch.target_output[row, : batch.target_lengths[row]].tolist()
            assert source == pair["source_ids"]
            assert target == [*pair["target_ids"], 3]
            assert batch.target_input[row, 1 : batch.target_lengths[row]].tolist() == target[:-1]
            seen.append(index)
        tokens += batch.target_count
    assert sorted(seen) == list(range(500))
    assert tokens == corpus[0].target_lengths.sum() + 500


@pytest.mark.parametrize("sampling", [0.0, 0.1])
def test_resuming_in_mid_epoch_gives_the_same_batches(corpus, sampling):
    whole = list(batches(corpus, sampling).epoch(2))
    assert len(whole) == batches(corpus, sampling).len_epoch(2) > 20
    resumed = batches(corpus, sampling)  # another process would start like this
    later = list(resumed.epoch(2, skip=7))
    assert len(later) == len(whole) - 7
    assert all(same(a, b) for a, b in zip(whole[7:], later, strict=True))
    next(resumed.epoch(3))
    assert same(next(resumed.epoch(2, skip=11)), whole[11])
    assert list(resumed.epoch(2, skip=len(whole))) == []


def test_skipped_batches_are_not_made(corpus, monkeypatch):
    made = []
    original = TrainingBatches._batch
    monkeypatch.setattr(
        TrainingBatches, "_batch", lambda self, *a: made.append(a[2]) or original(self, *a)
    )
    training = batches(corpus)
    rest = list(training.epoch(0, skip=training.len_epoch(0) - 2))
    assert len(made) == len(rest) == 2


def test_sampling_draws_anew_each_epoch_and_keeps_the_text(corpus):
    training = batches(corpus, sampling=0.1)
    _, source, target = corpus
    drawn = []
    for epoch in (0, 1):
        texts = {}
        for batch in training.epoch(epoch):
            for row, index in enumerate(batch.indices.tolist()):
                ids = batch.source[row, : batch.source_lengths[row]].tolist()
                words = batch.target_output[row, : batch.target_lengths[row]].tolist()
                assert source.decode(ids) == corpus[0].pairs[index]["source"]
                assert target.decode(words) == corpus[0].pairs[index]["target"]
                texts[index] = (ids, words)
        drawn.append(texts)
    differ = sum(drawn[0][i] != drawn[1][i] for i in range(500))
    assert differ > 400


def test_another_seed_samples_otherwise(corpus):
    first, second = (next(batches(corpus, 0.1, seed=seed).epoch(0)) for seed in (1, 2))
    assert not same(first, second)


@pytest.mark.parametrize("every", [2, 3, 7, 1000])
def test_each_of_so_many_is_what_it_is_among_all(corpus, every):
    training = batches(corpus, 0.1)
    alone = list(training.epoch(0))
    for skip in (0, 1, 5):
        some = list(training.epoch(0, skip, every))
        assert all(same(a, b) for a, b in zip(alone[skip::every], some, strict=True))


def test_an_over_long_sentence_is_alone(corpus):
    training = batches(corpus, tokens=1)
    assert {len(batch.indices) for batch in training.epoch(0)} == {1}


def test_wrong_uses(corpus):
    empty = Corpus(corpus[0].pairs.select([]), np.array([]), np.array([]), {"empty": 0, "ratio": 9})
    with pytest.raises(UsageError, match=r"no training pair is left \(dropped: 9 ratio\)"):
        batches((empty, *corpus[1:]))


@pytest.mark.skipif(not MULTI30K.exists(), reason="needs ../shared/data/multi30k")
def test_multi30k_as_it_is(tmp_path):
    from seq2seq.tasks.translation.pairs import load_pairs

    data = DataConfig(train=f"{MULTI30K}/val.{{lang}}.gz", cache_dir=str(tmp_path))
    pairs = load_pairs(data, "train")
    assert len(pairs) == 1014
    texts = pairs["source"][:] + pairs["target"][:]
    tokenizer = Tokenizer.train(texts, TokenizerConfig(vocab_size=2000))
    corpus = tokenize_pairs(pairs, tokenizer, tokenizer, None)
    training = TrainingBatches(corpus, tokenizer, tokenizer, data, 0.0, 1)
    assert sum(len(batch.indices) for batch in training.epoch(0)) == 1014
    # Text goes through unchanged but for no-break spaces.
    for text, ids in zip(pairs["target"], corpus.pairs["target_ids"], strict=True):
        assert tokenizer.decode(ids) == " ".join(text.split())
