"""Training and decoding beside other toolkits, in one run: same data, model size, threads.

    python benchmarks/peers.py --data ../shared/data/multi30k --work /tmp/peers \
        --opennmt PYTHON --joeynmt PYTHON --output benchmarks/peers.json

PYTHON is an interpreter that imports OpenNMT-py 3.5.1 or JoeyNMT 2.3.0; this script installs
nothing. A peer that is not named is left out.

All train on the same subwords (8,000, joint) with batches of 64 sentences: bidirectional LSTM of
1 x 256 a direction, LSTM decoder 512, additive attention, input feeding, embeddings 256, dropout
0.3, label smoothing 0.1, Adam at 1e-3. Each figure is CPU time, of the process and all that it
started, of a long run less that of a short one, so that imports and reading do not count. The
contenders take turns; the median over the rounds is reported.

Decoding uses one model of each toolkit, which the training left, so train long enough
(``--steps``) that they end their sentences; speeds are in target subwords a second, which do not
depend on how long the translations are. ``--decode-only`` times no training: a model that is not in
the work folder is trained first. Memory is the largest resident size of the process.

``--preload LIBRARY`` also times each peer with LD_PRELOAD, e.g. a library that makes MKL take its
AVX-512 path on AMD.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

BATCH = 64  # sentences
SPECIALS = ("<unk>", "<pad>", "<s>", "</s>")


class Run(NamedTuple):
    """What a command took."""

    cpu: float  # seconds, of the process and all that it started
    memory: int  # MiB
    wall: float


class Contender(NamedTuple):
    """A toolkit in one precision: commands for the work folder."""

    name: str
    toolkit: str  # decodes one model in every precision
    # (folder of the run, steps) -> command that trains from the beginning
    train: Callable[[Path, int], list[str]]
    # (folder of a run, text, output, beam) -> command that translates
    translate: Callable[[Path, Path, Path, int], list[str]]
    environment: dict[str, str]
    pieces: bool  # whether it reads and writes subwords instead of text
    trains: bool = True


def main() -> None:
    options = _options()
    work = options.work.resolve()
    prepare(options.data, work, options.test)
    contenders = [ours(work, precision) for precision in options.precisions]
    # the peers' checkpoints hold more than tensors; they were written by this run
    trusted = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    environments = [("", trusted)]
    if options.preload:
        preload = {"LD_PRELOAD": str(options.preload)}
        environments.append((f" with {options.preload.name}", {**trusted, **preload}))
    for label, environment in environments:
        for make, python in ((opennmt, options.opennmt), (joeynmt, options.joeynmt)):
            if python:
                contenders.append(make(work, python, label, environment))
    record: dict[str, Any] = {"machine": machine(), "threads": options.threads}
    if not options.decode_only:
        record["training"] = time_training(contenders, work, options)
        report(record["training"], "target subwords a second of CPU time, training")
    if not options.train_only:
        for beam in options.beams:
            found = time_decoding(contenders, work, beam, options)
            record[f"decoding, beam {beam}"] = found
            report(found, f"target subwords a second of CPU time, decoding, beam {beam}")
    if options.output:
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of Multi30k, gzipped")
    parser.add_argument("--work", type=Path, required=True, help="a folder for runs; kept")
    parser.add_argument("--opennmt", help="an interpreter with OpenNMT-py")
    parser.add_argument("--joeynmt", help="an interpreter with JoeyNMT")
    parser.add_argument("--preload", type=Path, help="a library to preload for the peers, too")
    parser.add_argument(
        "--precisions", nargs="+", default=["fp32", "bf16"], help="ours; int8 decodes only"
    )
    parser.add_argument("--beams", nargs="+", type=int, default=[5, 1])
    parser.add_argument("--steps", type=int, default=1500, help="of a long run")
    parser.add_argument("--short", type=int, default=100, help="steps of the run that is taken off")
    parser.add_argument("--test", type=int, default=1000, help="sentences to translate")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--train-only", action="store_true")
    parser.add_argument("--decode-only", action="store_true")
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


# ---------------------------------------------------------------- data


def prepare(data: Path, work: Path, test: int, size: int = 8000) -> None:
    """Text, subwords of it, and vocabularies in the forms that each toolkit reads."""
    import sentencepiece

    work.mkdir(parents=True, exist_ok=True)
    for split, name in (("train", "train"), ("val", "val"), ("test", "test_2016_flickr")):
        for language in ("en", "de"):
            lines = gzip.decompress((data / f"{name}.{language}.gz").read_bytes()).decode()
            kept = lines.splitlines()[: test if split == "test" else None]
            _write(work / f"{split}.{language}", kept)
    model = work / "joint.model"
    if not model.exists():
        sentencepiece.SentencePieceTrainer.train(
            input=[str(work / "train.en"), str(work / "train.de")],
            model_prefix=str(work / "joint"), vocab_size=size, character_coverage=1.0,
            byte_fallback=True, pad_id=0, unk_id=1, bos_id=2, eos_id=3, minloglevel=2,
        )  # fmt: skip
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))
    for split in ("train", "val", "test"):
        for language in ("en", "de"):
            text = (work / f"{split}.{language}").read_text("utf-8").splitlines()
            encoded = pieces.encode(text, out_type=str)
            _write(work / f"{split}.pieces.{language}", [" ".join(line) for line in encoded])
    found = [pieces.id_to_piece(i) for i in range(4, len(pieces))]
    _write(work / "vocabulary.onmt", [f"{piece}\t1" for piece in found])
    _write(work / "vocabulary.joey", [*SPECIALS, *found])
    _write(work / "short.en", (work / "test.en").read_text("utf-8").splitlines()[: test // 10])
    short = (work / "test.pieces.en").read_text("utf-8").splitlines()[: test // 10]
    _write(work / "short.pieces.en", short)


def _write(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def count_pieces(work: Path, output: Path, in_pieces: bool) -> int:
    """Subwords of a file of translations, each sentence's end counted."""
    import sentencepiece

    lines = output.read_text("utf-8").splitlines()
    if in_pieces:
        return sum(len(line.split()) + 1 for line in lines)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(work / "joint.model"))
    return sum(len(ids) + 1 for ids in pieces.encode(lines))


