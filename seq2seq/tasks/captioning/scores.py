"""Scores of captions against several references each: BLEU, ROUGE-L and CIDEr-D.

Texts are tokenised by ``tokenize``, which does in Python what the evaluation of the COCO captions
does with PTBTokenizer in Java: lower case, contractions split, punctuation dropped. Where
the two differ, see there. BLEU is sacreBLEU's, on tokenised text without smoothing; ROUGE-L and
CIDEr-D are written here, since the packages that have them bring transformers along or need Java.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import regex

from seq2seq.errors import UsageError
from seq2seq.text.letters import LETTERS, SIGN

TOKENIZATION = "lower case, contractions split, punctuation dropped"
_ORDER = 4  # n-grams of up to so many tokens, in BLEU and CIDEr-D
_SIGMA = 6.0  # CIDEr-D's tolerance to a difference in length
_BETA = 1.2  # of ROUGE-L's F measure, as the COCO evaluation has it

_END = object()  # equal to no word and no id
_KEPT = 20_000  # images whose references CiderD keeps prepared: some 20 kB each

Tokens = Sequence[Hashable]  # words, or ids

_CONTRACTION = regex.compile(r"(?<=\w)(n't|'(?:s|m|d|re|ve|ll))\b")
_TOKEN = regex.compile(
    r"n't\b|'(?:s|m|d|re|ve|ll)\b"  # the second half of a contraction
    r"|\d+(?:[.,:]\d+)+"  # 1,000 and 3.5 and 10:30
    rf"|{LETTERS}(?:[-'&]{LETTERS})*"  # words, t-shirt, o'clock, r&b
    rf"|{SIGN}"  # any other sign on its own
)
_QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'})
_DROPPED = frozenset(".,:;?!'\"`-\u2013\u2014\u2026()[]{}")


@dataclass(frozen=True)
class CaptionScores:
    """Corpus scores. BLEU and ROUGE-L run from 0 to 100; CIDEr-D from 0 to 10, and papers often
    give it times 100. ``cider_d_each`` holds CIDEr-D of each caption; it is their mean."""

    bleu: tuple[float, float, float, float]  # BLEU-1 to BLEU-4
    rouge_l: float
    cider_d: float
    cider_d_each: tuple[float, ...]
    signature: str  # sacreBLEU's, of BLEU-4

    @property
    def bleu4(self) -> float:
        return self.bleu[3]

    def __str__(self) -> str:
        bleu = "  ".join(f"BLEU-{n} = {value:.2f}" for n, value in enumerate(self.bleu, 1))
        return (
            f"{bleu}  ROUGE-L = {self.rouge_l:.2f}  CIDEr-D = {self.cider_d:.4f}  "
            f"[{self.signature}|words:{TOKENIZATION}]"
        )


def score_captions(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> CaptionScores:
    """Score one caption an image against its references.

    CIDEr-D takes its document frequencies from ``references``: of one image alone it is 0.

    Args:
        hypotheses: N captions.
        references: for each, one or more captions; their number may differ.

    Raises:
        UsageError: nothing to score, unequal numbers, an image without references.
    """
    _check(hypotheses, references)
    tokens = [tokenize(text) for text in hypotheses]
    wanted = [[tokenize(text) for text in texts] for texts in references]
    bleu, signature = _bleu(tokens, wanted)
    cider = CiderD(wanted)
    each = tuple(cider.score(tokens, range(len(tokens))))
    rouge = [rouge_l(one, texts) for one, texts in zip(tokens, wanted, strict=True)]
    return CaptionScores(
        bleu=bleu,
        rouge_l=100 * sum(rouge) / len(rouge),
        cider_d=sum(each) / len(each),
        cider_d_each=each,
        signature=signature,
    )


def tokenize(text: str) -> list[str]:
    """Words of a caption in lower case: "A man's dog isn't here." -> a man 's dog is n't here

    Differs from PTBTokenizer with the COCO evaluation's list of punctuation in this: abbreviations
    lose their full stops (PTB keeps "mr."); "cannot" and "gonna" stay whole; brackets are dropped
    (they become -lrb- and -rrb- there and stay); fractions and dates with slashes come apart.
    """
    text = text.translate(_QUOTES).lower()
    text = _CONTRACTION.sub(r" \1", text)
    return [token for token in _TOKEN.findall(text) if token not in _DROPPED]


def rouge_l(hypothesis: Tokens, references: Sequence[Tokens]) -> float:
    """ROUGE-L of one caption, 0 to 1 (Lin 2004, as the COCO evaluation has it).

    P and R are the longest common subsequence over the length of the hypothesis and of the
    reference, each the best over the references; F = (1 + b^2) P R / (R + b^2 P), b = 1.2.
    """
    if not hypothesis:
        return 0.0
    common = [_longest_common_subsequence(hypothesis, one) for one in references]
    precision = max(common) / len(hypothesis)
    recall = max(c / len(one) if one else 0.0 for c, one in zip(common, references, strict=True))
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


class CiderD:
    """CIDEr-D with document frequencies counted once (Vedantam et al. 2015, section 5).

    Let g_n(c) hold the n-grams of caption c, each weighing its count * log(I / max(1, df)), if df
    of the I images have it in their references. A hypothesis c scores against references s_1..s_m

        10 / (4 m) * sum_n sum_j exp(-(l(c) - l(s_j))^2 / (2 * 6^2))
                     * min(g_n(c), g_n(s_j)) . g_n(s_j) / (|g_n(c)| |g_n(s_j)|),      n = 1..4

    with l the number of tokens. As a reward in training, the references are the training set's.

    Args:
        references: for each of I images one or more captions: texts, which ``tokenize`` splits, or
            lists of tokens (words or ids).
        end: whether every caption counts as ending in a token of its own. Published scores are
            without; as a reward it keeps captions from breaking off ("a man with a"), of which
            n-grams of words alone see nothing.

    Raises:
        UsageError: no images, an image without references.
    """

    def __init__(self, references: Sequence[Sequence[str | Tokens]], end: bool = False) -> None:
        if len(references) == 0:
            raise UsageError("no references; expected at least one image")
        self._end = end
        self._numbers: dict[tuple[Hashable, ...], int] = {}  # n-gram -> its place in _weights
        frequencies: list[int] = []
        for number, captions in enumerate(references, 1):
            _check_references(captions, number)
            for ngram in {ngram for one in captions for ngram in _ngrams(self._tokens(one))}:
                number = self._numbers.setdefault(ngram, len(frequencies))
                if number == len(frequencies):
                    frequencies.append(0)
                frequencies[number] += 1
        self._unseen = math.log(len(references))  # the weight of an n-gram that no reference has
        self._weights = [self._unseen - math.log(count) for count in frequencies]
        self._references = references
        self._prepared: dict[int, list[_Vectors]] = {}  # of images that were scored lately

    def score(self, hypotheses: Sequence[str | Tokens], images: Sequence[int]) -> list[float]:
        """CIDEr-D of each caption, 0 to 10.

        Args:
            hypotheses: N captions, texts or tokens as the references were.
            images: N numbers: whose references each is scored against. An image may come often.
        """
        return [
            self._score(self._vectors(one), self._prepare(int(image)))
            for one, image in zip(hypotheses, images, strict=True)
        ]

    def _score(self, found: _Vectors, references: list[_Vectors]) -> float:
        total = 0.0
        for wanted in references:
            similarity = 0.0
            for n in range(_ORDER):
                other = wanted.weights[n]
                product = 0.0
                for ngram, weight in found.weights[n].items():
                    if ngram in other:
                        product += min(weight, other[ngram]) * other[ngram]
                if product:
                    similarity += product / (found.norms[n] * wanted.norms[n])
            difference = found.length - wanted.length
            total += similarity * math.exp(-(difference**2) / (2 * _SIGMA**2))
        return 10.0 * total / (_ORDER * len(references))

    def _prepare(self, image: int) -> list[_Vectors]:
        if image not in self._prepared:
            if len(self._prepared) >= _KEPT:
                self._prepared.clear()
            self._prepared[image] = [self._vectors(one) for one in self._references[image]]
        return self._prepared[image]

    def _vectors(self, caption: str | Tokens) -> _Vectors:
        tokens = self._tokens(caption)
        weights: list[dict[int, float]] = [{} for _ in range(_ORDER)]
        squares = [0.0] * _ORDER
        for ngram, count in Counter(_ngrams(tokens)).items():
            n = len(ngram) - 1
            number = self._numbers.get(ngram)
            if number is None:  # found in no reference: of the norm alone
                squares[n] += (count * self._unseen) ** 2
            else:
                weight = count * self._weights[number]
                weights[n][number] = weight
                squares[n] += weight * weight
        return _Vectors(weights, [math.sqrt(square) for square in squares], len(tokens))

    def _tokens(self, caption: str | Tokens) -> list[Hashable]:
        tokens: list[Hashable] = [*(tokenize(caption) if isinstance(caption, str) else caption)]
        return [*tokens, _END] if self._end else tokens


class _Vectors(NamedTuple):
    """One caption's g_n, n = 1..4."""

    weights: list[dict[int, float]]  # number of the n-gram -> weight
    norms: list[float]
    length: int  # tokens


