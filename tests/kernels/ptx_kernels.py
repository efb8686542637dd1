"""Compiles the kernels that ``test_ptx.py`` reads; prints their code as JSON. A program of its own:
where Triton interprets kernels, it does not compile any."""

import json

from kernels.common.chip import CHIPS
from kernels.compile import decoder, decoder_step, recurrence
from kernels.compile.kernel import compiled
from kernels.decoder.triton_backend import tiles
from kernels.recurrence import schedule

ARCH = 90


def of_recurrence(kind, size, backward):
    """The cheapest persistent one, with ragged rows, masks and resets."""
    problem = schedule.Problem(kind, 16, size, 1, 2, backward, 4, False)
    waiting = [s for s in schedule.candidates(problem, CHIPS[ARCH]) if s.name == "persistent"]
    one = min(waiting, key=lambda s: schedule.price(s, problem, CHIPS[ARCH]))
    return recurrence.kernel(recurrence.Configuration(problem, one, "bf16", True), ARCH)


def of_decoder(kind, size, backward, options=False, gates=0, sentinel=False, batch=16):
    """``options``: two layers, normalised, with residual, masks, context gates and a sentinel;
    ``gates``, ``sentinel``: those alone."""
    problem = tiles.Problem(
        kind, batch, size, size, size, size, 20, 2 if options else 1, True, 2, backward, 4,
        size if options else gates, options or sentinel,
    )  # fmt: skip
    (one,) = decoder._kernels(problem, tiles.pick(problem, CHIPS[ARCH]), "bf16", options, ARCH)
    return one


def of_step(kind, shape, options=False):
    (one,) = decoder_step._kernels(kind, shape, "bf16", "persistent", options, ARCH)
    return one


KERNELS = {
    "recurrence forward": lambda: of_recurrence("lstm", 500, False),
    "recurrence backward": lambda: of_recurrence("gru", 130, True),
    "decoder forward": lambda: of_decoder("lstm", 500, False),
    "decoder forward, aligned": lambda: of_decoder("lstm", 512, False),
    "decoder forward, options": lambda: of_decoder("gru", 130, False, True),
    "decoder backward": lambda: of_decoder("lstm", 500, True),
    "decoder backward, options": lambda: of_decoder("gru", 130, True, True),
    "decoder backward, few gates": lambda: of_decoder("lstm", 64, True, gates=64),
    "step": lambda: of_step("lstm", (4, 5, 50, 500)),
    "step, options": lambda: of_step("gru", (3, 5, 50, 130), True),
    "step of one row": lambda: of_step("lstm", (1, 1, 50, 256)),
}


if __name__ == "__main__":
    found = {}
    for name, make in KERNELS.items():
        kernel = make()
        code = compiled(kernel, ARCH).asm
        names = [n for n in kernel.function.arg_names if n not in kernel.constants]
        found[name] = {"ptx": code["ptx"], "ttgir": code["ttgir"], "names": names}
    print(json.dumps(found))
