"""The demo: make a corpus, train a model on it, translate sentences it has never seen.

    seq2seq demo translation                   with attention; under five minutes on two CPU cores
    seq2seq demo translation --no-attention    the same without, and what that costs

Everything is written under ``--output`` (runs/demo).
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path

import corpus
from grammar.lexicon import months

from seq2seq import Translator, load_config, score
from seq2seq.command_line import demo_script
from seq2seq.plotting import can_draw
from seq2seq.tasks.translation.config import TranslationConfig
from seq2seq.tasks.translation.plots import plot_attention
from seq2seq.training.learning_curve import plot_learning_curve
from seq2seq.training.loop import train

RECIPE = Path(__file__).parent
TRAIN, VALIDATION, TEST = 30_000, 500, 1_000
MONTHS = {month.en for month in months}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="seq2seq demo translation", description="Train and show a small translation model."
    )
    parser.add_argument("--no-attention", action="store_true", help="a decoder without attention")
    parser.add_argument("--output", type=Path, default=Path("runs/demo"), help="(runs/demo)")
    arguments = parser.parse_args()
    with demo_script.exit_statuses():
        run(arguments.output, attention=not arguments.no_attention)


def run(output: Path, attention: bool) -> None:
    started = time.monotonic()
    made = corpus.generate(TRAIN, VALIDATION, TEST, seed=1)
    corpus.write(made, output / "data")
    print(f"corpus: {TRAIN:,} training pairs, {TEST:,} test pairs, in {output / 'data'}")
    config = configuration(output, attention)
    folder = Path(config.output)
    if (folder / "config.json").exists():
        shutil.rmtree(folder)  # an earlier demo
    trained = time.monotonic()
    model = train(config)
    trained = time.monotonic() - trained

    translator = Translator.from_pretrained(model, device=config.training.device)
    sources = [pair.en for pair in made[corpus.TEST]]
    references = [pair.de for pair in made[corpus.TEST]]
    clock = time.monotonic()
    translations = translator.translate(sources)
    clock = time.monotonic() - clock
    figures = measure(sources, translations, references)
    save_results(folder, sources, translations, figures)

    show_examples(sources, translations, references)
    print(f"\nheld-out test set, beam {config.decoding.beam_size}, {len(sources):,} sentences:")
    for line in figures["scores"]:
        print(f"  {line}")
    print(f"  trained in {trained:.0f} s, translated in {clock:.0f} s, ", end="")
    print(f"{time.monotonic() - started:.0f} s in all")
    print(f"\nmodel           {model}")
    print(f"translations    {folder / 'test.hypotheses.de'}")
    if not can_draw():
        print("pictures        need matplotlib: pip install 'recurrent-seq2seq[plots]'")
    else:
        print(f"learning curve  {plot_learning_curve(folder, folder / 'learning_curve.png')}")
    if attention and can_draw():
        print(f"attention       {draw_attention(translator, sources, references, folder)}")
    compare(output)


def configuration(output: Path, attention: bool) -> TranslationConfig:
    """The recipe's YAML, with its paths under ``output``."""
    name = "demo.yaml" if attention else "demo_no_attention.yaml"
    paths = {"output": output / ("attention" if attention else "no_attention")}
    for split in (corpus.TRAIN, corpus.VALIDATION):
        paths[f"data.{split}"] = output / "data" / f"{split}.{{lang}}"
    return load_config(RECIPE / name, {key: str(path) for key, path in paths.items()})


def measure(sources: list[str], translations: list[str], references: list[str]) -> dict:
    """Scores, and how much of what takes attention is right (percent)."""
    scores = score(translations, references, metrics=("bleu", "chrf"))
    triples = list(zip(sources, translations, references, strict=True))
    long = [t for t in triples if len(t[0].split()) >= 14]
    return {
        "scores": [str(one) for one in scores.values()],
        "BLEU": scores["bleu"].value,
        "chrF": scores["chrf"].value,
        "sentences right": share([found == wanted for _, found, wanted in triples]),
        "sentences of 14 words and more right": share(
            [found == wanted for _, found, wanted in long]
        ),
        "names right": share([name in found for s, found, r in triples for name in names(s, r)]),
        "numbers right": share([n in found.split() for _, found, r in triples for n in numbers(r)]),
    }


def share(right: list[bool]) -> float:
    return 100 * sum(right) / max(1, len(right))


def names(source: str, reference: str) -> list[str]:
    """The names of a sentence: capitalised words that both sides share."""
    words = (word.strip(",.?").removesuffix("'s") for word in source.split())
    return [
        w for w in words if len(w) > 3 and w[0].isupper() and w in reference and w not in MONTHS
    ]


def numbers(reference: str) -> list[str]:
    return [word for word in reference.split() if any(letter.isdigit() for letter in word)]


def save_results(folder: Path, sources: list[str], found: list[str], figures: dict) -> None:
    (folder / "test.hypotheses.de").write_text("\n".join(found) + "\n", encoding="utf-8")
    (folder / "scores.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def show_examples(sources: list[str], found: list[str], references: list[str]) -> None:
    for i in range(0, len(sources), max(1, len(sources) // 10)):
        right = found[i] == references[i]
        print(f"\n  {sources[i]}\n{'✓' if right else '✗'} {found[i]}")
        if not right:
            print(f"  expected: {references[i]}")


def draw_attention(
    translator: Translator, sources: list[str], references: list[str], folder: Path
) -> Path:
    """Draw the attention of the first sentence with a subordinate clause, whose verb moves."""
    fitting = [i for i, text in enumerate(sources) if 10 <= len(text.split()) <= 14]
    moving = [i for i in fitting if ", dass " in references[i] or ", weil " in references[i]]
    chosen = sources[(moving or fitting or [0])[0]]
    best = translator.translate_nbest([chosen], n_best=1, attention=True)[0][0]
    return plot_attention(best.attention, best.source_tokens, best.tokens, folder / "attention.png")


def compare(output: Path) -> None:
    """Both decoders side by side, once both were trained."""
    results = {}
    for name in ("attention", "no_attention"):
        path = output / name / "scores.json"
        if not path.exists():
            option = "" if name == "attention" else " --no-attention"
            print(f"\nfor comparison: seq2seq demo translation{option}")
            return
        results[name] = json.loads(path.read_text(encoding="utf-8"))
    print(f"\n{'':38}{'attention':>10}{'without':>10}")
    for key, value in results["attention"].items():
        if key != "scores":
            print(f"{key:38}{value:10.1f}{results['no_attention'][key]:10.1f}")


if __name__ == "__main__":
    main()
