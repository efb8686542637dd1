"""The demo: learn to find persons, places, companies and dates in messages that code makes.

    seq2seq demo tagging       a minute on two CPU cores

Everything is written under ``--output`` (runs/demo-tag).
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import messages

from seq2seq import Tagged, Tagger, load_config
from seq2seq.command_line import demo_script
from seq2seq.errors import UsageError
from seq2seq.tasks.tagging.scores import LabelScores, score_labels, score_sentences
from seq2seq.training.loop import train

RECIPE = Path(__file__).parent
SIZES = {"train": 2400, "validation": 200, "test": 500}  # messages
SHOWN = 5


def main() -> None:
    demo_script.main(
        "tagging", "Train and show a small model that finds names.", "runs/demo-tag", run
    )


def run(output: Path) -> None:
    started = time.monotonic()
    folder = output.with_name(output.name + "-text")
    made = {
        split: list(messages.messages(count, seed))
        for seed, (split, count) in enumerate(SIZES.items(), start=1)
    }
    folder.mkdir(parents=True, exist_ok=True)
    for split, some in made.items():
        (folder / f"{split}.txt").write_text(messages.columns(some), encoding="utf-8")
    print(f"text: {', '.join(f'{n:,} {split}' for split, n in SIZES.items())} messages in {folder}")
    if (output / "config.json").exists():
        shutil.rmtree(output)  # an earlier demo
    paths = {"output": output}
    paths |= {f"data.{split}": folder / f"{split}.txt" for split in ("train", "validation")}
    config = load_config(RECIPE / "demo.yaml", {key: str(value) for key, value in paths.items()})
    trained = time.monotonic()
    model = train(config)
    trained = time.monotonic() - trained

    tagger = Tagger.from_pretrained(model, device=config.training.device)
    test = made["test"]
    clock = time.monotonic()
    found = tagger.tag([[word for word, _ in rows] for _, rows in test])
    clock = time.monotonic() - clock
    gold = [[label for _, label in rows] for _, rows in test]
    scores = score_labels(gold, [one.labels["entity"] for one in found])
    kinds = score_sentences([kind for kind, _ in test], [str(one.sentence_label) for one in found])
    print()
    for one in found[:SHOWN]:
        print(f"  {one.sentence_label:9} {marked(one)}")
    picture = _picture(found[:SHOWN], output)
    print(f"\n{len(test)} new messages without any name of the training text:")
    print(f"  entities  {scores}\n{_indented(scores.table())}")
    print(f"  kind of message: {kinds:.1f}% right")
    print(f"  a list of the names of the training text: F1 {looked_up(made).main:.2f}")
    words = sum(len(rows) for _, rows in test)
    print(f"  trained in {trained:.0f} s, {words / clock:,.0f} words/s labelled, ", end="")
    print(f"{time.monotonic() - started:.0f} s in all")
    print(f"\nmodel     {model}\npicture   {picture}")
    print(f'more      echo "who runs Stark Brothers ?" | seq2seq tag {model}')


def looked_up(made: dict[str, list[messages.Message]]) -> LabelScores:
    """What remembering words would score: each with the label it had last in training."""
    known = {word: label for _, rows in made["train"] for word, label in rows}
    gold = [[label for _, label in rows] for _, rows in made["test"]]
    found = [[known.get(word, "O") for word, _ in rows] for _, rows in made["test"]]
    return score_labels(gold, found)


def marked(tagged: Tagged) -> str:
    """The text with its spans in brackets."""
    text, at = "", 0
    for span in tagged.spans["entity"]:
        text += tagged.text[at : span.start] + f"[{span.text}]{span.type}"
        at = span.end
    return text + tagged.text[at:]


def _indented(table: str) -> str:
    return "\n".join(f"    {line}" for line in table.splitlines())


def _picture(sentences: list[Tagged], output: Path) -> str:
    from seq2seq.tasks.tagging.plots import plot_spans

    try:
        return str(plot_spans(sentences, output / "entities.png"))
    except UsageError as error:  # matplotlib is an extra
        return f"none ({error})"


if __name__ == "__main__":
    main()
