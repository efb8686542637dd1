import collections
import hashlib
import io
import math
import random
import subprocess
import sys

import pytest
import sentencepiece

from seq2seq.config.vocabulary import TokenizerConfig
from seq2seq.errors import RunError, UsageError
from seq2seq.text.sentencepiece import Tokenizer

KINDS = ("unigram", "bpe", "char")


def sentences(count=400, seed=0):
    """Lines over a few dozen words, with endings, so that there are subwords to find."""
    generator = random.Random(seed)
    stems = "spiel lauf geh seh hör fühl zeig Straß Mädch Häus trag sing lern".split()
    endings = "en te st t ung er chen e ten bar".split()
    return [
        " ".join(
            generator.choice(stems) + generator.choice(endings)
            for _ in range(generator.randint(1, 9))
        )
        + generator.choice([".", "!", " – „ja“", "…"])
        for _ in range(count)
    ]


LINES = sentences()


def train(kind="unigram", size=340, byte_fallback=True, lines=LINES, **options):
    config = TokenizerConfig(kind=kind, vocab_size=size, byte_fallback=byte_fallback, **options)
    return Tokenizer.train(lines, config)


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    return train(request.param)


@pytest.fixture(scope="module", params=("unigram", "bpe"))
def sampling(request):
    return train(request.param)


@pytest.fixture(scope="module")
def unigram():
    return train("unigram")


def test_ids_of_the_special_tokens(tokenizer):
    assert (tokenizer.pad, tokenizer.unk, tokenizer.bos, tokenizer.eos) == (0, 1, 2, 3)
    ids = tokenizer.encode(LINES[0])
    assert ids and min(ids) > 3 and max(ids) < len(tokenizer)


def test_decoding_gives_the_text_back(tokenizer):
    texts = [*LINES, "„Ä“ – 3 ½ m² … ﬁn", "日本語 and emoji 👩‍🚀", "a <0x41> b"]
    assert tokenizer.decode_batch(tokenizer.encode_batch(texts)) == texts


def test_white_space_controls_and_composition_have_one_spelling(unigram):
    same = ["é b", "  e\N{COMBINING ACUTE ACCENT}  b ", "é\0b", "é\t\n\r\nb\N{NO-BREAK SPACE}"]
    ids = unigram.encode_batch(same)
    assert unigram.decode(ids[0]) == "é b"
    assert all(other == ids[0] for other in ids[1:])


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\0", "\N{IDEOGRAPHIC SPACE}", "\x85"])
def test_blank_text_has_no_tokens(tokenizer, text):
    assert tokenizer.encode(text) == []
    assert tokenizer.sample_batch([text], 0.1, 1) == [[]]


@pytest.mark.parametrize(
    "text", ["\ud800", "a\udfffb", "\U0010ffff", "\ufeff", "▁", "▁▁a", "x" * 9999]
)
@pytest.mark.parametrize("byte_fallback", [True, False])
def test_odd_characters_do_not_fail(text, byte_fallback):
    tokenizer = train(size=340 if byte_fallback else 80, byte_fallback=byte_fallback)
    for ids in (tokenizer.encode(text), *tokenizer.sample_batch([text], 0.5, 1)):
        assert isinstance(tokenizer.decode(ids), str)
        assert all(0 < i < len(tokenizer) for i in ids)


def test_decoding_leaves_special_ids_out(tokenizer):
    ids = tokenizer.encode(LINES[0])
    assert tokenizer.decode([2, *ids[:1], 0, 1, *ids[1:], 3, 0]) == LINES[0]
    assert tokenizer.decode([]) == ""


def test_unknown_characters_without_byte_fallback():
    tokenizer = train(size=80, byte_fallback=False)
    assert 1 in tokenizer.encode("漢字")
    assert 1 not in train().encode("漢字")


def test_pieces_spell_the_text(tokenizer):
    pieces = tokenizer.pieces(tokenizer.encode(LINES[0]))
    assert "".join(pieces) == "\u2581" + LINES[0].replace(" ", "\u2581")


def test_training_twice_gives_the_same_bytes(tokenizer):
    for kind in KINDS:
        assert train(kind).model == train(kind).model
    assert train("unigram").model != train("unigram", lines=sentences(seed=1)).model


