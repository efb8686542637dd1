"""A tiny model of each task, with random weights: what is saved, pushed and damaged in tests."""

from __future__ import annotations

from collections.abc import Callable

from seq2seq.config import config_from_dict
from seq2seq.saved.pretrained import Pretrained


def make(task: str) -> Pretrained:
    """A KeyError says that a new task has no model here yet."""
    return MODELS[task]()


def _translator() -> Pretrained:
    from tests.seq2seq.tasks.translation.models import make_translator

    return make_translator()


def _generator() -> Pretrained:
    from seq2seq.tasks.generation.generator import TextGenerator
    from seq2seq.tasks.generation.model import LanguageModel
    from seq2seq.text.vocabulary import Characters

    units = Characters("abc ", knows_unknown=False)
    model = {"hidden_size": 4, "embedding_size": 4, "layers": 1}
    config = config_from_dict({"task": "generation", "model": model})
    return TextGenerator(LanguageModel(config.model, len(units)), units, config)


def _captioner() -> Pretrained:
    from tests.seq2seq.tasks.captioning.models import make as make_captioner

    return make_captioner()


def _tagger() -> Pretrained:
    from seq2seq.tasks.tagging.model import TaggingModel
    from seq2seq.tasks.tagging.sentences import Sentence
    from seq2seq.tasks.tagging.tagger import Tagger
    from seq2seq.tasks.tagging.vocabulary import build_vocabulary

    model = {
        "embedding_size": 4,
        "characters": {"kind": "cnn", "embedding_size": 3, "hidden_size": 4},
        "encoder": {"layers": 1, "hidden_size": 4},
    }
    config = config_from_dict({"task": "tagging", "data": {"labels": ["ner"]}, "model": model})
    sentences = [Sentence(["Ann", "saw", "Rome"], [["B-PER", "O", "B-LOC"]], None, 1)]
    vocabulary = build_vocabulary(sentences, config, None)
    return Tagger(TaggingModel(config.model, vocabulary), vocabulary, config)


def _classifier() -> Pretrained:
    from seq2seq.tasks.classification.classifier import Classifier
    from seq2seq.tasks.classification.model import ClassificationModel, Shape
    from seq2seq.tasks.classification.targets import Targets
    from seq2seq.text.vocabulary import Characters

    units = Characters("abc ", knows_unknown=True)
    model = {"embedding_size": 4, "encoder": {"layers": 1, "hidden_size": 4}}
    config = config_from_dict(
        {"task": "classification", "units": {"kind": "characters"}, "model": model}
    )
    network = ClassificationModel(config.model, Shape(2, units=len(units)))
    return Classifier(network, units, Targets("label", ("bad", "good")), config)


def _forecaster() -> Pretrained:
    from tests.seq2seq.tasks.forecasting.models import make_forecaster

    return make_forecaster(kind="attention", head="gaussian")


MODELS: dict[str, Callable[[], Pretrained]] = {
    "translation": _translator,
    "generation": _generator,
    "captioning": _captioner,
    "tagging": _tagger,
    "classification": _classifier,
    "forecasting": _forecaster,
}
