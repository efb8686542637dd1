"""Generation: what is drawn, that rows do not depend on one another, streams, sessions, scores."""

from __future__ import annotations

import copy
import dataclasses
import logging
import pickle

import pytest
import torch

from seq2seq import RunError, TextGenerator, UsageError
from seq2seq.config import config_from_dict
from seq2seq.tasks.generation.cloze_model import make_model
from seq2seq.tasks.generation.perplexity import Dynamic
from seq2seq.tasks.generation.text import Text
from seq2seq.text.vocabulary import END, train_units

TEXT = "To be, or not to be: that is the question.\nWhether 'tis nobler — naïve €5 日本\n"
PROMPTS = ["To be", "", "W", "the question is nobler than", "日本"]


def make(kind="characters", seed=0, documents="none", unknown="replace", **model) -> TextGenerator:
    """A model with random weights, large enough that its text is no constant."""
    values = {
        "task": "generation",
        "data": {"documents": documents},
        "units": {"kind": kind, "vocab_size": 290, "unknown": unknown},
        "model": {"hidden_size": 24, "embedding_size": 16, "init_range": 0.7, **model},
        "generation": {"max_length": 40, "temperature": 0.7},
    }
    config = config_from_dict(values)
    text = TEXT * 3 if kind != "words" else "to be or not\nto be that is\n"
    units = train_units(Text([[text]]).documents(), config.units)
    torch.manual_seed(seed)
    return TextGenerator(make_model(config.model, len(units)), units, config)


def settings(generator, **changes):
    return dataclasses.replace(generator.config.generation, **changes)


KINDS = [
    {},
    {"cell": "gru"},
    {"cell": "tanh", "layers": 1},
    {"layer_norm": True, "zoneout_hidden": 0.2, "zoneout_cell": 0.1},
    {"cell": "gru", "layer_norm": True, "zoneout_hidden": 0.3},
    {"tied_embeddings": True, "layers": 3},
]


@pytest.mark.parametrize("model", KINDS, ids=str)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_steps_give_what_the_sequence_gives(model, precision):
    generator = make(**model)
    network = generator.model.eval()
    ids = torch.randint(2, len(generator.units), (3, 9))
    expected = network.projection(network(ids).vectors[:, -1])
    logits, state = generator.steps(precision).start(ids[:, :5].tolist())
    for t in range(5, 9):
        logits, state = generator.steps(precision).step(ids[:, t], state)
    tolerance = 1e-4 if precision == "fp32" else 0.15
    torch.testing.assert_close(logits, expected, rtol=0, atol=tolerance)


