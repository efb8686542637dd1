"""flair's SequenceTagger as a process that tags on demand; ``benchmarks/tagging.py`` starts it.

Runs under a Python that has flair, and imports nothing of this project. The first line of standard
input is a JSON object of sentences and sizes; each further line asks for one round, which is
answered with the seconds of CPU time that it took. Weights are random.
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
    StackedEmbeddings,
    WordEmbeddings,
)
from flair.models import SequenceTagger  # noqa: E402


def make_tagger(given: dict) -> SequenceTagger:
    """Words from a table, characters by an LSTM (flair has no convolution), BiLSTM, CRF."""
    torch.manual_seed(0)
    known = {word: number for number, word in enumerate(given["known"])}
    words = WordEmbeddings(None, vocab=known, embedding_length=given["word_size"], name="random")
    torch.nn.init.normal_(words.embedding.weight)
    letters = Dictionary(add_unk=True)
    for letter in given["characters"]:
        letters.add_item(letter)
    characters = CharacterEmbeddings(
        letters, given["character_embedding"], given["character_size"] // 2
    )
    tags = Dictionary(add_unk=False)
    for label in given["labels"]:
        tags.add_item(label)
    tagger = SequenceTagger(
        embeddings=StackedEmbeddings([words, characters]),
        tag_dictionary=tags,
        tag_type="ner",
        tag_format="BIOES",
        hidden_size=given["hidden_size"],
        rnn_layers=1,
        use_crf=True,
        reproject_embeddings=False,
    )
    return tagger.eval()


def main() -> None:
    given = json.loads(sys.stdin.readline())
    torch.set_num_threads(given["threads"])
    flair.device = torch.device("cpu")
    tagger = make_tagger(given)
    versions = {"flair": flair.__version__, "torch": torch.__version__}
    print(json.dumps(versions), file=answers, flush=True)
    for _ in sys.stdin:
        started = time.process_time()
        sentences = [Sentence(words) for words in given["sentences"]]
        tagger.predict(sentences, mini_batch_size=given["batch_size"])
        print(time.process_time() - started, file=answers, flush=True)


if __name__ == "__main__":
    main()
