"""Where saved models are found: a directory, or a name on the hub."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from seq2seq.config.paths import normal_path
from seq2seq.errors import RunError, UsageError
from seq2seq.saved.directory import without_model


def model_folder(
    name: str,
    files: Sequence[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | None = None,
    local_files_only: bool = False,
) -> Path:
    """The directory of a model, fetched from the hub where ``name`` is not one.

    Raises UsageError where there is neither, RunError where the hub cannot be reached.
    """
    directory = Path(normal_path(name))
    if directory.is_dir():
        return directory
    if directory.exists():
        raise UsageError(f"model {name}: is a file; expected the directory of a model")
    parts = name.split("/")
    named = len(parts) == 2 and all(re.fullmatch(r"\w[\w.-]*", part) for part in parts)
    unsaved = without_model(directory.parent) if directory.name == "model" else None
    if unsaved:
        raise UsageError(f"model {name}: no such directory; the run {directory.parent} {unsaved}")
    if not named or Path(parts[0]).exists():  # a mistyped path must not become a question
        raise UsageError(
            f"model {name}: no such directory; expected the directory of a saved model, or the "
            "user/name of one on the hub"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError

    try:
        folder = snapshot_download(
            name,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            allow_patterns=list(files),
        )
    except (HTTPError, OSError) as error:
        raise explained(error, name) from None
    return Path(folder)


def explained(error: Exception, name: str) -> UsageError | RunError:
    """The sentence for an error of huggingface_hub while the model ``name`` was fetched."""
    from huggingface_hub.errors import GatedRepoError, RevisionNotFoundError

    status = _status(error)
    if isinstance(error, GatedRepoError):
        return UsageError(
            f"model {name}: its owner lets in whom they know ('gated'); ask for access at "
            f"{_endpoint()}/{name}, then log in with 'hf auth login', or set HF_TOKEN"
        )
    if isinstance(error, RevisionNotFoundError):
        return UsageError(f"model {name}: there on the hub, but not in the revision asked for")
    if status in (401, 404):  # the hub answers 401 for a name that is not there
        return UsageError(
            f"model {name}: no such directory, and no such model on the hub (or no access: log in "
            "with 'hf auth login', or set HF_TOKEN)"
        )
    if status:
        return RunError(f"model {name}: the hub answered {_first_line(error)}")
    return RunError(
        f"model {name}: no such directory, and the hub cannot be reached ({_first_line(error)})"
    )


def explained_push(error: Exception, name: str) -> UsageError | RunError:
    """The sentence for an error of huggingface_hub while a model was pushed to ``name``."""
    status = _status(error)
    if status == 401:
        return UsageError(
            f"push {name}: the hub does not know who you are; log in with 'hf auth login', or set "
            "HF_TOKEN to a token that may write"
        )
    if status == 403:
        return UsageError(
            f"push {name}: you may not write there; check the name before the '/', and that your "
            "token may write"
        )
    if status == 404:
        return UsageError(f"push {name}: no such user or organisation, or no access to it")
    if status:
        return RunError(f"push {name}: the hub answered {_first_line(error)}")
    return RunError(f"push {name}: the hub cannot be reached ({_first_line(error)})")


def _status(error: Exception) -> int | None:
    """The HTTP status that the hub answered with, if it answered."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _endpoint() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def upload(
    save: Callable[[str], None],
    repo_id: str,
    *,
    commit_message: str,
    private: bool | None = None,
    token: str | bool | None = None,
    branch: str | None = None,
    create_pr: bool = False,
) -> str:
    """Have ``save`` write a model directory, and upload it to ``repo_id`` (made if new) in one
    commit; return its URL. Errors of huggingface_hub (no access, no network) pass through."""
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    repo_id = api.create_repo(repo_id=repo_id, private=private, exist_ok=True).repo_id
    with tempfile.TemporaryDirectory() as folder:
        save(folder)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            commit_message=commit_message,
            revision=branch,
            create_pr=create_pr,
        )
    return str(commit)
