"""The missing word: scores by hand, the likeliest of all words, batches, a task with a known
answer, the command."""

from __future__ import annotations

import json
import logging
import math
import random

import pytest
import torch

from seq2seq import BlankFiller, TextGenerator, UsageError
from seq2seq.config import config_from_dict
from seq2seq.tasks.generation.blanks import make_blanked
from seq2seq.text.vocabulary import END
from seq2seq.training.loop import train
from tests.seq2seq.running import heavy_modules_after
from tests.seq2seq.tasks.generation.test_generator import make


def make_filler(kind="words", documents="line") -> BlankFiller:
    backward = make(kind, seed=1, documents=documents)
    backward.config.model.direction = "backward"
    return BlankFiller(make(kind, documents=documents), backward)


def make_cloze(kind="words", documents="line", **model) -> TextGenerator:
    return make(kind, documents=documents, direction="both", **model)


def log_p(generator, text, scored) -> float:
    """log p of the last ``scored`` units, the end among them, by the model as it is trained."""
    ids = [END, *generator.encode(text), END]
    network = generator.model.eval()
    logits = network.projection(network(torch.tensor([ids[:-1]])).vectors)[0]
    every = logits.log_softmax(1)[range(len(ids) - 1), ids[1:]]
    return every[-scored:].sum().item()


def test_scores_are_both_log_probabilities_from_the_blank_on():
    filler = make_filler()
    forward, backward = filler.models
    found = filler.fill("to ___ or not", ["be", "that", "is be"])
    for one in found.candidates:
        words = len(one.text.split())
        text = f"to {one.text} or not"
        expected = log_p(forward, text, words + 3) + log_p(backward, text, words + 2)
        assert one.score == pytest.approx(expected, abs=1e-4)
    weights = [math.exp(one.score / 2) for one in found.candidates]
    shares = [weight / sum(weights) for weight in weights]
    assert [one.probability for one in found.candidates] == pytest.approx(shares)
    assert weights == sorted(weights, reverse=True)
    assert found.text == f"to {found.candidates[0].text} or not"