def test_a_long_prompt_is_read_in_windows_and_gives_the_same(monkeypatch):
    from seq2seq.tasks.generation import stepping

    generator = make()
    prompt = (TEXT * 2)[:150]
    expected, _ = generator.steps("fp32").start([generator.prompt_units(prompt)])
    monkeypatch.setattr(stepping, "_LONG", 20)
    monkeypatch.setattr(stepping, "_WINDOW", 33)
    found, _ = generator.steps("fp32").start([generator.prompt_units(prompt)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["characters", "bytes", "subwords"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_row_is_the_same_alone_in_a_batch_and_streamed(kind, precision):
    generator = make(kind)
    together = generator.generate_batch(PROMPTS * 8, seed=3, precision=precision)
    assert len({row[0].text for row in together}) == len(PROMPTS)
    for n, prompt in enumerate(PROMPTS):
        alone = generator.generate(prompt, seed=3, precision=precision)
        streamed = list(generator.generate(prompt, seed=3, precision=precision, stream=True))
        again = generator.generate(prompt, seed=3, precision=precision)
        other = generator.generate(prompt, seed=4, precision=precision)
        assert together[n][0].text == together[n + len(PROMPTS)][0].text == alone == again
        assert "".join(streamed) == alone != other
        assert len(alone) >= 10


def test_samples_of_one_prompt_differ_and_follow_from_the_seed():
    generator = make()
    (three,) = generator.generate_batch(["To be"], samples=3, seed=1)
    assert len({one.text for one in three}) == 3
    (five,) = generator.generate_batch(["To be"], samples=5, seed=1)
    assert five[:3] == three
    assert generator.generate("To be", seed=1) == three[0].text
    assert all(one.reason == "length" and one.units == 40 for one in three)


def test_rows_that_end_early_leave_the_others_as_they_are():
    generator = make(documents="line")
    found = generator.generate_batch(["T"] * 1, samples=64, seed=5)[0]
    assert {one.reason for one in found} == {"end", "length"}
    for n in (0, 17, 63):
        again = generator.generate_batch(["T"], samples=n + 1, seed=5)[0]
        assert again[n] == found[n]


def test_a_character_is_shown_once_it_is_whole():
    generator = make("bytes")
    pieces = list(generator.generate("é", seed=2, stream=True, max_length=400))
    assert all(piece for piece in pieces)
    assert "".join(pieces) == generator.generate("é", seed=2, max_length=400)


def test_stop_texts_end_the_text_and_are_left_out():
    generator = make()
    whole = generator.generate("To be", seed=1, max_length=40)
    stop = whole[10:13]
    cut = whole[: whole.find(stop)]
    found = generator.generate_batch(
        ["To be"], seed=1, settings=settings(generator, stop=["never there", stop])
    )[0][0]
    assert (found.text, found.reason) == (cut, "stop")
    streamed = generator.generate("To be", seed=1, stop=["never there", stop], stream=True)
    assert "".join(streamed) == cut
    unharmed = generator.generate("To be", seed=1, stop=[whole[-5:] + "not there"])
    assert unharmed == whole  # what was held back comes in the end


def test_an_interrupted_stream_leaves_generator_and_session_usable():
    generator = make()
    session = generator.session(seed=1, settings=settings(generator, max_length=30))
    stream = session.write("To be")
    first = "".join(next(stream) for _ in range(5))
    stream.close()
    second = "".join(session.write(", or"))
    assert len(second) == 30
    assert generator.generate("To be", seed=1)[:5] == first
    # what was given counts as written: the same as reading it
    ids = generator.prompt_units("To be" + first + ", or")
    expected, _ = generator.steps().start([ids])
    again = generator.session(seed=1, settings=settings(generator, max_length=1))
    stream = again.write("To be")
    assert generator.units.encode(next(stream)).tolist() is not None
    session = generator.session(seed=1, settings=settings(generator, max_length=30))
    stream = session.write("To be")
    for _ in range(5):
        next(stream)
    stream.close()
    logits, _ = session._model.read([generator.prompt_units(", or", begins=False)], session._state)
    assert torch.equal(logits, expected)


def test_temperature_zero_is_greedy_and_needs_no_seed():
    generator = make()
    greedy = generator.generate("To be", temperature=0)
    assert greedy == generator.generate("To be", temperature=0, seed=9)
    assert greedy == generator.generate("To be", top_k=1, seed=2)
    assert greedy == generator.generate("To be", temperature=1e-6, seed=2)
    assert greedy == generator.generate("To be", beam_size=1, temperature=0)


def test_beam_search_finds_a_likelier_text_than_greedy():
    generator = make()
    greedy = generator.generate("To be", temperature=0, max_length=12)
    (found,) = generator.generate_batch(
        ["To be"], samples=3, settings=settings(generator, beam_size=8, max_length=12)
    )
    texts = [one.text for one in found]
    assert len(set(texts)) == 3
    scores = [s.log_probability for s in generator.score([*texts, greedy], context="To be")]
    assert scores[:3] == sorted(scores[:3], reverse=True)
    assert scores[0] >= scores[3]
    several = generator.generate_batch(
        PROMPTS, settings=settings(generator, beam_size=8, max_length=12)
    )
    assert several[0][0].text == texts[0]


def test_no_ngram_twice():
    generator = make()
    text = generator.generate("To be", seed=1, no_repeat_ngram=2, max_length=60, temperature=0.3)
    pairs = [("To be" + text)[i : i + 2] for i in range(len("To be" + text) - 1)]
    assert len(set(pairs)) == len(pairs)


def test_a_repetition_penalty_widens_the_choice():
    generator = make()
    plain = generator.generate("To be", temperature=0, max_length=30)
    varied = generator.generate("To be", temperature=0, max_length=30, repetition_penalty=5.0)
    assert len(set(varied)) > len(set(plain))


def test_words_are_parted_by_spaces_but_at_lines():
    generator = make("words")
    text = generator.generate("to be", seed=1, max_length=60)
    assert text.startswith((" ", "\n"))
    assert "  " not in text and "\n " not in text and " \n" not in text and "\n" in text
    assert set(text.split()) <= {"to", "be", "or", "not", "that", "is"}


def test_documents_end_and_the_end_is_never_written_without_them():
    generator = make(documents="line")
    with torch.no_grad():
        generator.model.projection.bias[END] += 1000
    found = generator.generate_batch(["To"], seed=1)[0][0]
    assert (found.text, found.reason, found.units) == ("", "end", 0)
    other = make()
    with torch.no_grad():
        other.model.projection.bias[:2] += 1000
    assert len(other.generate("To", seed=1)) == 40


def test_unknown_characters_are_reported_and_left_out_or_refused(caplog):
    generator = make()
    logging.getLogger("seq2seq").propagate = True
    with caplog.at_level(logging.WARNING, "seq2seq"):
        found = generator.generate("To Ω be", seed=1)
    assert "'Ω'" in caplog.text and "left out" in caplog.text
    assert generator.prompt_units("To Ω be") == generator.prompt_units("To  be")
    assert len(found) == 40
    with pytest.raises(UsageError, match="never seen: 'Ω'"):
        make(unknown="refuse").generate("To Ω be")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.5),
        ("temperature", float("nan")),
        ("temperature", 1e-39),
        ("temperature", "hot"),
        ("top_k", 1.5),
        ("max_length", 2.5),
        ("beam_size", 2.5),
        ("no_repeat_ngram", 2.5),
        ("repetition_penalty", 1e-300),
        ("repetition_penalty", 1e300),
        ("stop", [1]),
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("top_p", -1.0),
        ("top_k", -1),
        ("min_p", 2.0),
        ("repetition_penalty", 0.0),
        ("no_repeat_ngram", -2),
        ("max_length", -1),
        ("beam_size", 0),
        ("stop", [""]),
    ],
)
def test_settings_out_of_range_are_named(name, value):
    generator = make()
    with pytest.raises(UsageError, match=name):
        generator.generate("To", **{name: value})
    with pytest.raises(UsageError, match=name):
        generator.generate("To", stream=True, **{name: value})


