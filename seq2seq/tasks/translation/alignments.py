"""Word alignments from attention, in Pharaoh format."""

from __future__ import annotations

from seq2seq.errors import UsageError
from seq2seq.tasks.translation.plots import join_words
from seq2seq.tasks.translation.translations import Translation


def word_alignment(translation: Translation) -> list[tuple[int, int]]:
    """(source word, target word), from 0, for each word of the translation: the source word that
    it attended to most.

    Words are what spaces separate. A target word's attention is the mean over its subwords, a
    source word's share the sum over its own; of equal ones the first counts.

    Raises UsageError for a translation without attention: none was asked for
    (``translate_nbest(attention=True)``), or the model has none.
    """
    if not translation.tokens or not translation.source_tokens:
        return []
    if translation.attention is None:
        raise UsageError(
            "alignments need attention, and this translation has none: ask for it "
            "(attention=True), of a model that has attention ('model.decoder.attention')"
        )
    weights = translation.attention[: len(translation.tokens)].numpy()  # (T, S), without the end
    joined, targets, sources = join_words(weights, translation.tokens, translation.source_tokens)
    place, number = _numbers(sources), _numbers(targets)
    kept = [column for column, word in enumerate(sources) if word != _BLANK]
    return [
        (place[kept[int(joined[row, kept].argmax())]], number[row])
        for row, word in enumerate(targets)
        if word != _BLANK and kept
    ]


def pharaoh(links: list[tuple[int, int]]) -> str:
    """ "0-0 1-2": source word - target word."""
    return " ".join(f"{source}-{target}" for source, target in links)


_BLANK = "\u2423"  # how ``join_words`` writes a space alone, which is no word


def _numbers(words: list[str]) -> list[int]:
    """The number of each word among those that are not blank."""
    numbers, count = [], 0
    for word in words:
        numbers.append(count)
        count += word != _BLANK
    return numbers
