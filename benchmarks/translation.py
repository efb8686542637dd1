"""Speed and memory of training and decoding a translation model on CPU.

    python benchmarks/translation.py train  --source train.en --target train.de
    python benchmarks/translation.py decode --model MODEL --test test.en
    python benchmarks/translation.py both   --model MODEL --source ... --target ... --test test.en
    python benchmarks/translation.py same   --model MODEL --test test.en

"same" counts the sentences whose text differs between batch size 1 and 64 (none should).

The training model has the size that public toolkits were measured at: bidirectional LSTM encoder
2 x 256 a direction, LSTM decoder 512, additive attention, input feeding, embeddings 256, 8,000
joint subwords, dropout 0.3, label smoothing 0.1, Adam. Each measurement runs in a process of its
own, with one thread unless told otherwise. Speeds are given per second of wall time and of CPU
time: on a shared machine the second is the one to compare.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WARM_UP = 4  # updates, or batches, before the clock starts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("train", "decode", "both", "same", "one"))
    parser.add_argument("--source", type=Path, help="training text, source side")
    parser.add_argument("--target", type=Path, help="training text, target side")
    parser.add_argument("--test", type=Path, help="text to translate")
    parser.add_argument("--reference", type=Path, help="its translation: BLEU, too")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--repeats", type=int, default=1, help="of decoding, alternating")
    parser.add_argument("--model", help="a trained model's directory")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--updates", type=int, default=30, help="at least 1")
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    parser.add_argument("--settings", help=argparse.SUPPRESS)  # of "one": JSON
    options = parser.parse_args()
    if options.what == "one":
        print(json.dumps(run_one(json.loads(options.settings))))
        return
    results = []
    for settings in plan(options):
        command = [sys.executable, __file__, "one", "--settings", json.dumps(settings)]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        if found.returncode:
            sys.exit(found.stderr)
        results.append(json.loads(found.stdout.splitlines()[-1]))
        print(line(results[-1]), flush=True)
    if options.output:
        record = {"machine": machine(), "threads": options.threads, "results": results}
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def plan(options: argparse.Namespace) -> list[dict]:
    """The settings of each process."""
    common = {"threads": options.threads}
    runs = []
    if options.what in ("train", "both"):
        if not (options.source and options.target):
            sys.exit("benchmark: --source and --target name the training text; both are needed")
        text = {"source": str(options.source), "target": str(options.target)}
        for precision in ("fp32", "bf16"):
            runs.append(
                {**common, **text, "job": "train", "precision": precision,
                 "updates": options.updates, "batch_tokens": options.batch_tokens}
            )  # fmt: skip
    if options.what in ("decode", "both", "same"):
        test = options.test
        if not (options.model and test):
            sys.exit("benchmark: --model and --test (text to translate) are needed")
        text = {"model": options.model, "test": str(test)}
        if options.what == "same":
            job = {"job": "same", "beam": 5}
            return [{**common, **text, **job, "precision": one} for one in ("fp32", "int8")]
        if options.reference:
            text["reference"] = str(options.reference)
        # Alternating, so that what else the machine does falls on all alike.
        for precision in options.precisions * options.repeats:
            for beam in (5, 1):
                job = {"job": "decode", "precision": precision, "beam": beam}
                runs.append({**common, **text, **job})
    return runs


def run_one(settings: dict) -> dict:
    import torch

    torch.set_num_threads(settings["threads"])
    result = {"train": train, "decode": decode, "same": same}[settings["job"]](settings)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**settings, **result, "peak_rss_mib": round(peak)}


def train(settings: dict) -> dict:
    """Optimizer updates of the model above, on real batches; target tokens a second."""
    import torch

    from seq2seq.config import config_from_dict
    from seq2seq.tasks.translation.batches import TrainingBatches
    from seq2seq.tasks.translation.corpus import build_tokenizers, tokenize_pairs
    from seq2seq.tasks.translation.model import TranslationModel
    from seq2seq.tasks.translation.objectives import CrossEntropy
    from seq2seq.tasks.translation.pairs import load_pairs

    with tempfile.TemporaryDirectory() as folder:
        # a link for each side: the recipe's way to name parallel files
        for side in ("source", "target"):
            path = Path(settings[side]).resolve()
            (Path(folder) / f"text.{side}{'.gz' * (path.suffix == '.gz')}").symlink_to(path)
        suffix = ".gz" if settings["source"].endswith(".gz") else ""
        config = config_from_dict(
            {
                "data": {
                    "train": f"{folder}/text.{{lang}}{suffix}", "source": "source",
                    "target": "target", "batch_tokens": settings["batch_tokens"],
                    "cache_dir": folder,
                },
            }
        )  # fmt: skip
        pairs = load_pairs(config.data, "train")
        tokenizers = build_tokenizers(config, pairs)
        corpus = tokenize_pairs(pairs, *tokenizers, config.data.filter)
        batches = TrainingBatches(corpus, *tokenizers, config.data, 0.0, seed=1).epoch(0)
        torch.manual_seed(1)
        model = TranslationModel(config.model, *(len(t) for t in tokenizers))
        objective = CrossEntropy(model, config.training.label_smoothing)
        optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
        tokens, wall, cpu, losses = 0, 0.0, 0.0, []
        for number in range(WARM_UP + settings["updates"]):
            started = time.perf_counter(), time.process_time()
            batch = next(batches, None)
            if batch is None:
                sys.exit("benchmark: the text has too few batches; lower --updates")
            with torch.autocast("cpu", torch.bfloat16, enabled=settings["precision"] == "bf16"):
                loss = objective(
                    batch.source, batch.source_lengths, batch.target_input, batch.target_output
                )
            (loss / batch.target_count).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item() / batch.target_count)
            if number >= WARM_UP:
                wall += time.perf_counter() - started[0]
                cpu += time.process_time() - started[1]
                tokens += batch.target_count
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "target_tokens": tokens,
        "target_tokens_per_second": round(tokens / wall),
        "target_tokens_per_cpu_second": round(tokens / cpu),
        "first_loss": losses[0],
        "last_loss": losses[-1],
    }


def decode(settings: dict) -> dict:
    """All of the text, batch 64; sentences a second."""
    from seq2seq import Translator
    from seq2seq.text.files import read_lines

    texts = read_lines(settings["test"])
    translator = Translator.from_pretrained(settings["model"], device="cpu")
    if settings["precision"] == "int8":
        translator = translator.in_int8()
    options = {"beam_size": settings["beam"], "batch_size": 64, "precision": settings["precision"]}
    translator.translate(texts[:64], **options)
    started = time.perf_counter(), time.process_time()
    found = translator.translate(texts, **options)
    wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    scores = {}
    if "reference" in settings:
        from seq2seq import score

        reference = read_lines(settings["reference"])
        bleu = score(found, [reference], metrics=["bleu"], bootstrap=0)["bleu"]
        scores = {"bleu": round(bleu.value, 2)}
    return {
        **scores,
        "sentences": len(texts),
        "sentences_per_second": round(len(texts) / wall, 1),
        "sentences_per_cpu_second": round(len(texts) / cpu, 1),
        "mean_words": round(sum(len(text.split()) for text in found) / max(1, len(found)), 2),
    }


def same(settings: dict) -> dict:
    """Texts at batch size 1 and 64."""
    from seq2seq import Translator
    from seq2seq.text.files import read_lines

    texts = read_lines(settings["test"])
    translator = Translator.from_pretrained(settings["model"], device="cpu")
    alone, together = (
        translator.translate(
            texts, beam_size=settings["beam"], batch_size=size, precision=settings["precision"]
        )
        for size in (1, 64)
    )
    different = [i for i, (a, b) in enumerate(zip(alone, together, strict=True)) if a != b]
    return {"sentences": len(texts), "different": len(different), "lines": different[:20]}


def line(result: dict) -> str:
    if result["job"] == "same":
        return (
            f"same text at batch size 1 and 64, {result['precision']}: {result['different']} of "
            f"{result['sentences']} differ"
        )
    if result["job"] == "train":
        return (
            f"train  {result['precision']}  "
            f"{result['target_tokens_per_second']:6d} target tokens/s "
            f"({result['target_tokens_per_cpu_second']} of CPU time)  "
            f"peak {result['peak_rss_mib']} MiB"
        )
    return (
        f"decode {result['precision']}  beam {result['beam']}  "
        f"{result['sentences_per_second']:6.1f} sentences/s "
        f"({result['sentences_per_cpu_second']} of CPU time)  peak {result['peak_rss_mib']} MiB"
        + (f"  BLEU {result['bleu']}" if "bleu" in result else "")
    )


def machine() -> dict:
    import torch

    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if sys.platform == "linux" else ""
    names = [line.split(":")[1].strip() for line in text.splitlines() if "model name" in line]
    return {
        "cpu": names[0] if names else platform.processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    main()
