"""Corpus scores of translations: BLEU, chrF and TER, with signatures and intervals.

The scores are sacreBLEU's own (Post 2018, "A Call for Clarity in Reporting BLEU Scores"), at
its default settings: BLEU cased with the 13a tokenisation, chrF2 cased (Popovic 2015), TER
case-insensitive (Snover et al. 2006). Hypotheses and references are detokenised text.

BLEU counts words. Where a language writes none apart, a sentence would be one word, and right or
wrong as a whole: there characters are counted (``bleu_tokenizer``).

The interval is that of bootstrap resampling over sentences (Koehn 2004, "Statistical
Significance Tests for Machine Translation Evaluation"): the corpus is drawn anew ``bootstrap``
times with replacement, and the middle 95% of the scores of those corpora is reported. At the
same seed the resamples are those of ``sacrebleu --confidence``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from seq2seq.arguments import check_truth, check_whole, listed, listed_texts
from seq2seq.errors import UsageError
from seq2seq.text.characters import is_blank

if TYPE_CHECKING:
    import numpy
    from sacrebleu.metrics.base import Metric

METRICS = ("bleu", "chrf", "ter")
DEFAULT_SEED = 12345  # sacreBLEU's own, so that the signature's bs and seed mean the same

# Drawn sentence numbers held at a time while resampling, so that a large corpus needs no
# (samples x sentences) table.
_DRAWS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Score:
    """One corpus score.

    ``low`` and ``high`` are the ends of the 95% bootstrap interval, None without bootstrap.
    BLEU and chrF run from 0 to 100, higher is better; TER is an error rate, lower is better.
    """

    name: str
    value: float
    signature: str
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        interval = ""
        if self.low is not None and self.high is not None:
            interval = f" (95% interval {self.low:.2f} to {self.high:.2f})"
        return f"{self.name} = {self.value:.2f}{interval}  [{self.signature}]"


Scores = dict[str, Score]

# What BLEU counts, as sacreBLEU calls it: words and marks; the same by Unicode; Chinese characters
# one by one; all characters; what stands between spaces
BleuTokenizer = Literal["13a", "intl", "zh", "char", "none"]
BLEU_TOKENIZERS: tuple[BleuTokenizer, ...] = get_args(BleuTokenizer)
_CHINESE = frozenset(("zh", "yue", "wuu", "lzh", "cmn", "zho"))
_WITHOUT_SPACES = frozenset(
    ("ja", "jpn", "th", "tha", "lo", "lao", "km", "khm", "my", "mya", "bo", "bod", "dz", "dzo")
)


def bleu_tokenizer(language: str) -> BleuTokenizer:
    """What BLEU is to count in a language (zh, zh-CN, ja, ...): characters where words are not
    written apart, else what 13a takes for words."""
    code = language.lower().replace("_", "-").split("-")[0]
    if code in _CHINESE:
        return "zh"
    return "char" if code in _WITHOUT_SPACES else "13a"


def score(
    hypotheses: Sequence[str],
    references: Sequence[str] | Sequence[Sequence[str]],
    metrics: Sequence[str] = METRICS,
    bootstrap: int = 1000,
    seed: int = DEFAULT_SEED,
    tokenize: BleuTokenizer = "13a",
    lowercase: bool = False,
) -> Scores:
    """Score translations against one list of references, or against several lists.

    Args:
        hypotheses: N detokenised translations.
        references: N references, or R lists of N references each.
        metrics: any of "bleu", "chrf", "ter".
        bootstrap: number of resampled corpora for the 95% interval; 0 for none.
        seed: of the resampling.
        tokenize: what BLEU counts, see ``bleu_tokenizer``.
        lowercase: of BLEU and chrF; TER takes no notice of case anyway.

    Returns:
        metric name -> Score, in the order of ``metrics``.

    Raises:
        UsageError: nothing to score, unequal numbers of lines, an unknown metric or tokenisation.
    """
    if tokenize not in BLEU_TOKENIZERS:
        known = ", ".join(BLEU_TOKENIZERS)
        raise UsageError(f"tokenize is {tokenize!r}; expected one of: {known}")
    check_truth(lowercase=lowercase)
    hypotheses = listed_texts("hypotheses", hypotheses, "hypothesis")
    sets = _reference_sets(references)
    _check_counts(hypotheses, sets)
    if hypotheses and all(is_blank(text) for lines in sets for text in lines):
        raise UsageError("every reference is blank: there is nothing to score against")
    check_whole("bootstrap", bootstrap, 0)  # 0: none
    check_whole("seed", seed, 0)
    names = listed_texts("metrics", metrics, "metric")
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise UsageError(f"unknown metric '{unknown[0]}'; known: {', '.join(METRICS)}")
    metrics_by_name = {name: _metric(name, tokenize, lowercase) for name in names}
    return {
        name: _score_one(metric, hypotheses, sets, bootstrap, seed)
        for name, metric in metrics_by_name.items()
    }


def _metric(name: str, tokenize: BleuTokenizer, lowercase: bool) -> Metric:
    from sacrebleu.metrics import BLEU, CHRF, TER

    if name == "bleu":
        return BLEU(tokenize=tokenize, lowercase=lowercase)
    return CHRF(lowercase=lowercase) if name == "chrf" else TER()


def has_few_spaces(texts: Sequence[str]) -> bool:
    """Whether most texts of some length hold no space, as where words are not written apart."""
    long = [text for text in texts if len(text) >= 8]
    return len(long) > 0 and sum(" " not in text for text in long) > len(long) / 2


def format_scores(scores: Scores) -> str:
    """One line a score: name, value, interval, signature."""
    return "\n".join(str(one) for one in scores.values())


def _reference_sets(
    references: Sequence[str] | Sequence[Sequence[str]],
) -> list[Sequence[str]]:
    given = listed("references", references, "str, or of such lists")
    if all(isinstance(item, str) for item in given):
        return [given]  # also the empty list, which _check_counts answers
    if not any(isinstance(item, Iterable) and not isinstance(item, str) for item in given):
        return [listed_texts("references", given, "reference")]  # which says what is no text
    return [
        listed_texts(f"reference set {number}", lines, f"reference set {number}: reference")
        for number, lines in enumerate(given, start=1)
    ]


def _check_counts(hypotheses: Sequence[str], sets: list[Sequence[str]]) -> None:
    for number, lines in enumerate(sets, start=1):
        if len(lines) != len(hypotheses):
            which = "the references" if len(sets) == 1 else f"reference set {number}"
            raise UsageError(
                f"{len(hypotheses)} hypotheses, but {len(lines)} lines in {which}; "
                "expected one reference for each hypothesis, line by line"
            )
    if not hypotheses:
        raise UsageError("no hypotheses to score; expected at least one line")


def _score_one(
    metric: Metric,
    hypotheses: Sequence[str],
    references: list[Sequence[str]],
    bootstrap: int,
    seed: int,
) -> Score:
    import numpy

    # The counts of each sentence are taken once; every resampled corpus is a sum of them.
    counts = metric._extract_corpus_statistics(list(hypotheses), references)
    counts = numpy.asarray(counts, dtype=numpy.float64)  # (N, C)
    result = metric._compute_score_from_stats(counts.sum(axis=0).tolist())
    low = high = None
    if bootstrap:
        values = _resampled(metric, counts, bootstrap, seed)
        edge = bootstrap // 40  # 2.5% on each side, cut as sacreBLEU cuts it
        low, high = float(values[edge]), float(values[bootstrap - edge - 1])
        metric.n_bootstrap, metric.seed = bootstrap, seed  # both belong in the signature
    return Score(result.name, float(result.score), str(metric.get_signature()), low, high)


def _resampled(metric: Metric, counts: numpy.ndarray, samples: int, seed: int) -> numpy.ndarray:
    """Scores of ``samples`` corpora drawn with replacement, sorted.

    ``counts`` (N, C) are the sufficient statistics of each sentence.
    """
    import numpy

    sentences = len(counts)
    generator = numpy.random.default_rng(seed)
    values: list[float] = []
    while len(values) < samples:
        rows = min(samples - len(values), max(1, _DRAWS_AT_ONCE // sentences))
        drawn = generator.choice(sentences, size=(rows, sentences), replace=True)
        for row in drawn:
            times = numpy.bincount(row, minlength=sentences)  # (N,)
            total = times @ counts  # (C,)
            values.append(metric._compute_score_from_stats(total.tolist()).score)
    return numpy.sort(numpy.asarray(values))
