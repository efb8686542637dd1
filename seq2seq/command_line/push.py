"""``seq2seq push``: put a saved model on the Hugging Face hub."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from seq2seq.command_line.command import Command
from seq2seq.errors import UsageError

_EXAMPLES = """\
  seq2seq push runs/multi30k/model user/multi30k-en-de --private
  seq2seq translate user/multi30k-en-de < test.en         from any machine

Only the files of a saved model are pushed, after it was loaded as a check. The token is that of
'hf auth login', or of the variable HF_TOKEN. The address of the commit is printed.
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="directory of a saved model")
    parser.add_argument("name", metavar="NAME", help="user/name on the hub; made if it is new")
    parser.add_argument("--private", action="store_true", help="if it is new: for you alone")
    parser.add_argument("--message", metavar="TEXT", help="of the commit")


def _run(options: argparse.Namespace) -> int:
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", options.name):
        raise UsageError(f"push: NAME is {options.name!r}; expected user/name")
    if options.message is not None and not options.message.strip():
        raise UsageError("push: --message is empty; leave it out, or say what was changed")
    directory = Path(options.model)
    if not directory.is_dir():
        raise UsageError(f"push {directory}: no such directory; expected that of a saved model")

    from huggingface_hub.errors import HFValidationError, HTTPError

    from seq2seq import registry
    from seq2seq.saved.directory import task_of
    from seq2seq.saved.hub import explained_push

    user = registry.load(registry.TASKS[task_of(directory)].user)
    model = user.from_pretrained(directory, device="cpu")
    try:
        url = model.push_to_hub(
            options.name, private=options.private or None, commit_message=options.message
        )
    except HFValidationError as error:
        raise UsageError(f"push {options.name}: {str(error).splitlines()[0]}") from None
    except (HTTPError, OSError) as error:
        raise explained_push(error, options.name) from None
    print(url)
    return 0


COMMAND = Command(
    "push", "put a saved model on the Hugging Face hub", _add_options, _run, _EXAMPLES
)
