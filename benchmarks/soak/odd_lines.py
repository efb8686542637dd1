"""Odd lines through translate, generate and score: one line out for each line in, in memory that
does not grow."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.soak import running
from benchmarks.soak.tiny_tasks import TINY, configuration, write

LINES = 100_000  # at scale 1
GROWTH = 1.05  # peak memory of the second half over that of the first: the same kinds of lines
_SLACK_MB = 16  # and so much for what Python's allocator keeps
_PATIENCE = 3600

COMMANDS = {  # command -> task of its model, and options that keep long lines short
    "translate": ("translation", ("--beam-size", "1", "--max-length-ratio", "0.2")),
    "generate": (
        "generation",
        ("--interactive", "--max-length", "3", "--stop", "\n", "--seed", "1"),
    ),
    "score": ("generation", ()),
}

MARKS = [  # what tokenizers, terminals and line readers take for something else
    "<s>", "</s>", "<unk>", "<pad>", "<0x0A>", "\u2581", "\u2581\u2581x", "\\n", "%s {0} {lang}",
    "\u0085", "\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\r", "a\rb", "\t",
    "\0", "a\0b", "\x1b[31mred\x1b[0m", "\x7f", "\ufeff", "\ufeffa", "\ufffd", "\ufffe", "\uffff",
    "\U0010ffff", "\u202etfel ot thgir\u202c", "\u200b", "\u200d", "\u2060", "\u00ad", "\u3164",
    "\u3000", "\u00a0", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea",
    "e\u0301", "\u1e9b\u0323", "\ufb03", "\u0130stanbul", "\u01c5", "\u00df", "\u06dd\u0661\u0662",
    "\U000e0041", "\U000f0000",
]  # fmt: skip
BYTES = [  # what is no UTF-8
    b"\xff", b"\xfe\xff", b"\xc0\x80", b"\xc3", b"a\xe2\x82", b"\xed\xa0\x80", b"\xe2\x28\xa1",
    b"\xf8\x88\x80\x80\x80", b"\xf4\x90\x80\x80", b"\x80\x80\x80", b"latin \xe4\xf6\xfc",
    b"\0\xff\0",
]  # fmt: skip


def odd_line(chance: random.Random) -> bytes:
    """One line without its end."""
    kind = chance.randrange(10)
    if kind == 0:
        return b" " * chance.randint(0, 3)
    if kind == 1:  # any code point but a newline and halves of characters
        points = (chance.randrange(0x110000) for _ in range(chance.randint(1, 12)))
        return "".join(chr(p) for p in points if p != 10 and not 0xD800 <= p < 0xE000).encode()
    if kind == 2:
        return "".join(chr(chance.randrange(256)) for _ in range(9)).replace("\n", "").encode()
    if kind == 3:
        return chance.choice(BYTES) + chance.choice((b"", b" and text", chance.choice(BYTES)))
    if kind == 4:
        return bytes(chance.choice((b"a", b" ", b"\0", b"\t", b"\r"))) * chance.randint(1, 60)
    if kind == 5:
        return ("a" + "\u0301\u0323" * chance.randint(1, 40)).encode()
    if kind < 8:
        return " ".join(chance.choices(MARKS, k=chance.randint(1, 4))).encode()
    return " ".join(chance.choices("abcdefgh", k=chance.randint(0, 8))).encode()


def odd_lines(count: int, seed: int) -> list[bytes]:
    """``count`` lines, of which the second half holds those of the first in another order; in each
    half a few are very long."""
    chance = random.Random(seed)
    half = [odd_line(chance) for _ in range(count // 2)]
    for n, size in enumerate((1_000, 5_000, 20_000, 20_000)):
        text = ("ab " * size, "x" * size, "\u0301" * size, "\U0001f600" * (size // 4))[n]
        half[chance.randrange(len(half))] = text.encode()[: 4 * size]
    return half + chance.sample(half, len(half))


def run(work: Path, scale: float, seed: int, tell: Callable[[str], None]) -> dict[str, Any]:
    lines = odd_lines(max(200, round(LINES * scale)), seed)
    given = work / "lines"
    given.write_bytes(b"".join(line + b"\n" for line in lines))
    figures, failures = {}, []
    for command, (task, options) in COMMANDS.items():
        model = _model(task, work)
        figures[command] = found = _through(command, [str(model), *options], given, work)
        if found["status"] or found["lines_out"] != len(lines):
            failures.append(f"{command}: {len(lines)} lines in, {found}")
        if found["second_half_mb"] > GROWTH * found["first_half_mb"] + _SLACK_MB:
            failures.append(f"{command}: memory grows: {found}")
        tell(f"{command}: {found}")
    return {"figures": figures, "failures": failures}


def _model(task: str, work: Path) -> Path:
    folder = work / task
    if not folder.exists():
        (folder / "data").mkdir(parents=True)
        values = configuration(TINY[task].make(folder / "data"), folder / "run", folder / "cache")
        err = folder / "err.txt"
        if running.start(["train", write(values, folder / "run.yaml")], err).wait():
            raise RuntimeError(f"{task}: no model to try: {err.read_text()}")
    return folder / "run" / "model"


def _through(command: str, options: list[str], given: Path, work: Path) -> dict[str, Any]:
    """Feed the lines to a command; its memory is looked at ten times a second."""
    out, err = work / f"{command}.out", work / f"{command}.err"
    arguments = [sys.executable, "-m", "seq2seq", command, *options, "--threads", "1"]
    total = given.read_bytes().count(b"\n")
    started = time.monotonic()
    with open(given, "rb") as source, open(out, "wb") as sink, open(err, "wb") as complaints:
        process = subprocess.Popen(
            arguments,
            stdin=source,
            stdout=sink,
            stderr=complaints,
            cwd=running.ROOT,
            env={**os.environ, **running.ENVIRONMENT},
        )
        with open(out, "rb") as written:
            count, peaks = 0, [0.0, 0.0]
            while process.poll() is None and time.monotonic() - started < _PATIENCE:
                count += written.read().count(b"\n")
                half = 1 if 2 * count > total else 0
                peaks[half] = max(peaks[half], _resident_mb(process.pid))
                time.sleep(0.1)
            process.kill()
            process.wait()
            count += written.read().count(b"\n")
    if b"Traceback" in err.read_bytes():
        count = -1
    return {
        "status": process.returncode,
        "lines_out": count,
        "first_half_mb": round(peaks[0]),
        "second_half_mb": round(peaks[1]),
        "seconds": round(time.monotonic() - started),
    }


def _resident_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):  # it ended just now
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
