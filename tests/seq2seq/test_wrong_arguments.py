"""Wrong values of every argument of every public class: told as a UsageError, never taken."""

from __future__ import annotations

import functools
import inspect

import numpy as np
import pytest

pytest.importorskip("PIL")

import seq2seq
from seq2seq.errors import UsageError
from seq2seq.tasks.captioning.config import CaptionDecodingConfig
from seq2seq.tasks.generation.blanks import make_blanked
from seq2seq.tasks.generation.filler import BlankFiller
from tests.seq2seq.saved.models import MODELS, make

NAN, INF = float("nan"), float("inf")
HALF = "a\ud800"  # half a character

TEXT = [None, 5, b"a", ["a"]]
ONE_OR_MORE = [None, 5, b"ab", [None], [1], {"a": "b"}]  # a text, or a list of texts
TEXTS = [*ONE_OR_MORE, "ab", [["a"]]]
PHRASES = [5, "ab", b"ab", [None], [5]]
WHOLE = ["x", "1", 1.5, NAN, True, [1], -1]
SEED = ["x", 1.5, NAN, True, [None]]
NUMBER = ["x", "1", NAN, INF, [1.0], True, -1.0]
LEVELS = [5, "x", [None], ["0.5"], [NAN], [True], {0.5: 1}]
PRECISION = ["x", 5, None, ["fp32"]]
SETTINGS = ["x", "", 5, 0, {}, []]
PATH = [None, 5, b"", [], HALF, "a\0"]
OPTION = ["x", 1, True]
TRUTH = ["no", "", 2, 0, 1.0, None, [], [True], np.array([True])]
TRUTH_OR_NONE = [one for one in TRUTH if one is not None]

DRAWN = CaptionDecodingConfig(min_length=0)

DRAWING = {
    "samples": [*WHOLE, 0], "temperature": NUMBER, "top_k": WHOLE, "top_p": NUMBER,
    "min_p": NUMBER, "seed": SEED, "decoding": SETTINGS, "precision": PRECISION,
}  # fmt: skip
SEARCH = {
    "beam_size": [*WHOLE, 0], "batch_size": [*WHOLE, 0], "decoding": SETTINGS,
    "precision": PRECISION, "require": PHRASES, "forbid": PHRASES,
}  # fmt: skip
TRANSLATE = {
    "length_penalty": NUMBER, "prefixes": [5, b"a", [None], [5]], "copy_unknown": TRUTH,
}  # fmt: skip
LINES = {"first_line": ["x", 1.5, NAN, True]}
FORECAST = {
    "horizon": [*WHOLE, 0], "levels": LEVELS, "paths": WHOLE, "seed": [*SEED, -1],
    "precision": PRECISION, "calibrate": TRUTH_OR_NONE, "lower": NUMBER[:-1],
    "upper": NUMBER[:-1],  # -1.0 is one
}  # fmt: skip
IMAGES = [None, 5, "ab", b"ab", {"a": "b"}]
GENERATE = {
    "max_length": WHOLE, "temperature": NUMBER, "top_k": WHOLE, "top_p": NUMBER, "min_p": NUMBER,
    "repetition_penalty": NUMBER, "no_repeat_ngram": WHOLE, "stop": [5, b"ab", [None], [5]],
    "beam_size": [*WHOLE, 0], "seed": SEED, "settings": SETTINGS, "precision": PRECISION,
}  # fmt: skip

