"""The demo: draw images of shapes, learn to say what they show, test on combinations never seen.

    seq2seq demo captioning    at most four minutes on two CPU cores

Everything is written under ``--output`` (runs/demo-caption).
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import shapes
from meaning import exact_meaning, parse
from scenes import Scene

from seq2seq import Captioner, load_config
from seq2seq.command_line import demo_script
from seq2seq.plotting import can_draw
from seq2seq.tasks.captioning.config import CaptioningConfig
from seq2seq.tasks.captioning.plots import attention_overlay, contact_sheet
from seq2seq.training.learning_curve import plot_learning_curve
from seq2seq.training.loop import train

RECIPE = Path(__file__).parent
SHOWN = 8  # captions printed
SHEET = 30  # images of the contact sheet


def main() -> None:
    demo_script.main(
        "captioning", "Train and show a small captioning model.", "runs/demo-caption", run
    )


def run(output: Path) -> None:
    started = time.monotonic()
    data, folder = output / "data", output / "run"
    for earlier in (data, folder):
        shutil.rmtree(earlier, ignore_errors=True)
    scenes = shapes.write(data)
    print(
        f"images: {len(scenes['train']):,} to train on, {len(scenes['test']):,} to test, in {data}"
    )
    trained = time.monotonic()
    model = train(configuration(output))  # and captions the test images
    trained = time.monotonic() - trained

    paths = [data / "test" / f"{i:05d}.png" for i in range(len(scenes["test"]))]
    captions = read_captions(folder / "test.captions.jsonl")
    scores = json.loads((folder / "test.scores.json").read_text(encoding="utf-8"))
    meaning = 100 * exact_meaning(captions, scenes["test"])
    show_examples(captions, scenes["test"])
    print("\ntest images, all of combinations that training never showed:")
    print(f"  BLEU-4 = {scores['bleu'][3]:.2f}  CIDEr-D = {scores['cider_d']:.3f}  ", end="")
    print(f"[{scores['signature']}]")
    print(f"  exact meaning: {meaning:.1f}%")
    print(f"  trained and tested in {trained:.0f} s, {time.monotonic() - started:.0f} s in all")

    marks = [mark(*pair) for pair in zip(captions, scenes["test"], strict=True)]
    told = [f"{sign} {text}" for sign, text in zip(marks, captions, strict=True)]
    print(f"\nmodel           {model}")
    if can_draw():
        sheet = contact_sheet(paths[:SHEET], told[:SHEET], folder / "sheet.png", 6)
        print(f"contact sheet   {sheet}")
        print(f"learning curve  {plot_learning_curve(folder, folder / 'learning_curve.png')}")
        print(f"attention       {draw_attention(model, paths, scenes['test'], folder)}")
    else:
        print("pictures        need matplotlib: pip install 'recurrent-seq2seq[plots]'")
    print(f"more            seq2seq caption {model} {paths[0]} --n-best 3 --beam-size 5")


def configuration(output: Path) -> CaptioningConfig:
    """The recipe's YAML, with its paths under ``output``."""
    paths = {"output": output / "run", "data.cache_dir": output / "cache"}
    for split in shapes.SPLITS:
        paths[f"data.{split}"] = output / "data" / split
    changed = {key: str(path) for key, path in paths.items()}
    return load_config(RECIPE / "demo.yaml", changed)


def read_captions(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["caption"] for line in lines]


def mark(caption: str, scene: Scene) -> str:
    return "✓" if parse(caption) == scene else "✗"


def show_examples(captions: list[str], scenes: list[Scene]) -> None:
    print()
    for i in range(0, len(captions), max(1, len(captions) // SHOWN)):
        print(f"{mark(captions[i], scenes[i])} {captions[i]}")


def draw_attention(model: Path, paths: list[Path], scenes: list[Scene], folder: Path) -> Path:
    """Draw where each word looked, for the first image with two groups of shapes."""
    chosen = next((i for i, scene in enumerate(scenes) if scene.second), 0)
    captioner = Captioner.from_pretrained(model)
    best = captioner.caption([paths[chosen]], attention=True)[0].captions[0]
    return attention_overlay(paths[chosen], best.tokens, best.attention, folder / "attention.png")


if __name__ == "__main__":
    main()
