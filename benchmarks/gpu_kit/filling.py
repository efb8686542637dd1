"""Here, without a GPU: fills Triton's cache with what the runs will launch, or tries their lines.

Both run the three runs themselves, in processes that pretend to have an sm_90 card (pretend.py):
what is compiled is what the real calls ask for. Checks mean nothing, since nothing is launched.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.gpu_kit import carried
from benchmarks.gpu_kit.places import (
    ABOUT,
    ARCHIVE,
    CACHE,
    CARRIED,
    CORPUS,
    ROOT,
    TOKENIZER,
    UNPACKED,
    WHEELS,
)
from benchmarks.gpu_kit.plan import SECONDS
from benchmarks.gpu_kit.records import read
from benchmarks.gpu_kit.summaries import read_bench

TRITON = "3.6.0"  # of the machine with the GPU, and its Python
PYTHON = "3.12"
CAPABILITY = "9.0"  # of the card that pretend.py has
LIBRARY = UNPACKED / f"triton-{TRITON}"  # that version for the Python of here
BROUGHT = ("datasets", "dill", "multiprocess")  # what a machine with PyTorch often lacks
LARGEST = 60 << 20  # bytes of all that travels: the tree and what is carried; 64 MiB may
PATIENCE = 60.0  # compiling on few cores takes longer than launching
MULTI30K = ("train", "val")


def fill(folder: Path) -> int:
    """Makes all that is carried: cache, wheels, corpus, tokenizer; says how large it is."""
    start = time.monotonic()
    CARRIED.mkdir(parents=True, exist_ok=True)
    wheel = _libraries()
    _corpus()
    _about(wheel, carried.compiled())  # its key must be known to fill the cache under it
    status = _pretended(UNPACKED / "filled", compiling=True)
    lines = (UNPACKED / "filled" / "compiled.jsonl").read_text(encoding="utf-8").splitlines()
    carried.keep_only({json.loads(line)["hash"] for line in lines})
    count = carried.pack(CACHE, ARCHIVE)
    _about(wheel, count)
    files = [path for path in CARRIED.rglob("*") if path.is_file()]
    own, size = _size(files), _size(travelling())
    for path in files:
        print(f"  {path.stat().st_size / 2**20:7.2f} MiB  {path.relative_to(ROOT)}")
    print(
        f"{count} kernels for sm_90 under Triton {TRITON}; {own / 2**20:.1f} MiB to carry: "
        f"{CARRIED.relative_to(ROOT)}; {size / 2**20:.1f} MiB with the tree; "
        f"{time.monotonic() - start:.0f} s, "
        f"{_processor_seconds():.0f} s of a processor"
    )
    if size > LARGEST:
        print(f"too large: at most {LARGEST >> 20} MiB")
        return 1
    return status


def _size(files: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in files)


def travelling(root: Path = ROOT, carried_folder: Path = CARRIED) -> set[Path]:
    """Files that are copied to the other machine: those that git tracks or does not ignore, the
    folder shared/ of the tree, and what is carried besides."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = {root / name for name in listed.stdout.split("\0") if name}
    for folder in (root / "shared", carried_folder):
        found |= set(folder.rglob("*"))
    return {path for path in found if path.is_file() and not path.is_symlink()}


def dry(folder: Path) -> int:
    """Tries all three runs; nothing is compiled."""
    start = time.monotonic()
    _libraries()
    _corpus()
    status = _pretended(UNPACKED / "dry", compiling=False)
    print(f"dry run: {time.monotonic() - start:.0f} s, {_processor_seconds():.0f} s of a processor")
    return status


def _processor_seconds() -> float:
    """CPU seconds of all child processes that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", *arguments, "--quiet", "--no-deps"], check=True)


def _libraries() -> Path:
    """Triton for the Python of here, and what is carried as wheels; -> Triton's wheel of there."""
    if not (LIBRARY / "triton").exists():
        _pip("install", "--target", str(LIBRARY), f"triton=={TRITON}")
    there = ("--python-version", PYTHON, "--only-binary=:all:")
    downloads = UNPACKED / "wheels"
    if not list(downloads.glob("triton-*.whl")):
        _pip("download", *there, "--dest", str(downloads), f"triton=={TRITON}")
    WHEELS.mkdir(parents=True, exist_ok=True)
    for name in BROUGHT:
        if not list(WHEELS.glob(f"{name}-*.whl")):
            own = importlib.metadata.version(name)
            _pip("download", *there, "--dest", str(WHEELS), f"{name}=={own}")
    (wheel,) = downloads.glob("triton-*.whl")
    return wheel


