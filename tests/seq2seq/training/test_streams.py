"""Training on a stream: blocks, exact resume, several epochs; of files and of a dataset."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import datasets
import pytest
import torch

from seq2seq import UsageError
from seq2seq.config import config_from_dict
from seq2seq.tasks.generation.config import LanguageConfig
from seq2seq.tasks.generation.stream import StreamedWindows
from seq2seq.tasks.translation.config import TranslationConfig
from seq2seq.tasks.translation.streaming import StreamedBatches
from seq2seq.text.vocabulary import train_units
from seq2seq.training import checkpoints
from seq2seq.training.loop import train
from seq2seq.training.streams import Stream
from tests.seq2seq.running import assert_same_run, kill_and_resume
from tests.seq2seq.tasks.generation import test_training as generation
from tests.seq2seq.training import test_loop as translation


def stream_of(count: int, rows: int, most: int = 1000) -> Stream:
    def numbers():
        yield from ({"n": n} for n in range(count))

    return Stream(lambda: datasets.IterableDataset.from_generator(numbers), rows, len, most)


def twos(rows, number):
    """Batches of two rows; none of a block that begins with 4."""
    batches = [[r["n"] for r in rows[i : i + 2]] for i in range(0, len(rows), 2)]
    if rows[0]["n"] == 4:
        return None
    return len(batches), lambda skip: iter([(number, batch) for batch in batches[skip:]])


def test_a_stream_goes_on_from_its_state_at_any_batch():
    whole = list(stream_of(11, 4).batches(3, 0, twos))
    assert [batch for _, batch in whole] == [[0, 1], [2, 3], [8, 9], [10]]
    assert {number >> 32 for number, _ in whole} == {3} and whole[-1][0] % 2**32 == 2
    for taken in range(1, 5):
        first = stream_of(11, 4)
        assert list(islice(first.batches(3, 0, twos), taken)) == whole[:taken]
        state = json.loads(json.dumps(first.state()))
        second = stream_of(11, 4)
        second.load(state)
        assert list(second.batches(3, taken, twos)) == whole[taken:]
        second.load(state)  # of another epoch, and later than what is asked for
        assert next(second.batches(4, 0, twos)) == (4 << 32, [0, 1])
        second.load(state)
        assert list(second.batches(3, 0, twos)) == whole


def test_a_block_ends_where_its_rows_are_large():
    sizes = Stream(stream_of(11, 4)._open, 4, lambda row: row["n"], 9)
    found = [[r["n"] for r in rows] for rows in blocks(sizes)]
    assert found == [[0, 1, 2, 3], [4, 5], [6, 7], [8, 9], [10]]


def blocks(stream: Stream) -> list:
    found = []
    list(stream.batches(0, 0, lambda rows, _: found.append(rows)))
    return found


@pytest.fixture
def corpus(tmp_path):
    return translation.write_corpus(tmp_path, 0, 150, 10, longest=6)


def translation_run(corpus: Path, output: Path, **training) -> dict:
    values = translation.settings(corpus, output, **training)
    values["data"] |= {"streaming": True, "shuffle_buffer": 40, "batch_tokens": 200}
    return values


def generation_run(corpus: Path, output: Path, **training) -> dict:
    values = generation.settings(corpus / "train.en", output, max_steps=40, **training)
    values["data"] |= {"streaming": True, "shuffle_buffer": 60, "documents": "line"}
    values["data"]["validation"] = str(corpus / "val.en")
    return values


@pytest.mark.parametrize("make", [translation_run, generation_run])
def test_kill_9_and_resume_give_the_same_numbers(corpus, tmp_path, make):
    """In the middle of blocks; over more than one epoch."""
    output = tmp_path / "whole"
    train(config_from_dict(make(corpus, output)), quiet=True)
    state = checkpoints.read(output / "checkpoints" / "last")[1]
    assert state["progress"]["epoch"] >= 1 and "stream" in state
    kill_and_resume(make(corpus, tmp_path / "run"), tmp_path)
    assert_same_run(tmp_path / "run", output)


def test_every_pair_is_seen_once_an_epoch_and_blocks_are_shuffled(corpus, tmp_path):
    config = config_from_dict(translation_run(corpus, tmp_path / "run"))
    assert isinstance(config, TranslationConfig)
    batches = StreamedBatches(config)
    pairs = batches.first_pairs(1000)
    assert len(pairs) == 150
    from seq2seq.tasks.translation.corpus import build_tokenizers

    tokenizers = build_tokenizers(config, pairs)
    batches.use(tokenizers)
    seen = []
    for epoch in range(2):
        rows = [ids for b in batches.epoch(epoch) for ids in b.source[b.source_lengths > 0]]
        seen.append([tokenizers[0].decode(ids.tolist()) for ids in rows])
    assert sorted(seen[0]) == sorted(seen[1]) == sorted(pairs["source"])
    assert seen[0] != seen[1] and sorted(seen[0][:40]) == sorted(pairs["source"][:40])


def test_a_dataset_streams_like_the_files_it_was_made_of(corpus, tmp_path):
    texts = {side: (corpus / f"train.{side}").read_text().splitlines() for side in ("en", "de")}
    datasets.Dataset.from_dict(texts).save_to_disk(tmp_path / "saved")
    folder = tmp_path / "parquet"
    folder.mkdir()
    datasets.Dataset.from_dict(texts).to_parquet(folder / "train.parquet")
    values = translation_run(corpus, tmp_path / "run")
    found = []
    for hub in (None, tmp_path / "saved", folder):
        values["data"] |= {"hub": str(hub), "train": "train"} if hub else {}
        batches = StreamedBatches(config_from_dict(values))
        found.append([row for block in blocks(batches.stream) for row in block])
        state = None
        batches.stream._position = None
        # and goes on from a state in its middle
        rows = []
        whole = batches.stream.batches(0, 0, lambda r, n: (1, lambda skip, r=r: iter([r][skip:])))
        rows += next(whole) + next(whole)
        state = batches.stream.state()
        other = StreamedBatches(config_from_dict(values))
        other.stream.load(state)
        for block in other.stream.batches(0, 2, lambda r, n: (1, lambda s, r=r: iter([r][s:]))):
            rows += block
        assert rows == found[0]
    assert found[0] == found[1] == found[2] and len(found[0]) == 150


@pytest.mark.parametrize("kind", ["characters", "bytes", "words"])
def test_text_streams_without_documents_in_order(tmp_path, kind):
    text = "".join(f"line {n} é\n" for n in range(300))
    (tmp_path / "a.txt").write_text(text[:1000])
    (tmp_path / "b.txt").write_text(text[1000:])
    values = {
        "data": {"train": str(tmp_path / "*.txt"), "streaming": True, "shuffle_buffer": 80,
                 "batch_size": 1, "bptt": 16},
        "units": {"kind": kind},
        "training": {"max_steps": 1},
        "task": "generation",
    }  # fmt: skip
    config = config_from_dict(values)
    assert isinstance(config, LanguageConfig)
    windows = StreamedWindows(config, 0, 1)
    units = train_units([text], config.units)
    windows.use(units)
    found = list(windows.epoch(0))
    assert sum(window.number == 0 for window in found) == 4
    read = torch.cat([w.inputs[0] for w in found])
    decoder = units.decoder()
    told = "".join(decoder.add(int(unit)) for unit in read)
    # the last unit of a block has nothing after it
    assert [line for line in told.split("\n") if line.count("line") == 1][:70] == (
        text.split("\n")[:70]
    )


def test_what_a_stream_cannot_have_is_refused(corpus, tmp_path):
    cases = [
        (translation_run, ("training", "max_steps"), None, "needs 'training.max_steps'"),
        (translation_run, ("data", "filter"), {"deduplicate": True}, "remember the whole stream"),
        (generation_run, ("training", "max_steps"), None, "needs 'training.max_steps'"),
        (generation_run, ("data", "documents"), "file", "a stream has lines and no files"),
    ]
    for make, (section, key), value, told in cases:
        values = make(corpus, tmp_path / "run")
        values[section][key] = value
        with pytest.raises(UsageError, match=told):
            config_from_dict(values)
    values = translation_run(corpus, tmp_path / "run")
    values["data"]["filter"] = {"min_length": 100}
    with pytest.raises(UsageError, match="no training pair is left of the stream"):
        train(config_from_dict(values), quiet=True)
    (corpus / "train.en").write_text("one\n")
    with pytest.raises(UsageError, match="has 1 lines and"):
        train(config_from_dict(translation_run(corpus, tmp_path / "other")), quiet=True)
