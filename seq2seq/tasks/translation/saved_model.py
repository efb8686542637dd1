"""A saved translation model: its files, read and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seq2seq.errors import RunError, UsageError
from seq2seq.saved import directory as saved
from seq2seq.tasks.translation.config import TranslationConfig
from seq2seq.tasks.translation.model import TranslationModel
from seq2seq.tasks.translation.shortlist import SHORTLIST_FILE, Shortlist, read_shortlist
from seq2seq.text.sentencepiece import Tokenizer

SHARED_TOKENIZER = "tokenizer.model"
SOURCE_TOKENIZER, TARGET_TOKENIZER = "source.model", "target.model"
FILES = (
    saved.CONFIG_FILE,
    saved.WEIGHTS_FILE,
    SHARED_TOKENIZER,
    SOURCE_TOKENIZER,
    TARGET_TOKENIZER,
    SHORTLIST_FILE,
    saved.CARD_FILE,
)


def tokenizer_files(source: Tokenizer, target: Tokenizer) -> tuple[str, str]:
    """The names of the source's and the target's tokenizer in a saved model."""
    if source is target:
        return SHARED_TOKENIZER, SHARED_TOKENIZER
    return SOURCE_TOKENIZER, TARGET_TOKENIZER


def write_tokenizers(directory: Path, source: Tokenizer, target: Tokenizer) -> dict[str, Any]:
    """Returns what config.json says of them."""
    for tokenizer, name in zip((source, target), tokenizer_files(source, target), strict=True):
        tokenizer.save(directory / name)
    return {
        "shared_vocabulary": source is target,
        "source_vocab_size": len(source),
        "target_vocab_size": len(target),
    }


def read_model(
    directory: Path, task: str
) -> tuple[TranslationModel, Tokenizer, Tokenizer, TranslationConfig, str | None, Shortlist | None]:
    """Model, the source's and the target's tokenizer (one object where they share a vocabulary),
    configuration, card and shortlist. Raises RunError for a file that is missing or damaged."""
    kinds = {"shared_vocabulary": bool, "source_vocab_size": int, "target_vocab_size": int}
    values = saved.read_values(directory, task, kinds, FILES)
    config = saved.run_config(values, directory, task)
    shared = values["shared_vocabulary"]
    names = [SHARED_TOKENIZER] if shared else [SOURCE_TOKENIZER, TARGET_TOKENIZER]
    for name in [*names, saved.WEIGHTS_FILE]:
        saved.require(directory, name, FILES)
    tokenizers = [Tokenizer.load(directory / name) for name in names]
    source, target = tokenizers[0], tokenizers[-1]
    sizes = values["source_vocab_size"], values["target_vocab_size"]
    saved.check_vocabulary(directory / names[0], len(source), sizes[0], "source_vocab_size")
    saved.check_vocabulary(directory / names[-1], len(target), sizes[1], "target_vocab_size")
    weights = directory / saved.WEIGHTS_FILE
    try:
        model = saved.build_to_fit(lambda: TranslationModel(config.model, *sizes), weights)
    except UsageError as error:
        raise RunError(f"{directory / saved.CONFIG_FILE}: {error}") from None
    saved.load_weights(model, weights)
    shortlist = read_shortlist(directory, source, target)
    return model.eval(), source, target, config, saved.read_card(directory), shortlist
