"""The ``seq2seq`` command: its streams and exit statuses. The commands themselves are those of
``command_line/`` (train, plot, data, ...) and of each task (``tasks/*/commands.py``).

Exit status: 0 done, 1 the run failed, 2 wrong use, 130 interrupted (Ctrl-C), 141 nobody reads
the output any more. Nothing heavy is imported before the arguments are known to be good, so
that ``--help`` and a mistyped option answer at once.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import logging
import os
import sys
from collections.abc import Sequence

import seq2seq
from seq2seq import registry
from seq2seq.command_line import completion, data, demo, init, plot, push, tokenize, train
from seq2seq.command_line.command import Command
from seq2seq.command_line.files import write_utf8
from seq2seq.command_line.overrides import split_overrides, unknown_option
from seq2seq.command_line.overwriting import check_outputs
from seq2seq.command_line.paths import normalise_paths
from seq2seq.command_line.rules import check_rules
from seq2seq.environment import check_kernels, has_met_others, process_rank
from seq2seq.errors import RunError, ToldElsewhere, UsageError

# What torch and numpy say of arrays that no memory holds.
_TOO_LARGE = ("allocate", "Storage size calculation overflowed", "array is too big")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (argparse exits by itself for wrong use)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _open_closed_streams()
    write_utf8(sys.stdout)
    _log_to_stderr()
    try:
        status = _run(arguments)
        sys.stdout.flush()
        return status
    except UsageError as error:
        return _complain(error, 2)
    except RunError as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except BrokenPipeError:
        # Python flushes standard output once more at exit; let that write go nowhere.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:  # a full disk, a directory without permission
        return _complain(error, 1)
    except (MemoryError, RuntimeError, ValueError) as error:  # torch's is a RuntimeError
        if _of_backend(error):
            return _complain(error, 2)
        if not isinstance(error, MemoryError) and not any(one in str(error) for one in _TOO_LARGE):
            raise
        return _complain(f"not enough memory: {str(error).splitlines()[0]}; take less at a time, "
                         "or a smaller model", 1)  # fmt: skip


def _run(arguments: list[str]) -> int:
    commands = all_commands()
    if arguments and not arguments[0].startswith("-") and arguments[0] not in commands:
        near = difflib.get_close_matches(arguments[0], commands, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(commands)}"
        raise UsageError(f"unknown command {arguments[0]!r}; {hint}")
    overrides: dict[str, str] = {}
    if arguments[:1] == ["train"]:
        rest, overrides = split_overrides(arguments[1:])
        arguments = ["train", *rest]
    parser, parsers = build_parser(commands)
    if arguments and arguments[0] in commands and {"-h", "--help"} & set(arguments):
        _add_details(commands[arguments[0]], parsers[arguments[0]])
    options, unknown = parser.parse_known_args(arguments)
    if options.version:
        print(f"seq2seq {seq2seq.__version__}")
        return 0
    if options.command is None:
        parser.print_help()
        return 2
    if unknown:
        names = list(parsers[options.command]._option_string_actions)
        raise UsageError(f"{options.command}: {unknown_option(unknown[0], names)}")
    one = commands[options.command]
    check_rules(one.name, one.rules, parsers[one.name], options, arguments[1:])
    normalise_paths(parsers[options.command], options)
    check_outputs(one.name, parsers[one.name], options)
    check_kernels()
    options.overrides = overrides
    return one.run(options)


def all_commands() -> dict[str, Command]:
    """Every command by its name, in the order of ``--help``."""
    commands = [train.COMMAND]
    for task in registry.TASKS.values():
        commands += registry.load(task.commands)
    commands += [
        plot.COMMAND,
        push.COMMAND,
        tokenize.COMMAND,
        data.COMMAND,
        demo.COMMAND,
        init.COMMAND,
    ]
    commands.append(completion.COMMAND)
    return {command.name: command for command in commands}


def build_parser(
    commands: dict[str, Command],
) -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of the whole command line, and of each command."""
    parser = argparse.ArgumentParser(
        prog="seq2seq",
        description="Recurrent networks for text, images and series.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.set_defaults(command=None)
    group = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in commands.values():
        one = group.add_parser(
            command.name,
            help=command.summary,
            description=command.summary[0].upper() + command.summary[1:] + ".",
            epilog=command.examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        one.set_defaults(command=command.name)
        command.add_options(one)
    return parser, group.choices


def _of_backend(error: Exception) -> bool:
    """Whether an operation refused the backend that KERNELS_BACKEND asks for."""
    return bool(os.environ.get("KERNELS_BACKEND")) and "backend '" in str(error)


def _add_details(command: Command, parser: argparse.ArgumentParser) -> None:
    if command.details:
        parser.epilog = f"{command.examples}\n{command.details()}"


def _complain(message: object, status: int) -> int:
    """Tell what went wrong: once, where several processes train together."""
    if rank := process_rank():
        # before they meet, all of a machine make the same mistake
        same = not has_met_others() and os.environ.get("LOCAL_RANK", "0") != "0"
        if same or isinstance(message, ToldElsewhere) or status == 130:
            return status
        message = f"process {rank}: {message}"
    with contextlib.suppress(BrokenPipeError):
        print(f"seq2seq: {message}", file=sys.stderr)
    return status


def _open_closed_streams() -> None:
    """Python leaves None for a stream that the caller closed (``<&-``): nothing comes from there,
    and what goes there goes nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("seq2seq: %(message)s"))
    logging.getLogger("seq2seq").handlers = [handler]
