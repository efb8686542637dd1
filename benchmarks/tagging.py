"""Speed of tagging on CPU: words a second, beside the same network written on torch.nn.

    python -m benchmarks.tagging --output benchmarks/tagging-cpu-amd.json
    python -m benchmarks.tagging --flair PYTHON --output benchmarks/tagging-flair-cpu-amd.json

PYTHON is an interpreter that imports flair; this script installs nothing.

The model is that of recipes/tagging/conll2003.yaml with random weights: the arithmetic is that of
trained ones, and the labels are as many. Text is made up: sentences as long as CoNLL-2003's, words
as frequent as in natural text. The other contender is what most taggers do: torch.nn.LSTM on
packed sequences, the characters of each word of the batch, Viterbi as a loop over steps.

flair's SequenceTagger has the same sizes, but for an LSTM over characters (it has no convolution),
and takes its turns in a process of its own. Its ``Sentence`` objects are made in the time measured,
as ``Tagged`` objects are here. See ``contest`` for how time is measured.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.contest import cpu_time, parser, plain_lstm, report, words_per_second
from benchmarks.flair_process import FlairProcess
from seq2seq import Tagger
from seq2seq.config import load_config
from seq2seq.tasks.tagging.model import TaggingModel
from seq2seq.tasks.tagging.vocabulary import TaggingVocabulary, make_column, shape_of

RECIPE = Path(__file__).parents[1] / "recipes" / "tagging" / "conll2003.yaml"
SENTENCES, MEAN_LENGTH, WORDS = 2000, 13.5, 20_000
TYPES = ("LOC", "MISC", "ORG", "PER")
BATCH = 64


def main() -> None:
    options = parser(__doc__.splitlines()[0]).parse_args()
    torch.set_num_threads(options.threads)
    report("tag", measure(options.rounds, flair=options.flair), options.output)


def measure(rounds: int, sentences: int = SENTENCES, flair: str | None = None) -> dict[str, float]:
    """Words per second of CPU time of each contender."""
    texts = made_up(sentences)
    words = sum(map(len, texts))
    tagger = make_tagger(texts)
    plain = Plain(tagger)
    contenders = {
        "Tagger.tag, fp32": cpu_time(lambda: tagger.tag(texts, batch_size=BATCH)),
        "Tagger.tag, bf16": cpu_time(lambda: tagger.tag(texts, batch_size=BATCH, precision="bf16")),
        "Tagger.tag with probabilities, fp32": cpu_time(
            lambda: tagger.tag(texts, batch_size=BATCH, probabilities=True)
        ),
        "torch.nn, characters of each word, fp32": cpu_time(lambda: plain.tag(texts)),
    }
    assert [one.labels["ner"] for one in tagger.tag(texts)] == plain.tag(texts)
    if flair is None:
        return words_per_second(contenders, words, rounds)
    with FlairProcess(flair, as_flair_reads(tagger, texts)) as peer:
        named = f"flair {peer.version}, fp32"
        return words_per_second({**contenders, named: peer.seconds}, words, rounds)


def made_up(count: int) -> list[list[str]]:
    """Sentences of made-up words whose frequencies follow Zipf's law."""
    random = np.random.default_rng(0)
    letters = list("etaoinshrdlucmfwygpbvk")
    lengths = random.poisson(4, WORDS) + 1
    words = ["".join(random.choice(letters, length)) for length in lengths]
    words = [word.capitalize() if n % 5 == 0 else word for n, word in enumerate(words)]
    shares = 1 / np.arange(1, WORDS + 1)
    shares /= shares.sum()
    sizes = random.geometric(1 / MEAN_LENGTH, count)
    return [list(random.choice(words, size, p=shares)) for size in sizes]


def make_tagger(texts: list[list[str]]) -> Tagger:
    torch.manual_seed(0)
    config = load_config(RECIPE, {"model.vectors": ""})
    labels = ["O", *(f"{tag}-{kind}" for kind in TYPES for tag in "BI")]
    known = sorted({word.lower() for text in texts for word in text})
    vocabulary = TaggingVocabulary(
        words=known,
        trained=len(known),
        characters="".join(sorted({c for text in texts for word in text for c in word})),
        columns=[make_column("ner", labels, "bioes")],
        sentence_labels=None,
        lowercase=True,
        longest=config.model.characters.longest,
    )
    model = TaggingModel(config.model, vocabulary).eval()
    for parameter in model.heads[0].chain.parameters():
        nn.init.normal_(parameter)
    return Tagger(model, vocabulary, config)


