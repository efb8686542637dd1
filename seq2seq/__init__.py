"""Translation, text generation, captioning and classification with recurrent networks.

The public names are loaded when first used, so that ``import seq2seq`` (and with it the
command line's ``--help``) does not wait for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seq2seq import registry
from seq2seq.environment import check_kernels

if TYPE_CHECKING:  # for editors and type checkers; what is loaded is what the registry says
    from seq2seq.config import load_config as load_config
    from seq2seq.errors import RunError as RunError
    from seq2seq.errors import UsageError as UsageError
    from seq2seq.tasks.captioning.captioned import Caption as Caption
    from seq2seq.tasks.captioning.captioned import Captioned as Captioned
    from seq2seq.tasks.captioning.captioner import Captioner as Captioner
    from seq2seq.tasks.classification.classifier import Classified as Classified
    from seq2seq.tasks.classification.classifier import Classifier as Classifier
    from seq2seq.tasks.forecasting.forecaster import Forecaster as Forecaster
    from seq2seq.tasks.forecasting.series import Forecast as Forecast
    from seq2seq.tasks.forecasting.series import Series as Series
    from seq2seq.tasks.generation.filler import BlankFiller as BlankFiller
    from seq2seq.tasks.generation.filler import Filling as Filling
    from seq2seq.tasks.generation.generator import Generated as Generated
    from seq2seq.tasks.generation.generator import TextGenerator as TextGenerator
    from seq2seq.tasks.generation.suggesting import Suggestion as Suggestion
    from seq2seq.tasks.tagging.tagged import Tagged as Tagged
    from seq2seq.tasks.tagging.tagged import TaggedSpan as TaggedSpan
    from seq2seq.tasks.tagging.tagger import Tagger as Tagger
    from seq2seq.tasks.translation.config import Config as Config
    from seq2seq.tasks.translation.config import TranslationConfig as TranslationConfig
    from seq2seq.tasks.translation.scores import Score as Score
    from seq2seq.tasks.translation.scores import score as score
    from seq2seq.tasks.translation.translator import Translation as Translation
    from seq2seq.tasks.translation.translator import Translator as Translator

_PUBLIC = {
    "RunError": "seq2seq.errors:RunError",
    "UsageError": "seq2seq.errors:UsageError",
    "load_config": "seq2seq.config:load_config",
}
for _task in registry.TASKS.values():
    _PUBLIC |= _task.public


__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif name in _PUBLIC:
        check_kernels()
        value = registry.load(_PUBLIC[name])
    else:
        raise AttributeError(f"module 'seq2seq' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("recurrent-seq2seq")
    except PackageNotFoundError:  # run from a folder of sources
        return "(not installed)"
