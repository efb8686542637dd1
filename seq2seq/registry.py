"""The tasks: the only list of them. A new task is a folder under ``tasks/`` and an entry here.

Names are strings, ``module:name``, and imported when they are needed, so that ``seq2seq --help``
does not wait for torch. ARCHITECTURE.md, "Add a task", says what each part does.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from seq2seq.errors import UsageError, shown


@dataclass(frozen=True)
class Figure:
    """A figure of the validation set, as the log of a run names it and its learning curve shows."""

    name: str
    label: str
    higher: bool = True  # whether higher is better
    digits: int = 1


@dataclass(frozen=True)
class Entry:
    """Where the parts of one task are found."""

    config: str  # the dataclass of its YAML file
    check: str  # (config, where): raises UsageError for values that make no sense together
    training: str  # what answers the training loop (seq2seq.training.task.Task)
    user: str  # the saved model as a user holds it (seq2seq.saved.pretrained.Pretrained)
    commands: str  # a tuple of seq2seq.command_line.command.Command
    command: str  # which of them uses a saved model: named where another one was tried
    figures: tuple[Figure, ...]  # drawn in the learning curve, beside the losses
    recipe: str  # recipes/TASK/RECIPE.yaml explains every key
    public: dict[str, str]  # names that ``seq2seq`` itself offers -> where they are


TASKS = {
    "translation": Entry(
        config="seq2seq.tasks.translation.config:TranslationConfig",
        check="seq2seq.tasks.translation.config:check",
        training="seq2seq.tasks.translation.training:TranslationTask",
        user="seq2seq.tasks.translation.translator:Translator",
        commands="seq2seq.tasks.translation.commands:COMMANDS",
        command="translate",
        figures=(Figure("bleu", "BLEU"),),
        recipe="multi30k",
        public={
            "Config": "seq2seq.tasks.translation.config:Config",
            "Score": "seq2seq.tasks.translation.scores:Score",
            "Translation": "seq2seq.tasks.translation.translator:Translation",
            "TranslationConfig": "seq2seq.tasks.translation.config:TranslationConfig",
            "Translator": "seq2seq.tasks.translation.translator:Translator",
            "score": "seq2seq.tasks.translation.scores:score",
        },
    ),
    "generation": Entry(
        config="seq2seq.tasks.generation.config:LanguageConfig",
        check="seq2seq.tasks.generation.config:check",
        training="seq2seq.tasks.generation.training:LanguageTask",
        user="seq2seq.tasks.generation.generator:TextGenerator",
        commands="seq2seq.tasks.generation.commands:COMMANDS",
        command="generate",
        figures=(Figure("bits_per_character", "bits a character", higher=False, digits=3),),
        recipe="tinyshakespeare",
        public={
            "BlankFiller": "seq2seq.tasks.generation.filler:BlankFiller",
            "Filling": "seq2seq.tasks.generation.filler:Filling",
            "Generated": "seq2seq.tasks.generation.generator:Generated",
            "Suggestion": "seq2seq.tasks.generation.suggesting:Suggestion",
            "TextGenerator": "seq2seq.tasks.generation.generator:TextGenerator",
        },
    ),
    "captioning": Entry(
        config="seq2seq.tasks.captioning.config:CaptioningConfig",
        check="seq2seq.tasks.captioning.config:check",
        training="seq2seq.tasks.captioning.training:CaptioningTask",
        user="seq2seq.tasks.captioning.captioner:Captioner",
        commands="seq2seq.tasks.captioning.commands:COMMANDS",
        command="caption",
        figures=(Figure("bleu4", "BLEU-4"), Figure("cider_d", "CIDEr-D", digits=3)),
        recipe="flickr8k",
        public={
            "Caption": "seq2seq.tasks.captioning.captioner:Caption",
            "Captioned": "seq2seq.tasks.captioning.captioner:Captioned",
            "Captioner": "seq2seq.tasks.captioning.captioner:Captioner",
        },
    ),
    "tagging": Entry(
        config="seq2seq.tasks.tagging.config:TaggingConfig",
        check="seq2seq.tasks.tagging.config:check",
        training="seq2seq.tasks.tagging.training:TaggingTask",
        user="seq2seq.tasks.tagging.tagger:Tagger",
        commands="seq2seq.tasks.tagging.commands:COMMANDS",
        command="tag",
        figures=(
            Figure("span_f1", "F1 of spans"),
            Figure("label_accuracy", "accuracy of labels"),
            Figure("sentence_accuracy", "accuracy of sentences"),
        ),
        recipe="conll2003",
        public={
            "Tagged": "seq2seq.tasks.tagging.tagged:Tagged",
            "TaggedSpan": "seq2seq.tasks.tagging.tagged:TaggedSpan",
            "Tagger": "seq2seq.tasks.tagging.tagger:Tagger",
        },
    ),
    "classification": Entry(
        config="seq2seq.tasks.classification.config:ClassificationConfig",
        check="seq2seq.tasks.classification.config:check",
        training="seq2seq.tasks.classification.training:ClassificationTask",
        user="seq2seq.tasks.classification.classifier:Classifier",
        commands="seq2seq.tasks.classification.commands:COMMANDS",
        command="classify",
        figures=(
            Figure("accuracy", "accuracy", digits=3),
            Figure("macro_f1", "macro F1", digits=3),
            Figure("auc", "AUC", digits=3),
            Figure("average_precision", "average precision", digits=3),
            Figure("rmse", "root mean squared error", higher=False, digits=3),
        ),
        recipe="sst2",
        public={
            "Classified": "seq2seq.tasks.classification.classifier:Classified",
            "Classifier": "seq2seq.tasks.classification.classifier:Classifier",
        },
    ),
    "forecasting": Entry(
        config="seq2seq.tasks.forecasting.config:ForecastConfig",
        check="seq2seq.tasks.forecasting.config:check",
        training="seq2seq.tasks.forecasting.training:ForecastTask",
        user="seq2seq.tasks.forecasting.forecaster:Forecaster",
        commands="seq2seq.tasks.forecasting.commands:COMMANDS",
        command="forecast",
        figures=(
            Figure("mse", "mean squared error", higher=False, digits=4),
            Figure("mae", "mean absolute error", higher=False, digits=4),
        ),
        recipe="etth1",
        public={
            "Forecast": "seq2seq.tasks.forecasting.series:Forecast",
            "Forecaster": "seq2seq.tasks.forecasting.forecaster:Forecaster",
            "Series": "seq2seq.tasks.forecasting.series:Series",
        },
    ),
}


def task(name: Any, where: str) -> Entry:
    """The task that a configuration names; raises UsageError for one that there is not."""
    if not isinstance(name, str) or name not in TASKS:
        raise UsageError(f"{where}: 'task' is {shown(name)}; expected one of: {', '.join(TASKS)}")
    return TASKS[name]


def load(name: str) -> Any:
    """What ``module:name`` names."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)