def test_wrong_use():
    generator = make()
    with pytest.raises(UsageError, match="only at the end"):
        generator.generate("To", stream=True, beam_size=3)
    with pytest.raises(UsageError, match=r"expected a list"):
        generator.generate_batch("To")
    with pytest.raises(UsageError, match=r"samples is 4; beam search with beam_size 3"):
        generator.generate_batch(["To"], samples=4, settings=settings(generator, beam_size=3))
    with pytest.raises(UsageError, match=r"prompt is a int"):
        generator.generate(5)
    assert generator.generate("To", max_length=0) == ""
    with pytest.raises(UsageError, match=r"samples is 1\.5"):
        generator.generate_batch(["To"], samples=1.5)
    with pytest.raises(UsageError, match=r"stop is 'end'; expected a list"):
        generator.generate_batch(["To"], settings=settings(generator, stop="end"))
    for size in (1, 3):
        assert generator.generate_batch([], settings=settings(generator, beam_size=size)) == []
    assert len(generator.generate("To", temperature=1e-6)) == 40


def test_the_next_turn_ends_a_text_that_is_left():
    """Its iterator still held, and even one that was never begun."""
    generator = make()

    def second(leave):
        session = generator.session(seed=1, settings=settings(generator, max_length=30))
        stream = session.write("To be")
        leave(stream)
        return "".join(session.write(", or")), list(stream)

    def close(stream):
        next(stream), next(stream)
        stream.close()

    closed, nothing = second(close)
    assert second(lambda stream: (next(stream), next(stream))) == (closed, [])
    assert nothing == []
    unread, nothing = second(lambda stream: None)
    session = generator.session(seed=1, settings=settings(generator, max_length=0))
    assert list(session.write("To be")) == []
    session.settings = settings(generator, max_length=30)
    assert (unread, nothing) == ("".join(session.write(", or")), [])


def test_a_model_loaded_in_inference_mode_writes(tmp_path):
    make().save_pretrained(tmp_path)
    with torch.inference_mode():
        loaded = TextGenerator.from_pretrained(tmp_path, device="cpu")
    assert loaded.generate("To be", seed=1) == make().generate("To be", seed=1)


def test_units_count_what_was_written_up_to_a_stop_text():
    generator = make()
    found = {}
    for size in (1, 2):
        chosen = settings(generator, beam_size=size, temperature=0)
        whole = generator.generate_batch(["To be"], settings=chosen)[0][0].text
        chosen = dataclasses.replace(chosen, stop=[whole[4]])
        found[size] = generator.generate_batch(["To be"], settings=chosen)[0][0]
        assert found[size].reason == "stop"
        assert found[size].units == len(found[size].text) + 1


