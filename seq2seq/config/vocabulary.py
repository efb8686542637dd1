"""The configuration of vocabularies, which are trained on the training text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seq2seq.config.paths import PathText


@dataclass
class VocabularyConfig:
    """What the model reads and writes one at a time; see ``seq2seq.text.vocabulary``."""

    kind: Literal["characters", "bytes", "subwords", "words"] = "words"
    vocab_size: int = 8000  # of subwords; of words and characters the most frequent so many
    min_count: int = 1  # words and characters that are rarer become <unk>
    subwords: Literal["unigram", "bpe"] = "unigram"  # of SentencePiece
    sample_sentences: int = 500_000  # lines: of more a sample for subwords; of a stream the first
    lowercase: bool = False  # words are read in lower case
    split_punctuation: bool = False  # "end." is two words, as is "(see"; else spaces part words


@dataclass
class TokenizerConfig:
    """A SentencePiece model trained on the training text, or an existing one."""

    kind: Literal["unigram", "bpe", "char"] = "unigram"
    vocab_size: int = 8000
    shared: bool = True  # one vocabulary for both languages
    byte_fallback: bool = True
    character_coverage: float = 1.0
    # So many pairs (of more a sample) are plenty for any vocabulary; SentencePiece holds them in
    # memory: 200,000 pairs of 100 characters take 0.5 GB and 17 seconds.
    sample_sentences: int = 200_000
    # Subword regularisation (Kudo 2018) for unigram: the smoothing alpha of the sampled
    # segmentation; BPE-dropout (Provilkov et al. 2020) for bpe: the merge-skipping probability.
    # 0 turns sampling off.
    sampling: float = 0.0
    model: PathText | None = None  # path of an existing .model file (both sides when shared)
    target_model: PathText | None = None  # and, when not shared, of the target side's
