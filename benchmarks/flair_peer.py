"""flair's SequenceTagger or TextClassifier as a process that works on demand.

``flair_process`` starts it, under a Python that has flair; it imports nothing of this project. The
first line of standard input is a JSON object: the task, sentences, sizes. Sentences are lists of
words, or texts, which flair's own tokeniser then cuts. Each further line asks for one round, which
is answered with the seconds of CPU time that it took. Weights are random.
"""

from __future__ import annotations

import json
import sys
import time

answers, sys.stdout = sys.stdout, sys.stderr  # flair logs to what is standard output at its import

import flair  # noqa: E402
import torch  # noqa: E402
from flair.data import Dictionary, Sentence  # noqa: E402
from flair.embeddings import (  # noqa: E402
    CharacterEmbeddings,
    DocumentRNNEmbeddings,
    StackedEmbeddings,
    WordEmbeddings,
)
from flair.models import SequenceTagger, TextClassifier  # noqa: E402


def make_tagger(given: dict) -> SequenceTagger:
    """Words from a table, characters by an LSTM (flair has no convolution), BiLSTM, CRF."""
    letters = Dictionary(add_unk=True)
    for letter in given["characters"]:
        letters.add_item(letter)
    characters = CharacterEmbeddings(
        letters, given["character_embedding"], given["character_size"] // 2
    )
    return SequenceTagger(
        embeddings=StackedEmbeddings([make_words(given), characters]),
        tag_dictionary=make_labels(given),
        tag_type="ner",
        tag_format="BIOES",
        hidden_size=given["hidden_size"],
        rnn_layers=1,
        use_crf=True,
        reproject_embeddings=False,
    )


def make_classifier(given: dict) -> TextClassifier:
    """Words from a table, BiLSTM; the first and the last state, which is flair's only pooling of
    a recurrent layer."""
    document = DocumentRNNEmbeddings(
        [make_words(given)],
        hidden_size=given["hidden_size"],
        rnn_type="LSTM",
        bidirectional=True,
        reproject_words=False,
    )
    return TextClassifier(document, label_type="class", label_dictionary=make_labels(given))


def make_words(given: dict) -> WordEmbeddings:
    known = {word: number for number, word in enumerate(given["known"])}
    words = WordEmbeddings(None, vocab=known, embedding_length=given["word_size"], name="random")
    torch.nn.init.normal_(words.embedding.weight)
    return words


def make_labels(given: dict) -> Dictionary:
    labels = Dictionary(add_unk=False)
    for label in given["labels"]:
        labels.add_item(label)
    return labels


def main() -> None:
    given = json.loads(sys.stdin.readline())
    torch.set_num_threads(given["threads"])
    torch.manual_seed(0)
    flair.device = torch.device("cpu")
    make = {"tag": make_tagger, "classify": make_classifier}[given["task"]]
    model = make(given).eval()
    versions = {"flair": flair.__version__, "torch": torch.__version__}
    print(json.dumps(versions), file=answers, flush=True)
    for _ in sys.stdin:
        started = time.process_time()
        sentences = [Sentence(words_or_text) for words_or_text in given["sentences"]]
        model.predict(sentences, mini_batch_size=given["batch_size"])
        print(time.process_time() - started, file=answers, flush=True)


if __name__ == "__main__":
    main()
