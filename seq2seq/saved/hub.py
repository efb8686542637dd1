"""Where saved models are found: a directory, or a name on the hub."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from seq2seq.errors import RunError, UsageError


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
    directory = Path(name).expanduser()
    if directory.is_dir():
        return directory
    if directory.exists():
        raise UsageError(f"model {name}: is a file; expected the directory of a model")
    parts = name.split("/")
    named = len(parts) == 2 and all(re.fullmatch(r"\w[\w.-]*", part) for part in parts)
    if not named or Path(parts[0]).exists():  # a mistyped path must not become a question
        raise UsageError(
            f"model {name}: no such directory; expected the directory of a saved model, or the "
            "user/name of one on the hub"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            name,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            allow_patterns=list(files),
        )
    except HfHubHTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 404):  # the hub answers 401 for a name that is not there
            raise UsageError(
                f"model {name}: no such directory, and no such model on the hub (or no access)"
            ) from None
        raise RunError(f"model {name}: the hub answered {error}") from None
    except (LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(
            f"model {name}: no such directory, and the hub cannot be reached ({reason})"
        ) from None
    return Path(folder)


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
