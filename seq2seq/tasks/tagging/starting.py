"""What a run keeps of the model that it starts from (``training.start_from``): its vocabulary, and
its labels or new ones."""

from __future__ import annotations

import dataclasses

from seq2seq.errors import UsageError
from seq2seq.tasks.tagging.config import TaggingConfig
from seq2seq.tasks.tagging.vocabulary import TaggingVocabulary


def vocabulary_of_start(
    first: TaggingVocabulary, before: TaggingConfig, built: TaggingVocabulary, config: TaggingConfig
) -> TaggingVocabulary:
    """The vocabulary ``first`` of the model to start from, whose configuration is ``before``; with
    ``training.new_labels`` it has the labels of ``built``, that of the training sentences. Raises
    UsageError for other features and, without ``new_labels``, for labels that it does not have."""
    name = f"training.start_from {config.training.start_from}"
    first = dataclasses.replace(first, combining=True)  # as the sentences of this run were split
    _check_features(first, built, name)
    if before.model.lowercase != config.model.lowercase:  # of words, which are taken from it
        raise UsageError(
            f"{name}: its 'model.lowercase' is {before.model.lowercase}, here "
            f"{config.model.lowercase}; expected the same"
        )
    if config.training.new_labels:
        return dataclasses.replace(
            first, columns=built.columns, sentence_labels=built.sentence_labels
        )
    if before.model.scheme != config.model.scheme:
        raise UsageError(
            f"{name}: its 'model.scheme' is {before.model.scheme}, here {config.model.scheme}; "
            f"{_OR_NEW}"
        )
    _check_labels(first, built, name)
    return first


_OR_NEW = "expected the same labels, or 'training.new_labels: true', which learns them anew"


def _check_labels(first: TaggingVocabulary, built: TaggingVocabulary, name: str) -> None:
    for before, after in zip(first.columns, built.columns, strict=False):
        unknown = sorted(set(after.labels) - set(before.labels))
        if unknown:
            raise UsageError(
                f"{name}: its '{before.name}' lacks the label '{unknown[0]}'; {_OR_NEW}"
            )
    if (first.sentence_labels is None) != (built.sentence_labels is None):
        gives = "no label" if first.sentence_labels is None else "a label"
        given = "null" if built.sentence_labels is None else "not null"
        raise UsageError(
            f"{name}: it gives {gives} of the whole sentence, and 'data.sentence_label' is "
            f"{given}; {_OR_NEW}"
        )
    names = [[column.name for column in one.columns] for one in (first, built)]
    if names[0] != names[1]:
        raise UsageError(f"{name}: labels {names[0]}, and 'data.labels' {names[1]}; {_OR_NEW}")
    unknown = sorted(set(built.sentence_labels or ()) - set(first.sentence_labels or ()))
    if unknown:
        raise UsageError(f"{name}: it lacks the label '{unknown[0]}' of sentences; {_OR_NEW}")


def _check_features(first: TaggingVocabulary, built: TaggingVocabulary, name: str) -> None:
    beside = [[feature.name for feature in one.features] for one in (first, built)]
    if beside[0] != beside[1]:
        raise UsageError(
            f"{name}: features {beside[0]}, and 'data.features' {beside[1]}; expected the same"
        )