def test_damaged_weights_are_an_error():
    generator = make()
    with torch.no_grad():
        generator.model.projection.bias[5] = float("nan")
    with pytest.raises(RunError, match="no probabilities"):
        generator.generate("To")
    with pytest.raises(RunError, match="no probabilities"):
        generator.score(["To"])
    with pytest.raises(RunError, match=r"no probabilities .* dynamic rate 0\.1 is too high"):
        generator.perplexity("To be", dynamic=Dynamic())


def test_changed_weights_are_noticed():
    generator = make()
    before = generator.generate("To be", temperature=0)
    with torch.no_grad():
        generator.model.projection.bias[7] += 1000
    assert generator.generate("To be", temperature=0) != before


@pytest.mark.parametrize("kind", ["characters", "bytes", "subwords", "words"])
def test_saved_and_loaded_it_writes_the_same(kind, tmp_path):
    generator = make(kind)
    generator.save_pretrained(tmp_path / "model", card={"training": "none at all"})
    loaded = TextGenerator.from_pretrained(tmp_path / "model", device="cpu")
    assert loaded.generate("to be", seed=1) == generator.generate("to be", seed=1)
    assert "none at all" in loaded.readme
    assert loaded.config == generator.config


def test_damaged_and_foreign_directories(tmp_path):
    from seq2seq import Translator

    generator = make()
    folder = tmp_path / "model"
    generator.save_pretrained(folder)
    with pytest.raises(RunError, match="format is 'seq2seq-generation', expected"):
        Translator.from_pretrained(folder, device="cpu")
    (folder / "units.json").write_text('{"kind": "characters"}')
    with pytest.raises(RunError, match=r"units .*damaged"):
        TextGenerator.from_pretrained(folder, device="cpu")
    (folder / "units.json").unlink()
    with pytest.raises(RunError, match=r"units\.json is missing"):
        TextGenerator.from_pretrained(folder, device="cpu")
    with pytest.raises(UsageError, match="no such directory"):
        TextGenerator.from_pretrained(tmp_path / "none")
    (tmp_path / "config.json").write_text('{"task": "generation"}')  # as training writes it
    with pytest.raises(RunError, match=r"directory of a run; its model is .*model"):
        TextGenerator.from_pretrained(tmp_path)


# --- copies ------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("again", [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_generators_and_sessions_are_copied_after_use(again, precision):
    generator = make()
    session = generator.session(seed=1, precision=precision)
    text = generator.generate("To be", seed=1, precision=precision)
    assert again(generator).generate("To be", seed=1, precision=precision) == text
    assert "".join(session.write("To be")) == text
    other = again(session)
    assert "".join(other.write("or")) == "".join(session.write("or"))
    stream = session.write("not")
    next(stream)
    with pytest.raises(TypeError, match="the session is writing"):
        again(session)


def test_the_beginning_of_a_document_is_no_end_that_was_written():
    """So neither a penalty nor a ban of repetition holds back the end."""
    generator, prompts = make(documents="line"), ["To be"] * 300
    plain = generator.generate_batch(prompts[:1], samples=300, settings=once(generator), seed=1)
    ends = sum(one.reason == "end" for one in plain[0])
    assert ends > 0
    for change in ({"repetition_penalty": 50.0}, {"no_repeat_ngram": 1}):
        found = generator.generate_batch(
            prompts[:1], samples=300, settings=once(generator, **change), seed=1
        )
        assert sum(one.reason == "end" for one in found[0]) >= ends


def once(generator, **changes):
    """One unit, drawn from a flat distribution."""
    return settings(generator, max_length=1, temperature=3.0, **changes)


def test_a_session_remembers_what_was_written_for_repetition():
    generator = make()
    how = settings(generator, temperature=0.0, no_repeat_ngram=3, max_length=12)
    session = generator.session(settings=how, seed=1)
    turns = "To be" + "".join(session.write("To be")) + "".join(session.write(""))
    whole = generator.generate("To be", temperature=0.0, no_repeat_ngram=3, max_length=24, seed=1)
    assert turns == "To be" + whole
    grams = [turns[at : at + 3] for at in range(len(turns) - 2)]
    assert len(set(grams)) == len(grams)


def test_beam_search_gives_texts_that_a_stop_makes_equal_once():
    generator = make()
    common = settings(generator, beam_size=4, max_length=8)
    (found,) = generator.generate_batch(["To be"], samples=4, settings=common)
    first = found[0].text[0]
    stopped = dataclasses.replace(common, stop=[first])
    (cut,) = generator.generate_batch(["To be"], samples=4, settings=stopped)
    texts = [one.text for one in cut]
    assert texts[0] == "" and len(set(texts)) == len(texts)