@pytest.mark.parametrize("kind", ["characters", "bytes", "subwords", "words"])
def test_scores_agree_with_those_of_whole_texts(kind):
    """Candidates differ as whole texts do, whatever the units, and however they begin."""
    words = ["be", "bet", "to be"]
    filler = make_filler(kind)
    for model in filler.models:
        found = {c.text: c.score for c in BlankFiller(model).fill("to ___ or", words).candidates}
        whole = model.score([f"to {word} or" for word in words])
        for word, score in zip(words, whole, strict=True):
            unknown = len(model.units.unknown(word)) * math.log(len(model.units))
            difference = score.log_probability - whole[0].log_probability - unknown
            assert found[word] - found["be"] == pytest.approx(difference, abs=1e-3)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("documents", ["line", "none"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["characters", "words"])
def test_a_sentence_alone_and_among_others_has_the_same_scores(kind, precision, documents, both):
    filler = BlankFiller(make_cloze(kind, documents)) if both else make_filler(kind, documents)
    sentences = [
        make_blanked(text, candidates, "")
        for text, candidates in [
            ("to ___ or not to be", ["be", "that"]),
            ("___", ["be"]),
            ("that is ___ , and much more of it to be", ["not", "be", "to be or not"]),
            ("___ is that", ["is", "not"]),
        ]
    ]
    together = filler.fill_batch(sentences * 30, precision=precision)
    for n, sentence in enumerate(sentences):
        (alone,) = filler.fill_batch([sentence], precision=precision)
        assert together[n::4] == [alone] * 30
    assert filler.fill_batch([]) == []


def cloze_log_p(generator, text) -> torch.Tensor:
    """log p of every unit between all others (T, V), by the model as it is trained."""
    ids = torch.tensor([[END, *generator.units.encode(text).tolist(), END]])
    network = generator.model.eval()
    vectors = network(ids[:, :-1], ids[:, 1:], None, ids[:, :-1] == END).vectors
    return network.projection(vectors)[0, :-1].log_softmax(1)


@pytest.mark.parametrize(
    "model", [{}, {"cell": "gru", "layers": 1}, {"tied_embeddings": True, "layer_norm": True}],
    ids=str,
)  # fmt: skip
def test_a_model_of_both_sides_scores_each_word_between_the_others(model):
    generator = make_cloze(**model)
    filler = BlankFiller(generator)
    for one in filler.fill("to ___ or not", ["be", "that", "is be"]).candidates:
        text = f"to {one.text} or not"
        ids = generator.units.encode(text).tolist()
        expected = cloze_log_p(generator, text)[range(len(ids)), ids].sum().item()
        assert one.score == pytest.approx(expected, abs=1e-4)
    at_blank = generator.cloze_steps("fp32").log_probabilities(
        [END, *generator.encode("to")], [*generator.encode("or not"), END]
    )
    expected = cloze_log_p(generator, "to be or not")[1]
    torch.testing.assert_close(at_blank, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("cut", [1, 2, 5])
def test_sides_begin_anew_at_the_ends_of_documents(cut):
    """Words of one sentence do not tell those of its neighbours, to the right no more than to the
    left; the state of the left side goes on in the next window."""
    generator = make_cloze()
    network = generator.model.eval()
    sentences = [generator.units.encode(text).tolist() for text in ("to be or", "not that is")]
    alone = [cloze_log_p(generator, text) for text in ("to be or", "not that is")]
    ids = torch.tensor([[END, *sentences[0], END, *sentences[1], END]])
    inputs, targets = ids[:, :-1], ids[:, 1:]
    together = network.projection(network(inputs, targets, None, inputs == END).vectors)[0]
    together = together.log_softmax(1)
    torch.testing.assert_close(together[:3], alone[0])
    torch.testing.assert_close(together[4:7], alone[1])
    first = network(inputs[:, :cut], targets[:, :cut], None, inputs[:, :cut] == END)
    rest = network(inputs[:, cut:], targets[:, cut:], first.state, inputs[:, cut:] == END)
    torch.testing.assert_close(network.projection(rest.vectors)[0].log_softmax(1), together[cut:])


def test_a_model_of_both_sides_fills_and_does_nothing_else():
    generator = make_cloze()
    for use, message in [
        (generator.generate, "cannot write"),
        (generator.session, "cannot write"),
        (lambda: generator.score(["to be"]), "no probability of a text"),
        (lambda: generator.perplexity("to be or not"), "no probability of a text"),
        (lambda: BlankFiller(generator, make_filler().models[1]), "is both, the second's backward"),
    ]:
        with pytest.raises(UsageError, match=message):
            use()


@pytest.mark.parametrize("both", [False, True])
def test_candidates_are_read_a_few_at_a_time(monkeypatch, both):
    filler = BlankFiller(make_cloze()) if both else make_filler()
    candidates = ["be", "that is", "or", "not", "is to be", "that"]
    sentences = [make_blanked(f"to ___ {end}", candidates, "") for end in ("be", "", "is that")]
    expected = filler.fill_batch(sentences)
    for name in ("alternatives", "cloze_scores"):
        monkeypatch.setattr(f"seq2seq.tasks.generation.{name}._ROWS", 4)
    assert filler.fill_batch(sentences) == expected


@pytest.mark.parametrize("both", [False, True])
def test_any_word_may_fill_the_blank(both):
    filler = BlankFiller(make_cloze()) if both else make_filler()
    words = filler.models[0].units.words
    found = filler.fill("to ___ or not")
    assert sorted(one.text for one in found.candidates) == sorted(set(words) - {"<eos>"})
    given = filler.fill("to ___ or not", [one.text for one in found.candidates])
    assert given == found
    assert filler.fill("to ___ or not", top=2).candidates == found.candidates[:2]
    with pytest.raises(UsageError, match="the text: no candidates, and a model of characters"):
        make_filler("characters").fill("to ___")
    with pytest.raises(UsageError, match="2 blanks in one text need candidates"):
        filler.fill("___ to ___")


def test_the_likeliest_words_are_tried_in_the_whole_sentence(monkeypatch):
    monkeypatch.setattr("seq2seq.tasks.generation.filler.SHORTLIST", 3)
    filler = make_filler()
    forward, backward = filler.models
    at_blank = {
        word: log_p(forward, f"to {word}", 2) - log_p(forward, f"to {word}", 1)
        + log_p(backward, f"{word} or not", 2) - log_p(backward, f"{word} or not", 1)
        for word in forward.units.words if word != "<eos>"
    }  # fmt: skip
    best = sorted(at_blank, key=lambda word: -at_blank[word])[:3]
    found = filler.fill("to ___ or not").candidates
    assert {one.text for one in found} == set(best)


def test_unknown_words_share_the_probability_of_unk(caplog):
    logging.getLogger("seq2seq").propagate = True
    filler = BlankFiller(make("words", documents="line"))
    with caplog.at_level(logging.WARNING, "seq2seq"):
        found = {c.text: c.score for c in filler.fill("to ___ or", ["<unk>", "sushi"]).candidates}
    assert found["sushi"] == found["<unk>"]  # both as one of many words
    unk = log_p(filler.models[0], "to <unk> or", 3) - math.log(len(filler.models[0].units))
    assert found["sushi"] == pytest.approx(unk, abs=1e-4)
    assert "never seen: 'sushi'" in caplog.text and "unk" not in caplog.text


def test_models_of_one_direction_are_refused():
    forward, backward = make_filler().models
    for pair in ((forward, forward), (backward, backward), (backward, forward)):
        with pytest.raises(UsageError, match="expected a forward model and a backward one"):
            BlankFiller(*pair)
    assert BlankFiller(backward).fill("to ___", ["be", "is"]).candidates


def test_a_backward_model_scores_and_does_not_write():
    (_, backward) = make_filler("characters", "none").models
    for write in (backward.generate, backward.session, lambda: backward.generate_batch(["to"])):
        with pytest.raises(UsageError, match=r"'model.direction: backward'.* cannot write"):
            write()
    with pytest.raises(UsageError, match="cannot score what follows a context"):
        backward.score(["be"], context="to ")
    forward = make("characters", seed=1)
    texts = ["to be", "W"]
    expected = forward.score([text[::-1] for text in texts])
    assert backward.score(texts) == [pytest.approx(score) for score in expected]
    text = "To be, or not to be"
    assert backward.perplexity(text).nats == pytest.approx(forward.perplexity(text[::-1]).nats)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A forward and a backward model of sums that are right."""
    folder = tmp_path_factory.mktemp("sums")
    random.seed(0)
    pairs = [(random.randint(0, 4), random.randint(0, 4)) for _ in range(2000)]
    (folder / "sums.txt").write_text("".join(f"{a} And {b} make {a + b}.\n" for a, b in pairs))
    for direction in ("forward", "backward", "both"):
        values = {
            "task": "generation",
            "output": str(folder / direction),
            "data": {"train": str(folder / "sums.txt"), "documents": "line",
                     "batch_size": 16, "bptt": 14},
            "units": {"kind": "words", "lowercase": True, "split_punctuation": True},
            "model": {"direction": direction, "layers": 1, "hidden_size": 32,
                      "embedding_size": 16},
            "training": {"max_steps": 250, "learning_rate": 2e-2, "precision": "fp32",
                         "threads": 1, "device": "cpu", "validate_every": 125,
                         "sampled_softmax": 0 if direction == "forward" else 4},
        }  # fmt: skip
        train(config_from_dict(values), quiet=True)
    return folder


@pytest.mark.parametrize("names", [["forward", "backward"], ["both"]], ids=" and ".join)
def test_trained_models_find_the_missing_number(trained, names):
    filler = BlankFiller.from_pretrained(*(trained / name / "model" for name in names))
    assert [model.config.model.direction for model in filler.models] == names
    numbers = [str(n) for n in range(9)]
    for a in range(5):
        for b in range(5):
            assert filler.fill(f"{a} and ___ make {a + b}.", numbers).candidates[0].text == str(b)
            assert filler.fill(f"___ and {b} make {a + b}.").candidates[0].text == str(a)
            assert filler.fill(f"{a} and {b} ___ {a + b}.").candidates[0].text == "make"
    found = filler.fill("___ and 4 make ___ .", ["3 / 7", "3 / 6"])
    assert found.text == "3 and 4 make 7 ."


def test_the_command_writes_a_line_for_each(trained, run, tmp_path):
    models = [trained / "forward/model", "--backward", trained / "backward/model"]
    lines = "2 and ___ make 5.\t1\t3\t2\t\n2 and [1|3] make 3.\n3 and 1 make ___.\n"
    status, out, err = run("fill", *models, stdin=lines.encode())
    assert status == 0 and not err, err
    assert [line.split("\t")[0] for line in out.splitlines()] == ["3", "1", "4"]
    status, out, _ = run(
        "fill", *models, "--top", "2", "--candidates", "7", "4", stdin=lines.encode()
    )
    rows = [line.split("\t") for line in out.splitlines()]
    assert [len(row) for row in rows] == [4, 4, 4] and rows[2][::2] == ["4", "7"]
    assert float(rows[2][1]) > 0.9 and float(rows[2][1]) + float(rows[2][3]) == pytest.approx(
        1, abs=1e-3
    )
    (tmp_path / "lines.jsonl").write_text(
        '{"text": "2 and ___ make 5.", "candidates": ["1", "3"]}\n'
    )
    status, out, _ = run(
        "fill", *models, "--input", tmp_path / "lines.jsonl", "--json-input", "--json"
    )
    row = json.loads(out)
    assert row["text"] == "2 and 3 make 5."
    assert [one["text"] for one in row["candidates"]] == ["3", "1"]
    assert set(row["candidates"][0]) == {"text", "score", "probability"}
    status, out, _ = run("fill", *models, "--json", "--top", "1", stdin=lines.encode())
    assert [len(json.loads(line)["candidates"]) for line in out.splitlines()] == [1, 1, 1]
    status, out, _ = run("fill", *models, "--json", stdin=lines.encode())
    assert [len(json.loads(line)["candidates"]) for line in out.splitlines()] == [3, 2, 10]
    status, out, _ = run("fill", *models, "--sentence", stdin=b"2 and ___ make 5.\n")
    assert (status, out) == (0, "2 and 3 make 5.\n")


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        ([], "a ___\tb\nno blank\n", "standard input, line 2: no blank in 'no blank'"),
        ([], "a ___\tbe\t\tis\n", "line 1: candidate 2 is empty"),
        ([], "a ___\n___ ___\n", "line 2: 2 blanks in one text need candidates"),
        ([], "a ___\tbe\tbe\n", "line 1: candidate 'be' is given twice"),
        ([], "a [be|is]\tbe\n", "no other candidates"),
        ([], "___ and ___\tbe\n", "fills 1 blank(s) and the text has 2"),
        (["--json-input"], "nothing\n", "line 1: not valid JSON"),
        (["--json-input"], '{"text": "\\ud800 ___"}\n', "half a character"),
        (["--json-input"], '{"text": "___", "candidates": ["\\ud800"]}\n', "half a character"),
        (["--json-input"], '{"candidates": ["a"]}\n', "expected a JSON object with 'text'"),
        (["--json-input"], '{"text": "___", "candidates": "a"}\n', "'candidates' is no list"),
        (["--json-input"], '{"text": "___", "candidates": [1]}\n', "candidate 1 is 1"),
        (["--json-input"], '{"text": "___", "candidates": []}\n', "line 1: no candidates"),
        (["--sentence", "--top", "2"], "", "leave out --json and --top"),
        (["--top", "0"], "", "no whole number of at least 1"),
        (["--input", "none.txt"], "", "--input none.txt: no such file"),
        (["--backward", "FORWARD"], "", "expected a forward model and a backward one"),
    ],
)
def test_mistakes_name_the_line(trained, run, arguments, stdin, message):
    model = str(trained / "forward/model")
    arguments = [model if argument == "FORWARD" else argument for argument in arguments]
    status, out, err = run("fill", model, *arguments, stdin=stdin.encode())
    assert status == 2 and message in err, err
    assert bool(out) == ("line 2: no blank" in message)  # what stands before it is answered


def test_help_imports_nothing_heavy():
    assert heavy_modules_after("fill", "--help") == "0 []"


def test_a_model_of_before_reads_forward(tmp_path):
    """Configurations written before there were directions have none."""
    make("words").save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    del values["config"]["model"]["direction"], values["config"]["training"]["sampled_softmax"]
    del values["config"]["units"]["lowercase"], values["config"]["units"]["split_punctuation"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert not TextGenerator.from_pretrained(tmp_path).backward
