"""Speed of classification on CPU: words a second, beside the same network written on torch.nn.

    python -m benchmarks.classification --output benchmarks/classification-cpu-amd.json
    python -m benchmarks.classification --flair PYTHON --output FILE.json

PYTHON is an interpreter that imports flair; this script installs nothing.

The model is that of recipes/classification/sst2.yaml with random weights: the arithmetic is that of
trained ones. Text is made up: sentences as long as the treebank has them (19 words), words as
frequent as in natural text. The other contender is what most classifiers do: torch.nn.LSTM on
packed sequences in batches sorted by length, pooled by maximum and attention. Both begin with text
and end with labels.

flair's TextClassifier has the same sizes, but pools the first and the last state alone, which is
its only way, and takes its turns in processes of its own: one is given texts, as the others are,
one is given words, so that its tokeniser costs nothing. See ``contest`` for how time is measured.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.contest import cpu_time, parser, plain_lstm, report, words_per_second
from benchmarks.flair_process import FlairProcess
from seq2seq import Classifier
from seq2seq.config import load_config
from seq2seq.tasks.classification.model import ClassificationModel, Shape
from seq2seq.tasks.classification.targets import Targets
from seq2seq.text.vocabulary import UNK, train_units

RECIPE = Path(__file__).parents[1] / "recipes" / "classification" / "sst2.yaml"
SENTENCES, MEAN_LENGTH, WORDS = 2000, 19, 20_000
BATCH = 64


def main() -> None:
    options = parser(__doc__.splitlines()[0]).parse_args()
    torch.set_num_threads(options.threads)
    report("classify", measure(options.rounds, flair=options.flair), options.output)


def measure(rounds: int, sentences: int = SENTENCES, flair: str | None = None) -> dict[str, float]:
    """Words per second of CPU time of each contender."""
    texts = made_up(sentences)
    words = sum(len(text.split()) for text in texts)
    classifier = make_classifier(texts)
    plain = Plain(classifier)
    contenders = {
        "Classifier.classify, fp32": cpu_time(lambda: classifier.classify(texts, batch_size=BATCH)),
        "Classifier.classify, bf16": cpu_time(
            lambda: classifier.classify(texts, batch_size=BATCH, precision="bf16")
        ),
        "torch.nn, fp32": cpu_time(lambda: plain.classify(texts)),
    }
    assert [one.label for one in classifier.classify(texts)] == plain.classify(texts)
    if flair is None:
        return words_per_second(contenders, words, rounds)
    given = as_flair_reads(classifier, texts)
    cut = [text.split() for text in texts]
    with FlairProcess(flair, given) as peer, FlairProcess(flair, given | {"sentences": cut}) as fed:
        contenders[f"flair {peer.version}, fp32"] = peer.seconds
        contenders[f"flair {peer.version} without its tokeniser, fp32"] = fed.seconds
        return words_per_second(contenders, words, rounds)


def made_up(count: int) -> list[str]:
    """Sentences of made-up words whose frequencies follow Zipf's law."""
    random = np.random.default_rng(0)
    words = [f"word{number}" for number in range(WORDS)]
    shares = 1 / np.arange(1, WORDS + 1)
    shares /= shares.sum()
    sizes = random.poisson(MEAN_LENGTH - 1, count) + 1
    return [" ".join(random.choice(words, size, p=shares)) for size in sizes]


def make_classifier(texts: list[str]) -> Classifier:
    torch.manual_seed(0)
    config = load_config(RECIPE, {"units.vectors": "", "data.format": "auto", "data.phrases": "no"})
    units = train_units(texts, config.units)
    model = ClassificationModel(config.model, Shape(2, units=len(units))).eval()
    for parameter in model.output.parameters():
        nn.init.normal_(parameter, std=10.0)  # labels that rounding does not change
    return Classifier(model, units, Targets("label", ("negative", "positive")), config)


def as_flair_reads(classifier: Classifier, texts: list[str]) -> dict[str, object]:
    """A model of flair's of the same sizes; see ``flair_peer``."""
    model, units = classifier.config.model, classifier.units
    return {
        "task": "classify",
        "sentences": texts,
        "known": [units.piece(number) for number in range(len(units))],
        "word_size": model.embedding_size,
        "hidden_size": model.encoder.hidden_size,
        "labels": classifier.targets.names,
        "batch_size": BATCH,
        "threads": torch.get_num_threads(),
    }


class Plain:
    """The same network on torch.nn, with the weights of ``classifier``."""

    def __init__(self, classifier: Classifier) -> None:
        model = classifier.model
        self.lstm = plain_lstm(model.encoder.layers[0])
        self.model, self.names = model, classifier.targets.names
        self.ids = {classifier.units.piece(n): n for n in range(len(classifier.units))}

    @torch.inference_mode()
    def classify(self, texts: list[str]) -> list[str]:
        read = [[self.ids.get(w, UNK) for w in text.lower().split()] for text in texts]
        order = sorted(range(len(read)), key=lambda n: -len(read[n]))
        found = [""] * len(texts)
        for at in range(0, len(order), BATCH):
            rows = order[at : at + BATCH]
            for row, label in zip(rows, self._batch([read[n] for n in rows]), strict=True):
                found[row] = label
        return found

    def _batch(self, read: list[list[int]]) -> list[str]:
        lengths = torch.tensor([len(ids) for ids in read])
        padded = nn.utils.rnn.pad_sequence([torch.tensor(ids) for ids in read], batch_first=True)
        embedded = nn.functional.embedding(padded, self.model.embedding.weight)  # (B, S, E)
        packed = pack_padded_sequence(embedded, lengths, batch_first=True)
        outputs, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        beyond = (torch.arange(padded.shape[1]) >= lengths[:, None])[..., None]  # (B, S, 1)
        most = outputs.masked_fill(beyond, float("-inf")).amax(1)
        pooling = self.model.pooling
        scores = pooling.query(pooling.hidden(outputs).tanh()).masked_fill(beyond, float("-inf"))
        attended = (scores.softmax(1) * outputs).sum(1)
        logits = self.model.output(torch.cat([most, attended], -1))
        return [self.names[n] for n in logits.softmax(-1).argmax(-1).tolist()]


if __name__ == "__main__":
    main()