# ---------------------------------------------------------------- contenders


def ours(work: Path, precision: str, shortlist: bool = False) -> Contender:
    """``shortlist``: translates with one, which ``learn_shortlist`` has made."""

    def train(folder: Path, steps: int) -> list[str]:
        config = {
            "task": "translation", "output": str(folder / "run"), "seed": 1,
            "data": {"train": f"{work}/train.{{lang}}", "batch_tokens": 100_000,
                     "batch_sentences": BATCH, "cache_dir": str(work / "cache")},
            "tokenizer": {"model": str(work / "joint.model")},
            "model": {
                "encoder": {"layers": 1, "hidden_size": 256}, "decoder": {"hidden_size": 512},
                "embedding_size": 256, "dropout": 0.3, "tied_embeddings": "all",
            },
            "training": {
                "max_steps": steps, "max_epochs": 1000, "learning_rate": 1e-3, "ema_decay": 0.0,
                "schedule": "constant", "precision": precision, "validate_every": 10**9,
                "checkpoint_every": 10**9, "average": False, "threads": 1, "device": "cpu",
            },
        }  # fmt: skip
        path = folder / "config.yaml"
        path.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
        return [sys.executable, "-m", "seq2seq", "train", str(path), "--quiet"]

    def translate(folder: Path, text: Path, output: Path, beam: int) -> list[str]:
        return [
            sys.executable, "-m", "seq2seq", "translate", str(folder / "run" / "model"),
            "--input", str(text), "--output", str(output), "--beam-size", str(beam),
            "--batch-size", str(BATCH), "--precision", precision,
            *["--shortlist"] * shortlist,
        ]  # fmt: skip

    name = f"this project, {precision}" + ", shortlist" * shortlist
    trains = precision != "int8" and not shortlist
    return Contender(name, "this project", train, translate, {}, pieces=False, trains=trains)