# (task, method) -> the right value of what must be given, and wrong values of each argument
METHODS = {
    ("translation", "translate"): (
        {"texts": ["a dog"]},
        {"texts": ONE_OR_MORE, **SEARCH, **TRANSLATE},
    ),
    ("translation", "translate_nbest"): (
        {"texts": ["a dog"]},
        {"texts": TEXTS, "n_best": [*WHOLE, 0], "attention": TRUTH, **SEARCH, **TRANSLATE, **LINES},
    ),
    ("translation", "sample"): ({"texts": ["a"]}, {"texts": TEXTS, **DRAWING, **LINES}),
    ("translation", "minimum_bayes_risk"): ({"texts": ["a"]}, {"texts": TEXTS, **DRAWING, **LINES}),
    ("translation", "score"): (
        {"texts": ["a dog"], "translations": ["ein hund"]},
        {
            "texts": TEXTS, "translations": TEXTS, "batch_size": [*WHOLE, 0],
            "precision": PRECISION, "attention": TRUTH, **LINES,
        },
    ),
    ("translation", "learn_shortlist"): (
        {"sources": ["a dog"], "targets": ["ein hund"]},
        {"sources": TEXTS, "targets": TEXTS, "words": [*WHOLE, 0], "frequent": WHOLE},
    ),
    ("translation", "translate_documents"): (
        {"documents": ["a"]},
        {
            "documents": [*TEXTS, [HALF]], "decoding": SETTINGS, "precision": PRECISION,
            "copy_unknown": TRUTH,
        },
    ),
    ("generation", "generate"): ({}, {"prompt": TEXT, "stream": TRUTH, **GENERATE}),
    ("generation", "generate_batch"): (
        {"prompts": ["a"]},
        {
            "prompts": TEXTS, "samples": [*WHOLE, 0], "settings": SETTINGS, "seed": SEED,
            "precision": PRECISION,
        },
    ),
    ("generation", "session"): ({}, {"settings": SETTINGS, "seed": SEED, "precision": PRECISION}),
    ("generation", "suggest"): (
        {"text": "a"},
        {"text": TEXT, "top": [*WHOLE, 0], "precision": PRECISION},
    ),
    ("generation", "score"): (
        {"texts": ["ab"]},
        {"texts": TEXTS, "context": TEXT, "precision": PRECISION},
    ),
    ("generation", "perplexity"): (
        {"text": "abc abc"},
        {
            "text": [None, 5, [], ("a",), ["ab"], iter(["ab"])],
            "cold_window": [*WHOLE, 0], "rows": [*WHOLE, 0], "cache": OPTION, "dynamic": OPTION,
            "precision": PRECISION,
        },
    ),
    ("filling", "fill"): (
        {"text": "a ___", "candidates": ["b", "c"]},
        {
            "text": TEXT, "candidates": [5, "ab", b"ab", [None], [5], {"a": "b"}],
            "top": [*WHOLE, 0], "precision": PRECISION,
        },
    ),
    ("filling", "fill_batch"): (
        {"sentences": [make_blanked("a ___", ["b", "c"], "the text")]},
        {
            "sentences": [None, 5, "a ___", ["a ___"], [None], [1]],
            "top": [*WHOLE, 0], "precision": PRECISION,
        },
    ),
    ("captioning", "caption"): (
        {"images": ["a.png"]},
        {"images": IMAGES, "n_best": [*WHOLE, 0], "attention": TRUTH, **SEARCH},
    ),
    ("captioning", "sample"): (
        {"images": ["a.png"], "decoding": DRAWN},
        {"images": IMAGES, **DRAWING},
    ),
    ("captioning", "minimum_bayes_risk"): (
        {"images": ["a.png"], "decoding": DRAWN},
        {"images": IMAGES, **DRAWING},
    ),
    ("classification", "classify"): (
        {"inputs": ["a"]},
        {
            "inputs": [*ONE_OR_MORE, np.array("a")], "threshold": [*NUMBER, 1.5],
            "batch_size": [*WHOLE, 0], "precision": PRECISION, "explain": TRUTH,
        },
    ),
    ("classification", "read"): ({"inputs": ["a"]}, {"inputs": TEXTS}),
    ("tagging", "tag"): (
        {"sentences": ["Ann saw"]},
        {
            "sentences": ONE_OR_MORE, "split": ["x", None, 5], "batch_size": [*WHOLE, 0],
            "precision": PRECISION, "features": [5, "x", [5], [None], {}], "probabilities": TRUTH,
        },
    ),
    ("forecasting", "read"): ({"location": "a.csv"}, {"location": PATH}),
    ("forecasting", "forecast"): (
        {"history": []},
        {"history": [None, 5, "ab", b"ab", [None], [5], {}], **FORECAST},
    ),
    ("forecasting", "forecast_frame"): ({"history": None}, {"history": [None, 5, "ab", []]}),
}  # fmt: skip
FUNCTIONS = {
    "score": (
        {"hypotheses": ["a b"], "references": ["a b"]},
        {
            "hypotheses": TEXTS, "references": [*TEXTS[:5], "ab", [[None]], [["a", 1]], ["a", 1]],
            "metrics": [5, None, "bleu", [5], ["x"]], "bootstrap": WHOLE, "seed": [*SEED, -1],
        },
    ),
    "load_config": (
        {"path": "no.yaml"},
        {"path": PATH, "overrides": [5, "x", ["x"], {1: "x"}, {"seed": 1}]},
    ),
}  # fmt: skip


