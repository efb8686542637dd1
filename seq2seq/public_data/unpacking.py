"""Archives of a data set as folders."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

from seq2seq.errors import RunError, UsageError


def unpack_archives(folder: Path) -> list[Path]:
    """Unpack each NAME.tar of a folder as NAME/ beside it; returns the folders."""
    return [unpack(path, path.with_suffix("")) for path in sorted(folder.glob("*.tar"))]


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack the files of ``archive`` as ``folder``, whole or not at all.

    A folder that is there already is left as it is. Members that would land outside the folder,
    links out of it and devices are refused (``tarfile``'s data filter). Raises UsageError for what
    is no whole archive, RunError where the folder cannot be written.
    """
    if folder.exists():
        return folder
    if not archive.is_file():
        raise UsageError(f"{archive}: no such file; expected an archive of photographs")
    aside = folder.with_name(folder.name + ".unpacking")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        with tarfile.open(archive) as stream:
            stream.extractall(aside, filter="data")
        # Archives hold either the files themselves or one folder of them.
        inside = aside / archive.stem
        (inside if inside.is_dir() else aside).rename(folder)
    except tarfile.FilterError as error:
        raise UsageError(f"{archive}: {error}; not unpacked") from None
    except (tarfile.TarError, EOFError) as error:
        raise UsageError(f"{archive}: not a whole tar archive ({error})") from None
    except OSError as error:
        raise RunError(f"{folder}: cannot be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder
