"""Keys of a configuration that name files and folders."""

from __future__ import annotations

import os
from typing import Annotated

PATH = "path"

# The type of such a key: text in which ``~`` at the beginning is the home folder.
PathText = Annotated[str, PATH]
# ``Annotated[str, PATH, endings]``: a folder of files whose names end so, or a file that lists such
# files beside it and below; what else lies there is none of the data.

STANDARD_INPUT = "/dev/stdin"  # its name, for which - stands on the command line


def normal_path(text: str) -> str:
    """``text`` with ``~`` or ``~name`` at its beginning replaced by that home folder; a name that
    no user has stays as it is."""
    return os.path.expanduser(text)
