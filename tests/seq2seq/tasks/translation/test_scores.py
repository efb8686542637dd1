import numpy
import pytest

from seq2seq.errors import UsageError
from seq2seq.tasks.translation.scores import (
    bleu_tokenizer,
    format_scores,
    has_few_spaces,
    score,
)

HYPOTHESES = [
    "The cat sat on the mat .",
    "A man rides a horse along the beach.",
    "Two dogs are playing in the snow",
    "",
    "A woman with a red hat reads a book.",
]
REFERENCES = [
    "The cat sat on a mat.",
    "A man is riding a horse on the beach.",
    "Two dogs play in the snow.",
    "Nobody is here.",
    "A woman in a red hat is reading a book.",
]


@pytest.mark.parametrize("metric", ["bleu", "chrf", "ter"])
def test_values_and_intervals_are_those_of_sacrebleu(metric, monkeypatch):
    from sacrebleu.metrics import BLEU, CHRF, TER

    monkeypatch.setenv("SACREBLEU_SEED", "7")
    theirs = {"bleu": BLEU, "chrf": CHRF, "ter": TER}[metric]()
    expected = theirs.corpus_score(HYPOTHESES, [REFERENCES], n_bootstrap=200)
    found = score(HYPOTHESES, REFERENCES, metrics=(metric,), bootstrap=200, seed=7)[metric]
    assert found.value == pytest.approx(expected.score, abs=1e-9)
    # sacreBLEU sums its counts in float32 and tells only the middle of the interval.
    assert (found.high - found.low) / 2 == pytest.approx(expected._ci, abs=1e-3)
    assert found.low <= expected._mean <= found.high
    assert found.signature == str(theirs.get_signature())
    assert "bs:200|seed:7" in found.signature


def test_resampling_in_parts_draws_what_it_draws_at_once(monkeypatch):
    whole = score(HYPOTHESES, REFERENCES, bootstrap=100)
    monkeypatch.setattr("seq2seq.tasks.translation.scores._DRAWS_AT_ONCE", 3 * len(HYPOTHESES))
    assert score(HYPOTHESES, REFERENCES, bootstrap=100) == whole


def test_seed_decides_the_interval_and_never_the_value():
    one = score(HYPOTHESES, REFERENCES, metrics=("chrf",), bootstrap=50, seed=1)["chrf"]
    same = score(HYPOTHESES, REFERENCES, metrics=("chrf",), bootstrap=50, seed=1)["chrf"]
    other = score(HYPOTHESES, REFERENCES, metrics=("chrf",), bootstrap=50, seed=2)["chrf"]
    assert one == same
    assert one.value == other.value
    assert (one.low, one.high) != (other.low, other.high)


def test_perfect_translation():
    found = score(REFERENCES, REFERENCES, bootstrap=20)
    assert found["bleu"].value == pytest.approx(100)
    assert found["chrf"].value == pytest.approx(100)
    assert found["ter"].value == 0
    assert found["bleu"].low == pytest.approx(100)


def test_bleu_is_cased_and_13a():
    found = score(HYPOTHESES, REFERENCES, metrics=("bleu",), bootstrap=0)["bleu"]
    assert "case:mixed" in found.signature and "tok:13a" in found.signature
    assert "bs:" not in found.signature
    assert found.low is None and found.high is None
    lower = score([h.lower() for h in HYPOTHESES], REFERENCES, metrics=("bleu",), bootstrap=0)
    assert lower["bleu"].value < found.value


PERFECT, ONE_OFF = ["我是一个人在这里吃饭"], ["我是一个人在那里吃饭"]


def test_bleu_counts_characters_where_words_are_not_written_apart():
    assert score(PERFECT, PERFECT, bootstrap=0)["bleu"].value == 0  # one word, and no 4-gram
    for tokenize in ("zh", "char"):
        found = score(PERFECT, PERFECT, bootstrap=0, tokenize=tokenize)["bleu"]
        assert found.value == pytest.approx(100) and f"tok:{tokenize}" in found.signature
        assert 40 < score(ONE_OFF, PERFECT, bootstrap=0, tokenize=tokenize)["bleu"].value < 80
    codes = ("zh", "zh-CN", "ja", "th_TH", "km", "de", "tha", "jam", "")
    found = [bleu_tokenizer(code) for code in codes]
    assert found == ["zh", "zh", "char", "char", "char", "13a", "char", "13a", "13a"]
    assert has_few_spaces(PERFECT * 3 + ["a b c d e f"]) and not has_few_spaces(["a b c d e f", ""])
    with pytest.raises(UsageError, match="tokenize is 'mecab'; expected one of: 13a, intl, zh"):
        score(PERFECT, PERFECT, tokenize="mecab")


def test_case_counts_unless_told_otherwise():
    for metric in ("bleu", "chrf", "ter"):
        values = [
            score(["THE dog runs off"], ["the DOG runs off"], [metric], 0, lowercase=lowercase)
            for lowercase in (True, False)
        ]
        best = 0 if metric == "ter" else 100
        assert values[0][metric].value == pytest.approx(best)
        assert (values[1][metric].value == pytest.approx(best)) is (metric == "ter")


def test_several_references_take_the_better_one():
    worse = ["something else entirely"] * len(REFERENCES)
    both = score(REFERENCES, [worse, REFERENCES], bootstrap=0)
    assert both["bleu"].value == pytest.approx(100)
    assert "nrefs:2" in both["bleu"].signature


def test_interval_holds_the_middle_of_the_resamples():
    """Mean of one count over resampled corpora: its spread is known in closed form."""
    rng = numpy.random.default_rng(0)
    right = rng.random(400) < 0.5
    hypotheses = ["yes" if one else "no" for one in right]
    found = score(hypotheses, ["yes"] * 400, metrics=("ter",), bootstrap=1000)["ter"]
    spread = 100 * (right.mean() * (1 - right.mean()) / 400) ** 0.5
    assert found.value == pytest.approx(100 * (1 - right.mean()))
    # 1,000 resamples give each end of the interval to about a tenth of its half-width.
    assert found.high - found.low == pytest.approx(2 * 1.96 * spread, rel=0.15)


def test_unequal_numbers_of_lines():
    with pytest.raises(UsageError, match="5 hypotheses, but 4 lines in the references"):
        score(HYPOTHESES, REFERENCES[:-1])
    with pytest.raises(UsageError, match="reference set 2"):
        score(HYPOTHESES, [REFERENCES, REFERENCES[:-1]])


def test_nothing_to_score():
    with pytest.raises(UsageError, match="no hypotheses"):
        score([], [])


def test_one_text_is_no_list():
    with pytest.raises(UsageError, match="hypotheses is one text"):
        score("a", ["a"])
    with pytest.raises(UsageError, match="references is one text"):
        score(["a"], "a")


def test_unknown_metric():
    with pytest.raises(UsageError, match="'meteor'; known: bleu, chrf, ter"):
        score(HYPOTHESES, REFERENCES, metrics=("meteor",))


def test_formatted_scores_name_value_interval_and_signature():
    scores = score(HYPOTHESES, REFERENCES, bootstrap=20)
    lines = format_scores(scores).splitlines()
    assert [line.split(" = ")[0] for line in lines] == ["BLEU", "chrF2", "TER"]
    bleu = scores["bleu"]
    assert f"{bleu.value:.2f} (95% interval {bleu.low:.2f} to {bleu.high:.2f})" in lines[0]
    assert bleu.signature in lines[0]