def learn_shortlist(work: Path, folder: Path) -> None:
    """For the model of this project in the folder of its training, from the training text."""
    model = folder / "run" / "model"
    texts = ["--source", str(work / "train.en"), "--target", str(work / "train.de")]
    command = [sys.executable, "-m", "seq2seq", "shortlist", str(model), *texts]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def opennmt(work: Path, python: str, label: str, environment: dict[str, str]) -> Contender:
    def train(folder: Path, steps: int) -> list[str]:
        config = {
            "data": {"corpus": {"path_src": str(work / "train.pieces.en"),
                                "path_tgt": str(work / "train.pieces.de")}},
            "save_data": str(folder), "src_vocab": str(work / "vocabulary.onmt"),
            "tgt_vocab": str(work / "vocabulary.onmt"), "share_vocab": True,
            "save_model": str(folder / "model"), "encoder_type": "brnn", "decoder_type": "rnn",
            "rnn_type": "LSTM", "layers": 1, "hidden_size": 512, "word_vec_size": 256,
            "global_attention": "mlp", "input_feed": 1, "share_embeddings": True,
            "dropout": [0.3], "label_smoothing": 0.1, "optim": "adam", "learning_rate": 1e-3,
            "batch_type": "sents", "batch_size": BATCH, "accum_count": [1], "num_workers": 0,
            "bucket_size": 32768, "train_steps": steps, "save_checkpoint_steps": steps,
            "valid_steps": 10**9, "report_every": 10**6, "seed": 1,
        }  # fmt: skip
        path = folder / "config.yaml"
        path.write_text(json.dumps(config), encoding="utf-8")
        return [python, "-W", "ignore", "-m", "onmt.bin.train", "-config", str(path)]

    def translate(folder: Path, text: Path, output: Path, beam: int) -> list[str]:
        (model,) = folder.glob("model_step_*.pt")
        return [
            python, "-W", "ignore", "-m", "onmt.bin.translate", "-model", str(model),
            "-src", str(text), "-output", str(output), "-beam_size", str(beam),
            "-batch_size", str(BATCH), "-batch_type", "sents", "-max_length", "80",
        ]  # fmt: skip

    return Contender(f"OpenNMT-py{label}", "OpenNMT-py", train, translate, environment, pieces=True)