def test_sentences_may_come_from_a_generator():
    assert train(lines=(line for line in LINES)).model == train().model


def test_a_failing_generator_is_not_hidden():
    def lines():
        yield LINES[0]
        raise RuntimeError("the disk is gone")

    with pytest.raises(Exception, match="the disk is gone"):
        train(lines=lines())


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_vocabulary_too_large_for_the_text_names_the_largest_possible(kind):
    with pytest.raises(
        UsageError, match=r"'tokenizer.vocab_size' is 50000;.* at most \d+"
    ) as error:
        train(kind, 50000)
    largest = int(str(error.value).split("at most ")[1].split()[0])
    assert len(train(kind, largest)) == largest
    with pytest.raises(UsageError):
        train(kind, largest + 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_vocabulary_too_small_names_the_smallest_possible(kind):
    with pytest.raises(UsageError, match=r"'tokenizer.vocab_size' is 200;.* need \d+"):
        train(kind, 200)


@pytest.mark.parametrize("lines", [[], ["", "  "], ["\0"]])
def test_no_text_to_train_on(lines):
    with pytest.raises(UsageError, match="no text to train on"):
        train(lines=lines)


def test_saving_and_loading(tokenizer, tmp_path):
    path = tmp_path / "deep" / "tokenizer.model"
    tokenizer.save(path)
    loaded = Tokenizer.load(path)
    assert loaded.model == tokenizer.model
    assert loaded.encode_batch(LINES) == tokenizer.encode_batch(LINES)
    assert loaded.sample_batch(LINES, 0.2, 5) == tokenizer.sample_batch(LINES, 0.2, 5)
    assert [entry.name for entry in path.parent.iterdir()] == ["tokenizer.model"]


def test_saving_where_nothing_can_be_saved(unigram, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file/x\.model: cannot be written"):
        unigram.save(tmp_path / "file" / "x.model")


def test_a_missing_or_damaged_model_is_an_error_that_names_it(unigram, tmp_path):
    with pytest.raises(RunError, match=r"none\.model: cannot be read \(No such file"):
        Tokenizer.load(tmp_path / "none.model")
    path = tmp_path / "bad.model"
    damaged = [b"", b"no model", unigram.model[:100], unigram.model[: len(unigram.model) // 2]]
    for model in damaged:
        path.write_bytes(model)
        with pytest.raises(RunError, match=r"bad\.model: "):
            Tokenizer.load(path)


def test_a_model_with_other_special_ids_is_refused():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=model, vocab_size=80, minloglevel=2
    )
    with pytest.raises(RunError, match=r"\(-1, 0, 1, 2\); expected \(0, 1, 2, 3\)"):
        Tokenizer(model.getvalue())


def test_sampling_is_determined_by_the_seed_in_any_order(sampling):
    first = {seed: sampling.sample_batch(LINES, 0.2, seed) for seed in (1, 2, 2**63)}
    again = {seed: sampling.sample_batch(LINES, 0.2, seed) for seed in (2**63, 2, 1)}
    assert first == again
    assert first[1] != first[2] != first[2**63] != first[1]
    assert sampling.decode_batch(first[1]) == LINES


def test_sampling_is_the_same_in_another_process(sampling, tmp_path):
    sampling.save(tmp_path / "m")
    code = (
        "import sys, hashlib; from seq2seq.text.sentencepiece import Tokenizer;"
        "ids = Tokenizer.load(sys.argv[1]).sample_batch(sys.argv[2:], 0.1, 7);"
        "print(hashlib.sha256(repr(ids).encode()).hexdigest())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "m"), *LINES[:50]]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    here = repr(sampling.sample_batch(LINES[:50], 0.1, 7)).encode()
    assert found == hashlib.sha256(here).hexdigest()


def test_no_sampling_is_the_plain_segmentation(tokenizer):
    assert tokenizer.sample_batch(LINES, 0.0, 1) == tokenizer.encode_batch(LINES)
    assert tokenizer.sample_batch([], 0.1, 1) == []
    with pytest.raises(UsageError, match=r"'tokenizer.sampling' is -0.1"):
        tokenizer.sample_batch(LINES, -0.1, 1)


def test_characters_have_one_segmentation():
    tokenizer = train("char")
    assert tokenizer.sample_batch(LINES, 0.5, 1) == tokenizer.encode_batch(LINES)


@pytest.mark.parametrize("byte_fallback", [True, False])
@pytest.mark.parametrize(("kind", "strength"), [("unigram", 1e4), ("bpe", 1e-300)])
def test_the_limit_without_randomness_is_what_sentencepiece_does(kind, strength, byte_fallback):
    tokenizer = train(kind, 340 if byte_fallback else 90, byte_fallback)
    texts = [*sentences(300, seed=9), "ab漢c漢漢 漢 é", "„“", "x" * 300]
    assert tokenizer.sample_batch(texts, strength, 1) == tokenizer.encode_batch(texts)


def test_words_are_not_taken_apart_where_subwords_span_spaces():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["ab cd ef"] * 50 + ["ab cd", "cd ef"] * 50),
        model_writer=model,
        vocab_size=14,
        pad_id=0,
        unk_id=1,
        bos_id=2,
        eos_id=3,
        split_by_whitespace=False,
        minloglevel=2,
    )
    tokenizer = Tokenizer(model.getvalue())
    plain = tokenizer.encode("ab cd ef")
    assert any("\u2581" in piece[1:] for piece in tokenizer.pieces(plain))
    assert tokenizer.sample_batch(["ab cd ef"], 1e4, 1) == [plain]


def test_unigram_samples_follow_the_probabilities_of_the_model():
    """Frequencies of all segmentations of a word against P(x)^a / sum, Kudo 2018, eq. 8."""
    generator = random.Random(0)
    words = ["".join(generator.choices("abc", k=generator.randint(1, 6))) for _ in range(3000)]
    unigram = train("unigram", 40, byte_fallback=False, lines=words)
    word, strength, draws = "abcabca", 0.3, 20000
    text = "\u2581" + word
    model = sentencepiece.SentencePieceProcessor(model_proto=unigram.model)
    score = {model.id_to_piece(i): model.get_score(i) for i in range(4, len(model))}

    def segmentations(start):
        if start == len(text):
            yield ()
        for end in range(start + 1, len(text) + 1):
            if text[start:end] in score:
                yield from ((text[start:end], *rest) for rest in segmentations(end))

    weights = {x: math.exp(strength * sum(score[p] for p in x)) for x in segmentations(0)}
    total = sum(weights.values())
    drawn = unigram.sample_batch([word] * draws, strength, 3)
    counts = collections.Counter(tuple(unigram.pieces(ids)) for ids in drawn)
    assert len(weights) > 20 and set(counts) <= set(weights)
    for x, weight in weights.items():
        p = weight / total
        # Five standard deviations of a binomial count, and one draw for the rarest.
        assert abs(counts[x] - draws * p) <= 5 * math.sqrt(draws * p * (1 - p)) + 1


def test_bpe_dropout_leaves_out_each_merge_with_its_probability():
    """Two letters, one merge: left out with the given probability and never otherwise."""
    tokenizer = Tokenizer.train(
        ["ab"] * 50, TokenizerConfig(kind="bpe", vocab_size=4 + 3 + 1, byte_fallback=False)
    )
    merged = tokenizer.pieces(tokenizer.encode("ab"))
    assert merged == ["\u2581", "ab"]
    draws, strength = 20000, 0.1
    drawn = tokenizer.sample_batch(["ab"] * draws, strength, 1)
    whole = sum(len(ids) == 2 for ids in drawn)
    deviation = math.sqrt(draws * strength * (1 - strength))
    assert abs(draws - whole - draws * strength) < 5 * deviation
    letters = tokenizer.sample_batch(["ab ab"], 1.0, 1)
    assert tokenizer.pieces(letters[0]) == ["\u2581", "a", "b", "\u2581", "a", "b"]


def test_sampling_never_empties_a_text(sampling):
    texts = ["a", "漢", "x y", "–", "."] * 50
    assert all(sampling.sample_batch(texts, 0.9, 1))


def test_a_long_word_is_sampled_in_passable_time(sampling):
    ids = sampling.sample_batch(["spielen" * 3000], 0.5, 1)[0]
    assert sampling.decode(ids) == "spielen" * 3000
