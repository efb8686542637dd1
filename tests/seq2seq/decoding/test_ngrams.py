"""No n-gram twice: beam search and sampling count the same, prompts included, and a text whose
vocabulary is used up ends."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from seq2seq.decoding import beam_search
from seq2seq.decoding.ngrams import without_repeats
from seq2seq.decoding.sampling import _Grams
from seq2seq.errors import UsageError
from tests.seq2seq.decoding.toys import EOS, IDS, ToyRNN
from tests.seq2seq.tasks.generation.test_generator import make

PROMPTS = [[3, 4, 3], [5], [4, 5, 4, 4, 5, 3], []]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_search_bars_what_sampling_bars(size):
    longest = max(map(len, PROMPTS))
    rows = [[-1] * (longest - len(prompt)) + prompt for prompt in PROMPTS]
    barred = without_repeats(torch.zeros(len(rows), 6), torch.tensor(rows), size)
    for row, prompt in zip(barred, PROMPTS, strict=True):
        expected = set(_Grams(size, prompt).forbidden())
        assert set((row == -torch.inf).nonzero().flatten().tolist()) == expected


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("beam", [1, 3])
def test_beam_search_counts_the_prompts(size, beam):
    model = ToyRNN(vocabulary=8)
    found = beam_search(
        model, model.start([0, 1, 2, 3]), sources=4, beam_size=beam, no_repeat_ngram=size,
        max_lengths=torch.full((4,), 9), min_length=9, prompts=PROMPTS, n_best=beam, **IDS,
    )  # fmt: skip
    for prompt, hypotheses in zip(PROMPTS, found, strict=True):
        for hypothesis in hypotheses:
            tokens = [*prompt, *(t for t in hypothesis.tokens if t != EOS)]
            grams = [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]
            own = grams[max(0, len(prompt) - size + 1) :]
            earlier = grams[: len(grams) - len(own)]
            assert len(set(own)) == len(own) and not set(own) & set(earlier)


def test_each_source_needs_its_prompt():
    model = ToyRNN()
    with pytest.raises(ValueError, match="there are 1 prompts; expected 2"):
        beam_search(
            model, model.start([0, 1]), sources=2, beam_size=1, max_lengths=torch.tensor([2, 2]),
            prompts=[[3]], no_repeat_ngram=1, **IDS,
        )  # fmt: skip


@pytest.mark.parametrize("documents", ["none", "line"])
@pytest.mark.parametrize("beam", [1, 2])
def test_a_text_whose_vocabulary_is_used_up_ends(documents, beam):
    generator = make(documents=documents)
    chosen = dataclasses.replace(
        generator.config.generation, no_repeat_ngram=1, max_length=500, beam_size=beam
    )
    found = generator.generate_batch(["To be", "W"], settings=chosen, seed=1, samples=2)
    for prompt, texts in zip(["To be", "W"], found, strict=True):
        for one in texts:
            assert one.reason in ("end", "length") and len(set(one.text)) == len(one.text)
            assert not set(one.text) & set(prompt)
    if beam == 1:
        written = "".join(generator.session(settings=chosen, seed=1).write("To be"))
        assert written == found[0][0].text


def test_samples_have_a_bound(run, tmp_path):
    generator = make()
    with pytest.raises(UsageError, match="samples is 10001; expected a whole number from 1 to"):
        generator.generate_batch(["a"], samples=10_001)
    status, _, err = run("generate", tmp_path, "--samples", "10001")
    assert status == 2 and "--samples is 10001; expected 1 to 10,000" in err
