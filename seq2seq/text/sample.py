"""A sample of lines, where there are too many to learn subwords from."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from itertools import islice

from seq2seq.training.log import say


def sample(lines: Iterable[str], most: int) -> list[str]:
    """At most so many of the lines, in their order, each as likely as any other (reservoir sampling
    by skips: Li 1994, algorithm L); the same lines give the same sample. All of them where they are
    no more."""
    every = iter(lines)
    kept = [(number, line) for number, line in enumerate(islice(every, most))]
    if len(kept) < most:
        return [line for _, line in kept]
    generator = random.Random(0)
    weight, at = 1.0, most - 1
    while True:
        weight *= math.exp(math.log(1.0 - generator.random()) / most)
        skipped = math.floor(math.log(1.0 - generator.random()) / math.log1p(-weight))
        line = next(islice(every, skipped, None), None)
        if line is None:
            break
        at += skipped + 1
        kept[generator.randrange(most)] = (at, line)
    if at >= most:
        say(f"subwords are learned from a sample of {most:,} lines")
    return [line for _, line in sorted(kept)]