def _corpus() -> None:
    """Multi30k's training and validation texts, and a tokenizer trained on them."""
    source = next(
        (p for p in (ROOT / "data", ROOT.parent / "shared" / "data") if (p / "multi30k").exists()),
        None,
    )
    if source is None:
        print(
            "no Multi30k in data/multi30k or ../shared/data/multi30k: train has nothing to train on"
        )
        return
    CORPUS.mkdir(parents=True, exist_ok=True)
    for name in MULTI30K:
        for language in ("en", "de"):
            file = f"{name}.{language}.gz"
            if not (CORPUS / file).exists():
                shutil.copyfile(source / "multi30k" / file, CORPUS / file)
    if not TOKENIZER.exists():
        _tokenizer()


def _tokenizer() -> None:
    """The one that recipes/translation/multi30k.yaml trains."""
    import gzip

    import sentencepiece

    def lines():
        for language in ("en", "de"):
            with gzip.open(CORPUS / f"train.{language}.gz", "rt", encoding="utf-8") as file:
                yield from (line.rstrip("\n") for line in file)

    TOKENIZER.parent.mkdir(parents=True, exist_ok=True)
    with TOKENIZER.open("wb") as model:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines(),
            model_writer=model,
            vocab_size=8000,
            model_type="unigram",
            byte_fallback=True,
            character_coverage=1.0,
            normalization_rule_name="identity",
            num_threads=1,
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
            minloglevel=2,
        )


def _pretended(folder: Path, compiling: bool) -> int:
    """The three runs with a card that is not there; -> 0 if every part ran to its end."""
    shutil.rmtree(folder, ignore_errors=True)
    tools = _stand_ins(folder / "tools")
    environment = os.environ | {
        "GPU_KIT_PRETEND": "1",
        "GPU_KIT_COMPILE": "1" if compiling else "0",
        "GPU_KIT_COMPILED": str(folder / "compiled.jsonl"),
        "OMP_NUM_THREADS": "1",
        "PYTHONOPTIMIZE": "1",  # no asserts: a test goes on to the kernels behind its first check
        "PATH": os.pathsep.join([str(tools), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(LIBRARY), str(ROOT)]),
    }
    ended = True
    for name in SECONDS:
        command = [sys.executable, "-m", "benchmarks.gpu_kit", name, str(folder)]
        command += ["--rounds", "1", "--patience", str(PATIENCE)]
        command += ["--seconds", str(SECONDS[name] * PATIENCE)]
        if not compiling:  # else as many as there: batches of other lengths ask for other kernels
            command += ["--steps", "2"]
        subprocess.run(command, env=environment, cwd=ROOT, check=False)
        found = unexpected(folder / name)
        print("\n".join([f"{name}: {len(found)} thing(s) that a dry run must not show", *found]))
        ended &= not found
    return 0 if ended else 1


def unexpected(folder: Path) -> list[str]:
    """What went wrong in a run besides wrong results: parts that crashed (those whose checks fail
    exit with 1) or were stopped, and measurements that could not be made."""
    log = folder / "log.txt"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else ["== not started"]
    bad = [line for line in lines if line.startswith("==") and _crashed(line)]
    records = [record for line in lines if (record := read(line)) is not None]
    rows = [*records, *(row for rows in read_bench(folder).values() for row in rows)]
    return bad + [str(row) for row in rows if not row.get("problem", "WRONG").startswith("WRONG")]


def _crashed(line: str) -> bool:
    stopped = ": STOPPED" in line or "not started" in line or "left out" in line
    return stopped or (": failed" in line and "exit status 1," not in line)


def _stand_ins(folder: Path) -> Path:
    """Profiler and memory checker that only run what they are given."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("ncu", "compute-sanitizer"):
        script = folder / name
        lines = (
            "#!/bin/sh",
            '[ "$1" = --help ] && exit',
            'while [ "$1" != "$GPU_KIT_PYTHON" ]; do shift; done',
            'exec "$@"',
        )
        script.write_text("\n".join(lines) + "\n")
        script.chmod(0o755)
    os.environ["GPU_KIT_PYTHON"] = sys.executable
    return folder


def _about(wheel: Path, count: int) -> None:
    """Asks the Triton that filled the cache for the key that it has there."""
    code = (
        "import sys; from pathlib import Path; from benchmarks.gpu_kit.triton_key import key_for;"
        "print(key_for(Path(sys.argv[1])))"
    )
    paths = os.pathsep.join([str(LIBRARY), str(ROOT)])
    found = subprocess.run(
        [sys.executable, "-c", code, str(wheel)],
        env=os.environ | {"PYTHONPATH": paths},
        check=True,
        capture_output=True,
        text=True,
    )
    about = {"triton": TRITON, "python": PYTHON, "capability": CAPABILITY, "kernels": count}
    about["key"] = found.stdout.strip()
    ABOUT.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