def joeynmt(work: Path, python: str, label: str, environment: dict[str, str]) -> Contender:
    def config(folder: Path, steps: int, beam: int) -> Path:
        side = {"level": "word", "voc_file": str(work / "vocabulary.joey"), "lowercase": False,
                "max_length": 1000}  # fmt: skip
        values = {
            "name": "peer", "joeynmt_version": "2.3.0", "model_dir": str(folder / "model"),
            "use_cuda": False, "fp16": False, "random_seed": 1,
            "data": {
                "train": str(work / "train.pieces"), "dev": str(work / "short.dev"),
                "test": str(work / "short.dev"), "dataset_type": "plain",
                "src": {"lang": "en", **side}, "trg": {"lang": "de", **side},
            },
            "testing": {"beam_size": beam, "beam_alpha": 1.0, "batch_size": BATCH,
                        "batch_type": "sentence", "max_output_length": 80,
                        "eval_metrics": ["bleu"]},
            "training": {
                "optimizer": "adam", "learning_rate": 1e-3, "batch_size": BATCH,
                "scheduling": "warmupinversesquareroot", "learning_rate_warmup": 400,
                "batch_type": "sentence", "epochs": 1000, "updates": steps, "shuffle": True,
                "validation_freq": steps, "logging_freq": max(1, steps // 2), "overwrite": True,
                "label_smoothing": 0.1, "normalization": "tokens", "print_valid_sents": [],
                "keep_best_ckpts": 1,
            },
            "model": {
                "tied_embeddings": True, "tied_softmax": False,
                "encoder": {"type": "recurrent", "rnn_type": "lstm", "bidirectional": True,
                            "num_layers": 1, "hidden_size": 256, "dropout": 0.3,
                            "embeddings": {"embedding_dim": 256, "dropout": 0.3}},
                "decoder": {"type": "recurrent", "rnn_type": "lstm", "num_layers": 1,
                            "hidden_size": 512, "dropout": 0.3, "attention": "bahdanau",
                            "input_feeding": True, "init_hidden": "bridge",
                            "hidden_dropout": 0.3,
                            "embeddings": {"embedding_dim": 256, "dropout": 0.3}},
            },
        }  # fmt: skip
        path = folder / f"config-{beam}.yaml"
        path.write_text(json.dumps(values), encoding="utf-8")
        for language in ("en", "de"):  # a validation is made at the end of a run: of one line
            lines = (work / f"val.pieces.{language}").read_text("utf-8").splitlines()[:1]
            _write(work / f"short.dev.{language}", lines)
        return path

    def train(folder: Path, steps: int) -> list[str]:
        path = config(folder, steps, 1)
        return [python, "-W", "ignore", "-m", "joeynmt", "train", str(path), "--skip-test"]

    def translate(folder: Path, text: Path, output: Path, beam: int) -> list[str]:
        path = config(folder, 1, beam)
        command = f'"{python}" -W ignore -m joeynmt translate "{path}" < "{text}" > "{output}"'
        return ["/bin/sh", "-c", command]

    return Contender(f"JoeyNMT{label}", "JoeyNMT", train, translate, environment, pieces=True)


# ---------------------------------------------------------------- timing


def time_training(
    contenders: list[Contender], work: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """The long run of the first round is kept for decoding."""
    text = (work / "train.pieces.de").read_text("utf-8").splitlines()
    subwords = sum(len(line.split()) + 1 for line in text) / len(text)  # a sentence
    targets = (options.steps - options.short) * BATCH * subwords
    contenders = [one for one in contenders if one.trains]
    found: dict[str, list[tuple[Run, Run]]] = {one.name: [] for one in contenders}
    for number in range(options.rounds):
        for one in contenders:
            runs = []
            for steps in (options.short, options.steps):
                folder = _folder(work, one, f"{number}-{steps}")
                runs.append(timed(one.train(folder, steps), one, folder, options.threads))
                (folder / _DONE).touch()
            found[one.name].append((runs[0], runs[1]))
    return {name: summary(pairs, targets) for name, pairs in found.items()}


def trained(
    one: Contender, contenders: list[Contender], work: Path, options: argparse.Namespace
) -> Path:
    """The folder of the model of this toolkit, which is trained where it is not there: by the
    toolkit's last contender, the fastest."""
    of_toolkit = [other for other in contenders if other.toolkit == one.toolkit and other.trains]
    name = f"0-{options.steps}"
    for trainer in of_toolkit:
        folder = work / _slug(trainer.name) / name
        if (folder / _DONE).exists():
            return folder
    trainer = of_toolkit[-1]
    folder = _folder(work, trainer, name)
    timed(trainer.train(folder, options.steps), trainer, folder, options.threads)
    (folder / _DONE).touch()
    return folder


_DONE = "trained"  # a file that marks the folder of a model


def time_decoding(
    contenders: list[Contender], work: Path, beam: int, options: argparse.Namespace
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    runs: dict[str, list[tuple[Run, Run]]] = {one.name: [] for one in contenders}
    subwords: dict[str, float] = {}
    for _ in range(options.rounds):
        for one in contenders:
            folder = trained(one, contenders, work, options)
            pair, counts = [], []
            for name in ("short", "test"):
                text = work / f"{name}.{'pieces.' if one.pieces else ''}en"
                output = folder / f"{name}.out"
                command = one.translate(folder, text, output, beam)
                pair.append(timed(command, one, folder, options.threads))
                counts.append(count_pieces(work, output, one.pieces))
            runs[one.name].append((pair[0], pair[1]))
            subwords[one.name] = counts[1] - counts[0]
    for name, pairs in runs.items():
        found[name] = summary(pairs, subwords[name])
    return found


def summary(pairs: list[tuple[Run, Run]], targets: float) -> dict[str, float]:
    seconds = statistics.median(long.cpu - short.cpu for short, long in pairs)
    if seconds <= 0:
        raise SystemExit("the long run took no longer than the short one; raise --steps")
    memory = statistics.median(long.memory for _, long in pairs)
    return {
        "subwords_per_second": round(targets / seconds, 1),
        "seconds": round(seconds, 2),
        "subwords": round(targets),
        "memory_mib": memory,
    }


def timed(command: list[str], one: Contender, folder: Path, threads: int) -> Run:
    """Runs it to its end; raises SystemExit with its last words where it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), **one.environment}
    with (folder / "log").open("wb") as log:
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - start
    if status:
        last = (folder / "log").read_text("utf-8", "replace")[-2000:]
        raise SystemExit(f"{one.name}: {' '.join(command)}\n{last}")
    return Run(usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024, wall)


def report(found: dict[str, Any], what: str) -> None:
    print(f"\n{what}")
    first = next(iter(found.values()))["subwords_per_second"]
    for name, values in found.items():
        speed = values["subwords_per_second"]
        print(f"{name:40} {speed:10,.0f} {first / speed:6.2f}x {values['memory_mib']:7} MiB")


def _folder(work: Path, one: Contender, name: str) -> Path:
    """A new folder for a run."""
    import shutil

    folder = work / _slug(one.name) / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)


def machine() -> dict[str, str]:
    import torch

    from kernels.common.processor import name

    return {"processor": name(), "torch": torch.__version__, "date": time.strftime("%Y-%m-%d")}


if __name__ == "__main__":
    main()