@functools.cache
def model(task):
    return BlankFiller(make("generation")) if task == "filling" else make(task)


def cases():
    for (task, name), (right, wrong) in METHODS.items():
        for argument, values in wrong.items():
            for value in values:
                yield pytest.param(
                    task, name, right, argument, value, id=f"{task}-{name}-{argument}-{value!a:.20}"
                )


@pytest.mark.parametrize(("task", "name", "right", "argument", "value"), list(cases()))
def test_method(task, name, right, argument, value):
    with pytest.raises(UsageError, match=argument[:4]):  # "text 1" is one of "texts"
        getattr(model(task), name)(**{**right, argument: value})


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [
        pytest.param(name, argument, value, id=f"{name}-{argument}-{value!a:.20}")
        for name, (_, wrong) in FUNCTIONS.items()
        for argument, values in wrong.items()
        for value in values
    ],
)
def test_function(name, argument, value):
    with pytest.raises(UsageError, match=argument[:4]):
        getattr(seq2seq, name)(**{**FUNCTIONS[name][0], argument: value})


@pytest.mark.parametrize("task", MODELS)
def test_saving_and_loading(task, tmp_path):
    saved = tmp_path / "model"
    for path in PATH:
        with pytest.raises(UsageError, match="directory is"):
            model(task).save_pretrained(path)
        with pytest.raises(UsageError, match="model is"):
            type(model(task)).from_pretrained(path)
    with pytest.raises(UsageError, match="card is a int"):
        model(task).save_pretrained(saved, card=5)
    assert not saved.exists()
    for device in ("x", None, [], HALF):
        with pytest.raises(UsageError, match="device is"):
            type(model(task)).from_pretrained(saved, device=device)


@pytest.mark.parametrize("task", MODELS)
def test_truth_values_of_saving_and_loading(task, tmp_path):
    user = model(task)
    user.save_pretrained(tmp_path)
    for value in TRUTH:
        with pytest.raises(UsageError, match=r"local_files_only is .*; expected True or False"):
            type(user).from_pretrained(tmp_path, local_files_only=value)
        with pytest.raises(UsageError, match=r"create_pr is .*; expected True or False"):
            user.push_to_hub("a/b", create_pr=value)
    for value in TRUTH_OR_NONE:
        with pytest.raises(UsageError, match=r"private is .*; expected True or False"):
            user.push_to_hub("a/b", private=value)
    for value in (5, [], {}):
        for call in (type(user).from_pretrained, user.push_to_hub):
            with pytest.raises(UsageError, match=r"token is a .*; expected str, True or False"):
                call(str(tmp_path), token=value)


@pytest.mark.parametrize("value", TRUTH)
def test_truth_values_of_parts(value):
    """These methods take what other methods of the same class return."""
    for task, name, given, argument in (
        ("captioning", "caption_encoded", [None, None], "attention"),
        ("generation", "prompt_units", ["a"], "begins"),
        ("tagging", "label", [None, None], "probabilities"),
    ):
        with pytest.raises(UsageError, match=rf"{argument} is .*; expected True or False"):
            getattr(model(task), name)(*given, **{argument: value})
    with pytest.raises(UsageError, match=r"calibrate is .*; expected True or False"):
        model("forecasting").asked(calibrate="no" if value is None else value)


