"""Speed of captioning on CPU: images a second, and where the time goes.

    python benchmarks/captioning.py caption     beam 5, batch 64, 128 pixels, parts apart
    python benchmarks/captioning.py train       a training step, with and without its parts

The model is that of recipes/captioning/flickr8k.yaml with random weights: the arithmetic is that of
trained ones. Captions are made 11 units long, the mean of Flickr8k. Contenders take turns in one
process; a figure is the best of several rounds, per second of CPU time (on a shared machine wall
time measures the neighbours).
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from seq2seq import Captioner
from seq2seq.config import load_config
from seq2seq.images.files import read_image, to_float
from seq2seq.tasks.captioning.batches import pad_captions
from seq2seq.tasks.captioning.config import CaptioningConfig
from seq2seq.tasks.captioning.model import CaptioningModel
from seq2seq.tasks.captioning.objectives import CaptionLoss
from seq2seq.text.vocabulary import Words

RECIPE = Path(__file__).parents[1] / "recipes" / "captioning" / "flickr8k.yaml"
VOCABULARY = 2541
LENGTH = 11
IMAGES = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("caption", "train"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    run = {"caption": caption, "train": train}
    results = run[options.what](options.rounds)
    for name, value in results.items():
        print(f"{name:56} {value:10,.1f}")
    if options.output:
        record = {
            "processor": processor(),
            "torch": torch.__version__,
            "threads": options.threads,
            "unit": "images per second of CPU time",
            options.what: results,
        }
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def captioner(beam: int = 5) -> Captioner:
    torch.manual_seed(0)
    config: CaptioningConfig = load_config(RECIPE)
    search = {"beam_size": beam, "batch_size": IMAGES, "max_length": LENGTH, "min_length": LENGTH}
    config.decoding = dataclasses.replace(config.decoding, **search)
    units = Words(["<eos>", *(f"word{n}" for n in range(VOCABULARY - 3))])
    return Captioner(CaptioningModel(config.model, len(units)).eval(), units, config)


def photographs() -> list[bytes]:
    """JPEG files of 500 x 375 pixels: smooth colours with some noise, as photographs are."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(IMAGES):
        rough = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(rough).resize((500, 375), Image.Resampling.BICUBIC))
        noisy = np.clip(smooth + random.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(noisy).save(stream, "JPEG", quality=90)
        found.append(stream.getvalue())
    return found


def caption(rounds: int) -> dict[str, float]:
    files, five, greedy = photographs(), captioner(), captioner(1)

    def opened() -> list[Image.Image]:
        return [Image.open(io.BytesIO(data)) for data in files]

    pixels = torch.stack([read_image(image, 128) for image in opened()])
    with torch.inference_mode():
        images = to_float(pixels)
        encoded = five.model.encode(images)
    half = torch.autocast("cpu", dtype=torch.bfloat16)

    def encode(precision: str) -> None:
        with torch.inference_mode(), torch.autocast("cpu", enabled=precision == "bf16"):
            five.model.encode(images)

    def search(one: Captioner, precision: str) -> None:
        with torch.inference_mode():
            if precision == "bf16":
                with half:
                    one.caption_encoded(encoded, one.config.decoding)
            else:
                one.caption_encoded(encoded, one.config.decoding)

    contenders: dict[str, Callable[[], object]] = {}
    for name in ("fp32", "bf16"):
        contenders |= {
            f"caption(), JPEG to text, beam 5, batch 64, {name}": lambda p=name: five.caption(
                opened(), precision=p
            ),
            f"  of that: encoder, {name}": lambda p=name: encode(p),
            f"  of that: search, beam 5, {name}": lambda p=name: search(five, p),
            f"search, greedy, {name}": lambda p=name: search(greedy, p),
        }
    contenders["  of that: JPEG 500 x 375 to 128 x 128"] = lambda: [
        read_image(image, 128) for image in opened()
    ]
    return measure(contenders, IMAGES, rounds)


def train(rounds: int) -> dict[str, float]:
    batch, captions = 32, 2
    model = captioner().model.train()
    random = np.random.default_rng(0)
    ids = [random.integers(3, VOCABULARY, LENGTH) for _ in range(batch * captions)]
    inputs, targets = pad_captions(ids)
    images = torch.randn(batch, 3, 112, 112)
    rows = torch.arange(batch).repeat_interleave(captions)
    words = torch.rand(batch, 800)
    objective = CaptionLoss(model, label_smoothing=0.1, word_loss=0.3)
    penalised = CaptionLoss(model, label_smoothing=0.1, word_loss=0.3, attention_penalty=1.0)
    sampled = CaptionLoss(model, 0.1, 0.0, 0.3, scheduled_sampling=0.25)

    def step(one: CaptionLoss, source=images, index=rows, alone: bool = False) -> None:
        model.zero_grad()
        shares = words if len(source) == batch else words.repeat_interleave(captions, 0)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss, _, _ = one(source, None, index, inputs, targets, shares, 0.5, alone)
        loss.backward()

    every = images.repeat_interleave(captions, 0)
    contenders = {
        "training step, 32 images with 2 captions, bf16": lambda: step(objective),
        "the same, each image encoded once for each caption": lambda: step(
            objective, every, torch.arange(len(every))
        ),
        "the same, word loss alone (encoder)": lambda: step(objective, alone=True),
        "the same, doubly stochastic penalty": lambda: step(penalised),
        "the same, scheduled sampling in two passes": lambda: step(sampled),
    }
    return measure(contenders, batch, rounds)


def measure(
    contenders: dict[str, Callable[[], object]], images: int, rounds: int
) -> dict[str, float]:
    """Images per second of CPU time, best of ``rounds``."""
    best = dict.fromkeys(contenders, float("inf"))
    for run in contenders.values():
        run()
    for _ in range(rounds):
        for name, run in contenders.items():
            started = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - started)
    return {name: images / seconds for name, seconds in best.items()}


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
