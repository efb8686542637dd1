"""Models: what turns a batch into a loss, and a source into text."""

from seq2seq.models.captioning import CaptioningModel, Encoded
from seq2seq.models.language import LanguageModel, LanguageState
from seq2seq.models.search_steps import SearchState
from seq2seq.models.translation import TranslationModel

__all__ = [
    "CaptioningModel",
    "Encoded",
    "LanguageModel",
    "LanguageState",
    "SearchState",
    "TranslationModel",
]
