"""The demo: made-up reviews, of which it is known which words decide; a model learns to judge them.

    seq2seq demo classification    a minute or two on a CPU

Everything is written under ``--output`` (runs/demo-classify).
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import reviews

from seq2seq import Classifier, load_config
from seq2seq.command_line import demo_script
from seq2seq.plotting import can_draw
from seq2seq.training.loop import train

RECIPE = Path(__file__).parent
SIZES = {"train": 4000, "validation": 300, "test": 1000}
SHOWN = 6


def main() -> None:
    demo_script.main(
        "classification",
        "Train a small model that judges made-up reviews; show which words decided.",
        "runs/demo-classify",
        run,
    )


def run(output: Path) -> None:
    started = time.monotonic()
    made = reviews.reviews(sum(SIZES.values()), seed=1)
    data = output.with_name(output.name + "-data")
    data.mkdir(parents=True, exist_ok=True)
    sets, begin = {}, 0
    for name, size in SIZES.items():
        sets[name], begin = made[begin : begin + size], begin + size
        lines = (f"{one.label}\t{' '.join(one.words)}\n" for one in sets[name])
        (data / f"{name}.tsv").write_text("".join(lines), encoding="utf-8")
    print(f"data: {len(made):,} different reviews, in {data}")
    if (output / "config.json").exists():
        shutil.rmtree(output)  # an earlier demo
    paths = {"output": output, "data.train": data / "train.tsv"}
    paths["data.validation"] = data / "validation.tsv"
    config = load_config(RECIPE / "demo.yaml", {key: str(value) for key, value in paths.items()})
    model = train(config)
    show(model, sets["train"], sets["test"], output)
    print(f"  {time.monotonic() - started:.0f} s in all")
    print(f"\nmodel     {model}")
    print(f'more      echo "the soup was not bad" | seq2seq classify {model} --explain')


def show(
    model: Path, train: list[reviews.Review], test: list[reviews.Review], output: Path
) -> None:
    """What was learnt, on reviews that training has not seen."""
    classifier = Classifier.from_pretrained(model, device="cpu")
    texts = [" ".join(one.words) for one in test]
    answers = classifier.classify(texts, explain=True)
    right = sum(a.label == one.label for a, one in zip(answers, test, strict=True))
    print()
    for answer, one in zip(answers[:SHOWN], test[:SHOWN], strict=True):
        shares = [share for _, share in answer.explanation]
        marked = [
            f"[{word}]" if share >= max(shares) / 2 else word
            for word, share in zip(one.words, shares, strict=True)
        ]
        print(f"{answer.label:9} {answer.probability:.2f}  {' '.join(marked)}")
    print("  [marked]: the words that got most of the attention")
    print(f"\nright: {100 * right / len(test):.1f}% of {len(test):,} new reviews")
    print(f"  counting words alone (naive Bayes): {100 * counted(train, test):.1f}%")
    share = 100 * on_decisive(answers, test)
    print(f"  attention on the words that decide: {share:.0f}%, ", end="")
    print(f"if it were spread evenly: {100 * evenly(test):.0f}%")
    if can_draw():
        from seq2seq.tasks.classification.plots import draw_attention

        print(f"  picture: {draw_attention(answers[:12], output / 'attention.png')}")


def on_decisive(answers: list, test: list[reviews.Review]) -> float:
    """The mean share of the attention on the judgement that counts."""
    total = 0.0
    for answer, one in zip(answers, test, strict=True):
        total += sum(answer.explanation[place][1] for place in one.decisive)
    return total / len(test)


def evenly(test: list[reviews.Review]) -> float:
    return sum(len(one.decisive) / len(one.words) for one in test) / len(test)


def counted(train: list[reviews.Review], test: list[reviews.Review]) -> float:
    """The share that multinomial naive Bayes, which ignores order, gets right."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB

    count = CountVectorizer(token_pattern=r"\S+")
    seen = count.fit_transform([" ".join(one.words) for one in train])
    bayes = MultinomialNB().fit(seen, [one.label for one in train])
    found = bayes.predict(count.transform([" ".join(one.words) for one in test]))
    return sum(a == one.label for a, one in zip(found, test, strict=True)) / len(test)


if __name__ == "__main__":
    main()
