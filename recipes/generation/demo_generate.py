"""The demo: train on the source of Python's own standard library, then write some Python.

    seq2seq demo generation    at most three minutes on two CPU cores

Everything is written under ``--output`` (runs/demo-generate).
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import library

from seq2seq import TextGenerator, load_config
from seq2seq.command_line import demo_script
from seq2seq.training.loop import train

RECIPE = Path(__file__).parent
CHARACTERS = 3_200_000
PROMPT = "    def __init__(self"


def main() -> None:
    demo_script.main(
        "generation", "Train and show a small model of Python's source.", "runs/demo-generate", run
    )


def run(output: Path) -> None:
    started = time.monotonic()
    text = library.source(CHARACTERS)
    path = output.with_name(output.name + "-text") / "library.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"text: {len(text):,} characters of Python's standard library, in {path}")
    if (output / "config.json").exists():
        shutil.rmtree(output)  # an earlier demo
    paths = {"output": output, "data.train": path}
    config = load_config(RECIPE / "demo.yaml", {key: str(value) for key, value in paths.items()})
    trained = time.monotonic()
    model = train(config)
    trained = time.monotonic() - trained

    generator = TextGenerator.from_pretrained(model, device=config.training.device)
    clock = time.monotonic()
    sample = generator.generate(PROMPT, seed=1)
    clock = time.monotonic() - clock
    print(f"\n{PROMPT}{sample}\n")
    bits = validation_bits(output)
    print(f"validation: {bits:.3f} bits a character")
    print(f"  trained in {trained:.0f} s, {len(sample) / clock:.0f} characters/s written, ", end="")
    print(f"{time.monotonic() - started:.0f} s in all")
    print(f'\nmodel     {model}\nmore      seq2seq generate {model} --prompt "class "')


def validation_bits(output: Path) -> float:
    """Bits a character of the best checkpoint, which becomes the model."""
    lines = (output / "log.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    return min(one["bits_per_character"] for one in records if "bits_per_character" in one)


if __name__ == "__main__":
    main()
