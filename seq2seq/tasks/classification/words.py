"""The vocabulary of a run, and the pretrained vectors of its words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seq2seq.tasks.classification.committee import Network, members_of
from seq2seq.tasks.classification.config import ClassificationConfig
from seq2seq.tasks.classification.sources import clean_text
from seq2seq.text.vectors import WordVectors, read_vectors, table_of
from seq2seq.text.vocabulary import Units, Words, save_units
from seq2seq.training.log import say
from seq2seq.training.preparing import units_of_run


def units_with_vectors(
    config: ClassificationConfig,
    folder: Path,
    texts: Sequence[str],
    first: Units | None,
    keep: bool,
) -> tuple[Units, WordVectors | None, int]:
    """The vocabulary of the training texts, saved in ``folder``; the vectors of ``units.vectors``;
    and how many words at its end come from them alone.

    The trained part of a vocabulary is learnt again where a run is resumed: it says how many of the
    saved words are kept ones. A run that began with another model's vocabulary has that, also when
    it is resumed.
    """
    options = config.units
    cleaned = [clean_text(text, config.data, options.kind) for text in texts]
    if first is not None or not options.vectors or (keep and config.training.start_from):
        return units_of_run(options, folder, cleaned, first, keep), None, 0
    units = units_of_run(options, folder, cleaned, None, False)
    assert isinstance(units, Words)  # config.check: vectors are of words
    vectors = read_vectors(options.vectors, config.model.embedding_size)
    candidates = (word.lower() if config.data.lowercase else word for word in vectors.words)
    trained = len(units)
    known = set(units.words)
    new = dict.fromkeys(word for word in candidates if word not in known)
    units = units.extended(list(new)[: options.kept_words])
    save_units(units, folder)
    return units, vectors, len(units) - trained


def embed_vectors(network: Network, units: Units | None, vectors: WordVectors) -> None:
    """Give the network's words their vectors, and say how many have one."""
    assert units is not None
    table = table_of(vectors, [units.piece(unit) for unit in range(len(units))])
    trained = 0
    for member in members_of(network):
        assert member.embedding is not None
        member.embedding.begin_with(table)
        trained = len(member.embedding.weight)
    found = int(table.found[:trained].sum())
    say(f"{found:,} of {trained:,} words of the training text have a vector")
