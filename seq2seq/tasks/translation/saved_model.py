"""A saved translation model: its files, read and checked."""

from __future__ import annotations

from pathlib import Path

from seq2seq.errors import RunError, UsageError
from seq2seq.saved import directory as saved
from seq2seq.tasks.translation.config import TranslationConfig
from seq2seq.tasks.translation.model import TranslationModel
from seq2seq.text.sentencepiece import Tokenizer

SHARED_TOKENIZER = "tokenizer.model"
SOURCE_TOKENIZER, TARGET_TOKENIZER = "source.model", "target.model"
FILES = (
    saved.CONFIG_FILE,
    saved.WEIGHTS_FILE,
    SHARED_TOKENIZER,
    SOURCE_TOKENIZER,
    TARGET_TOKENIZER,
    saved.CARD_FILE,
)


def read_model(
    directory: Path, task: str
) -> tuple[TranslationModel, Tokenizer, Tokenizer, TranslationConfig, str | None]:
    """Model, the source's and the target's tokenizer (one object where they share a vocabulary),
    configuration and model card. Raises RunError for a file that is missing or damaged."""
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
    return model.eval(), source, target, config, saved.read_card(directory)
