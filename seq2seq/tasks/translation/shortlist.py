"""Which target words a source may be translated with, found before it is translated.

A source may be given the words that its own words are most often translated by (IBM Model 1,
``lexicon.py``), the words that are frequent in any text, and words that stand in the source itself:
names and numbers. Jean et al. 2015, section 3.2, choose a vocabulary so for each batch; Marian,
CTranslate2 and Sockeye offer it, too. The step of the search then multiplies and ranks a quarter of
the vocabulary. What no word of the source suggests cannot be written: translations differ a little.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from seq2seq.arguments import check_whole, listed_texts
from seq2seq.decoding.narrow import Part
from seq2seq.errors import UsageError
from seq2seq.tasks.translation.lexicon import LONGEST, learn_lexicon, usable_pairs
from seq2seq.text.sentencepiece import Tokenizer

SHORTLIST_FILE = "shortlist.safetensors"
_log = logging.getLogger("seq2seq")
NO_SHORTLIST = (
    "this model has no shortlist; learn one from its training text: seq2seq shortlist MODEL "
    "--source FILE --target FILE"
)


@dataclass(frozen=True, eq=False)
class Shortlist:
    """words (V_source, K) int32: the target words that each source word suggests, the likeliest
    first, -1 behind the last; always (F,) int32: those that every source may be given."""

    words: Tensor
    always: Tensor

    def part(
        self,
        sources: Sequence[Sequence[int]],
        more: Sequence[Sequence[int]],
        size: int,
        device: torch.device,
    ) -> Part:
        """What sources of these words may be given of ``size`` target words; ``more``: words that
        each may be given, too."""
        allowed = torch.zeros(len(sources), size + 1, dtype=torch.bool)  # column ``size``: nothing
        allowed[:, self.always.long()] = True
        rows, words = _flat(sources)
        suggested = self.words[words].long()  # (n, K)
        allowed[rows.unsqueeze(1), suggested.where(suggested >= 0, size)] = True
        allowed[_flat(more)] = True
        return Part(allowed[:, :size], device)

    def save(self, directory: Path) -> None:
        tensors = {"words": self.words, "always": self.always}
        # not by save_file, which writes for the owner alone
        (directory / SHORTLIST_FILE).write_bytes(safetensors.torch.save(tensors))


def _flat(lists: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """The number of the list, and the word, of each word: (n,) both."""
    rows = [row for row, words in enumerate(lists) for _ in words]
    words = [word for words in lists for word in words]
    return torch.tensor(rows, dtype=torch.long), torch.tensor(words, dtype=torch.long)


def learn_from_texts(
    sources: Sequence[str],
    targets: Sequence[str],
    source: Tokenizer,
    target: Tokenizer,
    words: int,
    frequent: int,
) -> Shortlist:
    """``learn_shortlist`` of texts."""
    texts = listed_texts("sources", sources, "source"), listed_texts("targets", targets, "target")
    check_whole("words", words, 1), check_whole("frequent", frequent, 0)
    if len(texts[0]) != len(texts[1]):
        raise UsageError(
            f"{len(texts[0])} sources and {len(texts[1])} targets; expected as many: one is the "
            "translation of the other"
        )
    pairs = source.encode_batch(texts[0]), target.encode_batch(texts[1])
    return learn_shortlist(*pairs, source, target, words, frequent)


def learn_shortlist(
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    source: Tokenizer,
    target: Tokenizer,
    words: int,
    frequent: int,
) -> Shortlist:
    """From sentences that translate each other, as their words. Raises UsageError where no pair is
    left to learn from; warns of those left out."""
    given, read = len(sources), len(usable_pairs(sources, targets))
    if not read:
        raise UsageError(
            f"shortlist: none of {given} pairs of texts has 1 to {LONGEST} subwords on both "
            "sides; expected some: sentences and their translations"
        )
    if read < given:
        _log.warning(
            "shortlist: %d of %d pairs are left out: a side is empty or has more than %d subwords",
            given - read,
            given,
            LONGEST,
        )
    _warn_of_unseen(sources, targets, source, target)
    lexicon = learn_lexicon(sources, targets, len(source))
    first = np.searchsorted(lexicon.source, np.arange(len(source)))
    rank = np.arange(len(lexicon.source)) - first[lexicon.source]
    words = min(words, int(rank.max()) + 1)  # no wider than any word needs
    kept = rank < words
    table = torch.full((len(source), words + 1), -1, dtype=torch.int32)
    place = torch.from_numpy(lexicon.source[kept]), torch.from_numpy(rank[kept])
    table[place] = torch.from_numpy(lexicon.target[kept].astype(np.int32))
    table[:, words] = torch.tensor(_same_words(source, target), dtype=torch.int32)
    counts = np.zeros(len(target), dtype=np.int64)
    for one in targets:
        np.add.at(counts, list(one), 1)
    often = np.argsort(-counts, kind="stable")[:frequent]
    special = {target.bos, target.eos, target.pad, target.unk}
    always = sorted(special | {int(word) for word in often if counts[word]})
    return Shortlist(table, torch.tensor(always, dtype=torch.int32))


def _warn_of_unseen(
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    source: Tokenizer,
    target: Tokenizer,
) -> None:
    """Say so where most words of the source's vocabulary stand in no text (a vocabulary for both
    languages: in neither): they then suggest no translation."""
    texts = [*sources, *targets] if source is target else sources
    seen = len({word for text in texts for word in text})
    if 2 * seen < len(source):
        _log.warning(
            "shortlist: these texts have %d of the model's %d words, and lines with others can "
            "hardly be translated with it; expected the texts that the model was trained on",
            seen,
            len(source),
        )


def _same_words(source: Tokenizer, target: Tokenizer) -> list[int]:
    """For each source word the target word that is written alike, or -1."""
    if source is target:
        return list(range(len(source)))
    pieces = {piece: number for number, piece in enumerate(target.pieces(range(len(target))))}
    return [pieces.get(piece, -1) for piece in source.pieces(range(len(source)))]


def read_shortlist(directory: Path, source: Tokenizer, target: Tokenizer) -> Shortlist | None:
    """The shortlist of a saved model. None where it has none, and, with a warning, where it cannot
    be used: a model translates without, and a shortlist can be learnt anew."""
    path = directory / SHORTLIST_FILE
    if not path.is_file():
        return None
    try:
        tensors = safetensors.torch.load(path.read_bytes())
        shortlist = Shortlist(tensors["words"], tensors["always"])
        reason = _why_not(shortlist, source, target)
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
    except (SafetensorError, KeyError) as error:
        reason = f"damaged ({error})"
    if reason is None:
        return shortlist
    _log.warning("%s: %s; left out. Make it anew: seq2seq shortlist", path, reason)
    return None


def _why_not(shortlist: Shortlist, source: Tokenizer, target: Tokenizer) -> str | None:
    """Why a shortlist that was read is none of this model's; None where it is."""
    words, always = shortlist.words, shortlist.always
    if words.dim() != 2 or always.dim() != 1 or {words.dtype, always.dtype} != {torch.int32}:
        found = f"{words.dtype} {tuple(words.shape)} and {always.dtype} {tuple(always.shape)}"
        return f"holds {found}; expected int32 words (V, K) and always (F,)"
    needed = {target.bos, target.eos, target.pad, target.unk}
    fits = len(words) == len(source) and needed <= set(always.tolist())
    for one, least in ((words, -1), (always, 0)):
        fits = fits and (
            not one.numel() or (int(one.min()) >= least and int(one.max()) < len(target))
        )
    if fits:
        return None
    return (
        f"is of other vocabularies than this model's {len(source)} source and {len(target)} target "
        "words"
    )