def _ngrams(tokens: Tokens) -> list[tuple[Hashable, ...]]:
    """All n-grams, n = 1..4, in order."""
    tokens = tuple(tokens)
    return [tokens[i : i + n] for n in range(1, _ORDER + 1) for i in range(len(tokens) - n + 1)]


def _longest_common_subsequence(first: Tokens, second: Tokens) -> int:
    lengths = [0] * (len(second) + 1)  # of the first's beginning and each beginning of the second
    for token in first:
        diagonal = 0
        for j, other in enumerate(second, 1):
            above = lengths[j]
            lengths[j] = diagonal + 1 if token == other else max(above, lengths[j - 1])
            diagonal = above
    return lengths[-1]


def _bleu(
    hypotheses: list[list[str]], references: list[list[list[str]]]
) -> tuple[tuple[float, float, float, float], str]:
    """BLEU-1 to BLEU-4 of the corpus (Papineni et al. 2002), against the closest length."""
    from sacrebleu.metrics import BLEU

    texts = [" ".join(tokens) for tokens in hypotheses]
    most = max(map(len, references))
    sets = [  # sacreBLEU's layout: the i-th references of all; None where there are fewer
        [" ".join(texts[i]) if i < len(texts) else None for texts in references]
        for i in range(most)
    ]
    values = []
    for order in range(1, _ORDER + 1):
        metric = BLEU(tokenize="none", smooth_method="none", max_ngram_order=order)
        # sacreBLEU takes None for a missing reference, which its annotation leaves out
        result = metric.corpus_score(texts, sets)  # type: ignore[arg-type]
        values.append(result.score)
    return tuple(values), str(metric.get_signature())


def _check(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if isinstance(hypotheses, str):
        raise UsageError("hypotheses is one text; expected a list of texts")
    if not hypotheses:
        raise UsageError("no captions to score; expected at least one")
    if len(hypotheses) != len(references):
        raise UsageError(
            f"{len(hypotheses)} captions, but references of {len(references)} images; expected "
            "one caption for each image"
        )
    for number, texts in enumerate(references, 1):
        if isinstance(texts, str):
            raise UsageError(f"references of image {number} are one text; expected a list of texts")
        _check_references(texts, number)


def _check_references(texts: Sequence[object], number: int) -> None:
    if len(texts) == 0:
        raise UsageError(f"image {number} has no references; expected at least one")
