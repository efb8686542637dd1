"""The validation text of a model's own training, read again."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from seq2seq.digests import file_digest
from seq2seq.errors import UsageError
from seq2seq.json_files import read_json
from seq2seq.saved.directory import RUN_FILE
from seq2seq.tasks.generation.config import LanguageConfig
from seq2seq.tasks.generation.mapped import LargeText
from seq2seq.tasks.generation.text import Text
from seq2seq.tasks.generation.training import load_texts

_log = logging.getLogger("seq2seq")
_REMEDY = "bring it back, or give a text: --text FILE"


def validation_text(config: LanguageConfig, model: str) -> Text | LargeText:
    """The text by which the best checkpoint of ``model`` (a folder) was chosen.

    Its files are read by the names in the configuration. Raises UsageError where they are not those
    that the run read, as the folder of the run around the model tells; warns where there is none.
    """
    split = "validation" if config.data.validation else "train"
    if config.data.hub is None:
        _check_same(Path(model), split)
    try:
        texts = load_texts(config)
    except UsageError as error:
        raise UsageError(f"the text of training: {error}; {_REMEDY}") from None
    if "validation" not in texts:
        raise UsageError("the model was trained without validation text; give a text: --text FILE")
    return texts["validation"]


def _check_same(model: Path, split: str) -> None:
    for name, known in _files_of_run(model, split).items():
        path = Path(name)
        if not path.is_file() or file_digest(path) != known.get("sha256"):
            what = "is not there" if not path.exists() else "has changed since, or is another file"
            raise UsageError(f"the text of training, 'data.{split}': {name} {what}; {_REMEDY}")


def _files_of_run(model: Path, split: str) -> dict[str, Any]:
    """Names of the files and what is known of each; none where nothing tells."""
    try:
        values = read_json(model.resolve().parent / RUN_FILE)
        return dict(values["files"][f"data.{split}"])
    except (OSError, ValueError, KeyError, TypeError):
        _log.warning(
            "%s does not lie in the folder of its run, so nothing tells whether 'data.%s' is still "
            "the text of training",
            model,
            split,
        )
        return {}