PARTS = {"caption_encoded", "prompt_units", "label", "asked", "from_pretrained", "push_to_hub"}


@pytest.mark.parametrize("task", MODELS)
def test_every_truth_value_is_tried(task):
    tried = {name for of, name in METHODS if of == task} | PARTS
    for name, method in inspect.getmembers(type(model(task)), callable):
        if name.startswith("_") or name in tried:
            continue
        parameters = inspect.signature(method).parameters.values()
        assert not [one.name for one in parameters if str(one.annotation).startswith("bool")], name


@pytest.mark.parametrize("value", TRUTH)
def test_truth_values_elsewhere(tmp_path, value):
    from seq2seq.config import config_from_dict
    from seq2seq.tasks.translation.mbr import by_expected_utility
    from seq2seq.tasks.translation.plots import plot_attention
    from seq2seq.training.loop import train

    for name in ("quiet", "resume", "allow_changes"):
        with pytest.raises(UsageError, match=rf"{name} is .*; expected True or False"):
            train(config_from_dict({"output": str(tmp_path)}), **{name: value})
    with pytest.raises(UsageError, match=r"words is .*; expected True or False"):
        plot_attention(np.ones((1, 1)), ["a"], ["b"], tmp_path / "a.png", words=value)
    with pytest.raises(UsageError, match=r"by_probability is .*; expected True or False"):
        by_expected_utility([], by_probability=value)
    with pytest.raises(UsageError, match=r"mirror is .*; expected True or False"):
        model("captioning").caption([], decoding=CaptionDecodingConfig(mirror=value))


def test_truth_values_of_numpy_are_truth_values():
    translator, true = model("translation"), np.array([1.0]) > 0
    found = translator.translate_nbest(["a"], attention=true[0], copy_unknown=true.all())[0][0]
    assert found.attention is not None
    assert translator.translate(["a"], copy_unknown=np.False_) == translator.translate(["a"])


def test_numbers_of_numpy_are_numbers():
    translator, generator = model("translation"), model("generation")
    own = translator.sample(["a"], samples=2, temperature=0.5, top_k=3, seed=7)
    given = translator.sample(
        ["a"], samples=np.int64(2), temperature=np.float32(0.5), top_k=np.int32(3), seed=np.uint8(7)
    )
    assert given == own
    found = generator.generate_batch(["a"], samples=np.int64(2), seed=np.int64(7))
    assert found == generator.generate_batch(["a"], samples=2, seed=7)
    assert translator.translate(["a"], beam_size=np.int64(2)) == translator.translate(
        ["a"], beam_size=2
    )


def test_generators_are_read_once():
    translator, generator = model("translation"), model("generation")
    assert generator.score(one for one in ["a", "b"]) == generator.score(["a", "b"])
    assert seq2seq.score((t for t in ["a b"]), (t for t in ["a b"]), bootstrap=0) == seq2seq.score(
        ["a b"], ["a b"], bootstrap=0
    )
    required = translator.translate(["a", "b"], require=(one for one in ["dog"]))
    assert required == translator.translate(["a", "b"], require=["dog"])


@pytest.mark.parametrize("value", ["a path", None, 5])
def test_filler_of_what_is_no_generator(value):
    with pytest.raises(UsageError, match="expected a TextGenerator"):
        BlankFiller(value)
    if value is not None:
        with pytest.raises(UsageError, match="backward is a"):
            BlankFiller(model("generation"), value)


@pytest.mark.parametrize(("task", "name"), METHODS)
def test_every_argument_is_tried(task, name):
    told = set(inspect.signature(getattr(model(task), name)).parameters)
    if name == "forecast_frame":  # which hands all but the frame to ``forecast``
        told &= {"history"}
    assert told == set(METHODS[task, name][1])