class Plain:
    """The same network on torch.nn, with the weights of ``tagger``."""

    def __init__(self, tagger: Tagger) -> None:
        model = tagger.model
        self.lstm = plain_lstm(model.encoder.layers[0])
        self.model, self.vocabulary, self.head = model, tagger.vocabulary, model.heads[0]
        chain = self.head.chain
        lowest = -1e4
        self.start = chain.start.masked_fill(~chain.allowed_start, lowest)
        self.between = chain.transitions.masked_fill(~chain.allowed, lowest)
        self.end = chain.end.masked_fill(~chain.allowed_end, lowest)

    @torch.inference_mode()
    def tag(self, texts: list[list[str]]) -> list[list[str]]:
        order = sorted(range(len(texts)), key=lambda n: -len(texts[n]))
        found: list[list[str]] = [[] for _ in texts]
        for at in range(0, len(order), BATCH):
            rows = order[at : at + BATCH]
            for row, labels in zip(rows, self._batch([texts[n] for n in rows]), strict=True):
                found[row] = labels
        return found

    def _batch(self, texts: list[list[str]]) -> list[list[str]]:
        lengths = torch.tensor([len(text) for text in texts])
        flat = [word for text in texts for word in text]
        spelled = [self.vocabulary.character_ids(word) for word in flat]
        longest = max(map(len, spelled))
        letters = torch.tensor([ids + [0] * (longest - len(ids)) for ids in spelled])
        sizes = torch.tensor([len(ids) for ids in spelled])
        parts = [
            self.model.embedding(torch.tensor([self.vocabulary.word_id(w) for w in flat])),
            self.model.characters(letters, sizes),
            self.model.shapes(torch.tensor([shape_of(word) for word in flat])),
        ]
        vectors = torch.cat(parts, -1).split(lengths.tolist())
        padded = nn.utils.rnn.pad_sequence(list(vectors), batch_first=True)  # (B, T, E)
        packed = pack_padded_sequence(padded, lengths, batch_first=True)
        outputs, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        best = self._viterbi(self.head.linear(outputs), lengths)
        labels = self.vocabulary.columns[0].labels
        bio = {"S": "B", "E": "I"}
        return [[bio.get(labels[i][0], labels[i][0]) + labels[i][1:] for i in row] for row in best]

    def _viterbi(self, emissions: Tensor, lengths: Tensor) -> list[list[int]]:
        """Step by step, and back row by row, as most implementations do."""
        score = self.start + emissions[:, 0]
        back = []
        for step in range(1, emissions.shape[1]):
            all_scores = score.unsqueeze(2) + self.between + emissions[:, step].unsqueeze(1)
            value, index = all_scores.max(1)
            score = torch.where((step < lengths).unsqueeze(1), value, score)
            back.append(index)
        last = (score + self.end).argmax(1)
        found = []
        for row, length in enumerate(lengths.tolist()):
            path = [int(last[row])]
            for index in reversed(back[: length - 1]):
                path.append(int(index[row, path[-1]]))
            found.append(path[::-1])
        return found


def as_flair_reads(tagger: Tagger, texts: list[list[str]]) -> dict[str, object]:
    """A model of flair's of the same sizes; see ``flair_peer``."""
    model, vocabulary = tagger.config.model, tagger.vocabulary
    return {
        "task": "tag",
        "sentences": texts,
        "known": vocabulary.words,
        "word_size": model.embedding_size,
        "characters": vocabulary.characters,
        "character_embedding": model.characters.embedding_size,
        "character_size": model.characters.hidden_size,
        "hidden_size": model.encoder.hidden_size,
        "labels": vocabulary.columns[0].labels,
        "batch_size": BATCH,
        "threads": torch.get_num_threads(),
    }


if __name__ == "__main__":
    main()
