"""What a user gives beside the words of a sentence, checked against what the model reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from seq2seq.errors import UsageError
from seq2seq.tasks.tagging.vocabulary import TaggingVocabulary

Beside = Mapping[str, Sequence[str]]  # of one sentence: name of a feature -> its values


def values_of(
    given: object, vocabulary: TaggingVocabulary, sizes: Sequence[int]
) -> list[list[Sequence[str]]]:
    """Values of each feature of each sentence, in the order of the vocabulary; ``sizes`` are the
    sentences' words. Raises UsageError for what is missing, unknown or of another number."""
    names = [feature.name for feature in vocabulary.features]
    if given is None:
        if names and any(sizes):
            raise UsageError(missing(names))
        return []
    if not isinstance(given, Sequence) or len(given) != len(sizes):
        found = f"{len(given)}" if isinstance(given, Sequence) else type(given).__name__
        raise UsageError(
            f"features is {found}; expected a mapping for each of {len(sizes)} sentences"
        )
    pairs = zip(given, sizes, strict=True)
    return [_of_one(one, names, size, n) for n, (one, size) in enumerate(pairs, start=1)]


def missing(names: Sequence[str]) -> str:
    """What to say where features are needed and not given."""
    listed = ", ".join(f"'{name}'" for name in names)
    first = names[0]
    return (
        f"the model reads {listed} beside each word, and words alone were given; give "
        f"features={{'{first}': [...]}} in Python; on the command line 'tag --columns' reads them "
        f"from a file in columns, and '--features {first}=N' says which (from 0)"
    )


def _of_one(given: object, names: Sequence[str], size: int, number: int) -> list[Sequence[str]]:
    where = f"sentence {number}: features"
    if not isinstance(given, Mapping):
        raise UsageError(f"{where} is {given!r:.60}; expected {{NAME: VALUES}}")
    if set(given) != set(names):
        raise UsageError(
            f"{where} has {', '.join(map(str, given)) or 'none'}; the model reads "
            f"{', '.join(names) or 'none'}"
        )
    for name in names:
        values = given[name]
        if isinstance(values, str) or not isinstance(values, Sequence):
            raise UsageError(f"{where}: '{name}' is {values!r:.60}; expected a list of text")
        if len(values) != size:
            raise UsageError(f"{where}: {size} words and {len(values)} values of '{name}'")
    return [given[name] for name in names]
