"""Models: what turns a batch into a loss, and a source into text."""

from seq2seq.models.language import LanguageModel, LanguageState
from seq2seq.models.translation import TranslationModel, TranslationState

__all__ = ["LanguageModel", "LanguageState", "TranslationModel", "TranslationState"]
