"""Caption scores against values computed by hand, and their properties."""

import math
import time

import pytest

from seq2seq.errors import UsageError
from seq2seq.tasks.captioning.scores import CiderD, rouge_l, score_captions, tokenize


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A man's dog isn't here.", "a man 's dog is n't here"),
        ("Two dogs - one black, one white - run!", "two dogs one black one white run"),
        ("A T-shirt , 3.5 m of 1,000 ropes .", "a t-shirt 3.5 m of 1,000 ropes"),
        ('He says "stop" (twice); they\u2019re off\u2026', "he says stop twice they 're off"),
        ("  ", ""),
        ("Ein Mädchen, ein Hündchen", "ein mädchen ein hündchen"),
        ("rock 'n' roll & 50%", "rock n roll & 50 %"),
        ("the dogs' bowls", "the dogs bowls"),
        ("don't can't I'll we'd", "do n't ca n't i 'll we 'd"),
    ],
)
def test_tokenize(text, words):
    assert tokenize(text) == words.split()


def test_bleu_by_hand():
    # "a b c d e" against "a b c x" and "c d e": all 5 words, 4 bigrams, of the trigrams abc and
    # cde, no 4-gram; closest length 4, so no penalty.
    found = score_captions(["a b c d e"] * 2, [["a b c x", "c d e"]] * 2)
    assert found.bleu[0] == pytest.approx(100)
    assert found.bleu[1] == pytest.approx(100)
    assert found.bleu[2] == pytest.approx(100 * (2 / 3) ** (1 / 3))
    assert found.bleu[3] == found.bleu4 == 0
    assert "smooth:none" in found.signature and "tok:none" in found.signature


def test_bleu_brevity_penalty_is_of_the_closest_reference():
    # lengths 4 against 5 and 9: exp(1 - 5/4)
    found = score_captions(["a b c d"], [["a b c d e f g h i", "a b c d e"]])
    assert found.bleu4 == pytest.approx(100 * math.exp(1 - 5 / 4))


def test_different_numbers_of_references():
    found = score_captions(["a b c d", "e f g h"], [["a b c d"], ["x", "e f g h", "y"]])
    assert found.bleu == pytest.approx((100,) * 4)


def test_rouge_by_hand():
    # "a b c d" with "a x c": common a c, 2/4 and 2/3; with "d d": 1/4 and 1/2.
    precision, recall = 2 / 4, 2 / 3
    wanted = (1 + 1.44) * precision * recall / (recall + 1.44 * precision)
    assert rouge_l("a b c d".split(), ["a x c".split(), "d d".split()]) == pytest.approx(wanted)
    assert rouge_l([], [["a"]]) == 0 and rouge_l(["a"], [["b"], []]) == 0
    assert rouge_l(["a", "b"], [["a", "b"]]) == pytest.approx(1)


def test_cider_by_hand():
    # Two images, log 2 = w. "a" is in both (weight 0); b, c, "a b" and "a c" in one each.
    cider = CiderD([["a b"], ["a c"]])
    # Itself: unigrams and bigrams agree wholly, there are no longer ones: 10 * (1 + 1) / 4.
    assert cider.score(["a b"], [0]) == pytest.approx([5.0])
    # "b b b": unigram b counts 3, clipped to 1: w*w / (3w * w) = 1/3; bigram "b b" is unknown.
    # One word longer: exp(-1/72).
    assert cider.score(["b b b"], [0]) == pytest.approx([10 / 4 / 3 * math.exp(-1 / 72)])
    # The other image's words earn nothing, nor does "a" alone.
    assert cider.score(["a c", "a", ""], [0, 0, 0]) == [0.0, 0.0, 0.0]


def test_cider_is_the_mean_over_references():
    cider = CiderD([["a b", "d e f"], ["a c"]])
    alone = CiderD([["a b"], ["a c"]])
    assert cider.score(["a b"], [0])[0] == pytest.approx(alone.score(["a b"], [0])[0] / 2)


def test_cider_of_words_texts_and_ids_is_the_same():
    texts = [["A dog runs.", "The dog is running"], ["a cat sleeps"], ["Two cats run ."]]
    words = [[tokenize(text) for text in one] for one in texts]
    numbers = {word: i for i, word in enumerate({w for one in words for t in one for w in t})}
    ids = [[[numbers[word] for word in text] for text in one] for one in words]
    found = CiderD(texts).score(["a dog is running"], [0])
    assert found[0] > 0
    assert CiderD(words).score([["a", "dog", "is", "running"]], [0]) == found
    given = [[numbers[word] for word in ("a", "dog", "is", "running")]]
    assert CiderD(ids).score(given, [0]) == found


def test_an_end_tells_whole_captions_from_broken_ones():
    references = [["a man with a hat", "a man wears a hat"], ["a dog runs"], ["a cat"]]
    plain, ended = CiderD(references), CiderD(references, end=True)
    whole, broken = "a man with a hat", "a man with a"
    gain = [
        cider.score([whole], [0])[0] / cider.score([broken], [0])[0] for cider in (plain, ended)
    ]
    assert gain[1] > gain[0] > 1


def test_corpus_scores():
    captions = ["a dog runs on the grass", "a cat sleeps on a red mat", "two men play football"]
    references = [[text, "something else"] for text in captions]
    found = score_captions(captions, references)
    assert found.bleu == pytest.approx((100,) * 4) and found.rouge_l == pytest.approx(100)
    assert found.cider_d == pytest.approx(sum(found.cider_d_each) / 3)
    # Half the references score 10, the others, which are the same everywhere, 0.
    assert found.cider_d == pytest.approx(5)
    wrong = score_captions(captions[1:] + captions[:1], references)
    assert wrong.cider_d < 0.5 and wrong.bleu4 == 0
    assert "CIDEr-D = 5.0000" in str(found) and "lower case" in str(found)


def test_empty_captions_score_nothing():
    found = score_captions(["", "."], [["a dog"], ["a cat"]])
    assert found.bleu4 == found.rouge_l == found.cider_d == 0


def test_thousands_of_rewards_a_second():
    words = "a the dog cat man woman runs sits on in red blue grass park with big small".split()
    captions = [
        [" ".join(words[(i * j + 3 * k) % len(words)] for k in range(11)) for j in range(5)]
        for i in range(200)
    ]
    cider = CiderD(captions)
    drawn = [one[0].split() for one in captions] * 5
    cider.score(drawn[:200], range(200))
    clock = time.process_time()
    cider.score(drawn, [i % 200 for i in range(1000)])
    assert time.process_time() - clock < 0.5  # takes 0.1 s


def test_misuse():
    with pytest.raises(UsageError, match="at least one"):
        score_captions([], [])
    with pytest.raises(UsageError, match="2 captions, but references of 1 image"):
        score_captions(["a", "b"], [["a"]])
    with pytest.raises(UsageError, match="image 2 has no references"):
        score_captions(["a", "b"], [["a"], []])
    with pytest.raises(UsageError, match="image 1 are one text"):
        score_captions(["a"], ["a"])
    with pytest.raises(UsageError, match="one text; expected a list"):
        score_captions("a", [["a"]])
    with pytest.raises(UsageError, match="image 1 has no references"):
        CiderD([[]])
    with pytest.raises(UsageError, match="at least one image"):
        CiderD([])
