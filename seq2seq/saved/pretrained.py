"""What every saved model offers its user: ``from_pretrained``, ``save_pretrained``,
``push_to_hub``."""

from __future__ import annotations

import abc
import os
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from torch import nn

from seq2seq.arguments import check_kind, check_path, check_truth
from seq2seq.config import config_to_dict
from seq2seq.errors import UsageError
from seq2seq.precision import device_named
from seq2seq.saved.directory import (
    FORMAT_VERSION,
    check_files,
    format_of,
    replace_files,
    write_weights,
)
from seq2seq.saved.hub import model_folder, upload

Model = TypeVar("Model", bound=nn.Module)
Config = TypeVar("Config")  # the dataclass of a task's run


class Pretrained(abc.ABC, Generic[Model, Config]):
    """A trained model, what turns its data into numbers and back, and its configuration.

    ``readme`` is the text of the model card, None before one was written.

    A task's user class says what its own files are: ``_from_directory``, ``_write_vocabulary``,
    ``_card``.
    """

    # ModelHubMixin of huggingface_hub is not a base class: its save_pretrained deletes config.json
    # before it writes, so a full disk would lose a saved model; its from_pretrained asks the hub
    # for a mistyped path, and passes over an error of the hub in silence.

    task: ClassVar[str]  # its name in seq2seq.registry
    files: ClassVar[tuple[str, ...]]  # all that a saved model may consist of

    model: Model
    config: Config
    readme: str | None

    @classmethod
    @abc.abstractmethod
    def _from_directory(cls, directory: Path) -> Self:
        """Load what ``directory`` holds, on the CPU and in evaluation mode.

        Raises RunError where a file is missing or damaged, the format is another, or vocabulary,
        weights and configuration do not belong together.
        """

    @abc.abstractmethod
    def _write_vocabulary(self, directory: Path) -> dict[str, Any]:
        """Write what turns text into numbers; returns its sizes, by their keys in config.json."""

    @abc.abstractmethod
    def _card(self, parameters: int, card: dict[str, Any] | None) -> str:
        """The model card of a model with so many weights."""

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        device: str = "auto",
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | None = None,
        local_files_only: bool = False,
    ) -> Self:
        """Load a model from its directory, or by its ``user/name`` from the hub.

        ``device`` is "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1" or "mps"; the rest
        concerns the hub alone and means what it means in ``huggingface_hub.snapshot_download``.

        Raises:
            UsageError: no such directory; no such model on the hub; no such device.
            RunError: a missing or damaged file, an unknown format, parts that do not fit one
                another; the hub cannot be reached.
        """
        chosen = device_named(device)
        check_truth(local_files_only=local_files_only)
        _check_token(token)
        directory = model_folder(
            check_path("model", name),
            cls.files,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        loaded = cls._from_directory(directory)
        check_files(directory)
        loaded.model.to(chosen)
        return loaded

    def save_pretrained(
        self, directory: str | os.PathLike[str], card: dict[str, Any] | None = None
    ) -> None:
        """Write the model directory (see ``seq2seq.saved.directory``), replacing what is there.

        ``card`` fills the model card (keys: ``seq2seq.saved.card.CARD_KEYS``); without it the card
        that the model was loaded with is kept, or a plain one written.

        Raises:
            UsageError: an unknown key in ``card``.
            RunError: the files cannot be written (no room, no permission, a file in the way).
        """
        path = Path(check_path("directory", directory))
        if card is not None:
            check_kind("card", card, dict)
        if card is not None or self.readme is None:
            parameters = sum(parameter.numel() for parameter in self.model.parameters())
            self.readme = self._card(parameters, card)

        def write(staging: Path) -> None:
            values = {
                "format": format_of(self.task),
                "format_version": FORMAT_VERSION,
                **self._write_vocabulary(staging),
                "config": config_to_dict(self.config),
            }
            write_weights(self.model, staging, values, self.readme)

        replace_files(path, write, self.files)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        branch: str | None = None,
        create_pr: bool = False,
        commit_message: str | None = None,
    ) -> str:
        """Upload the model directory to ``repo_id`` (made if new) in one commit; return its URL.

        ``commit_message`` is by default "Upload TASK model". Errors of huggingface_hub (no access,
        no network) pass through unchanged.
        """
        check_truth(private=False if private is None else private, create_pr=create_pr)
        _check_token(token)
        return upload(
            self.save_pretrained,
            repo_id,
            commit_message=commit_message or f"Upload {self.task} model",
            private=private,
            token=token,
            branch=branch,
            create_pr=create_pr,
        )


def _check_token(token: object) -> None:
    """A token of the hub; True: the one that is stored here, False: none."""
    if token is not None and not isinstance(token, (str, bool)):
        raise UsageError(f"token is a {type(token).__name__}; expected str, True or False")
