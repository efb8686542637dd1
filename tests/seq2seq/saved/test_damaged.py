"""A saved model whose files ask for what nobody has is refused before any memory is taken."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys

import pytest

from seq2seq.config.vocabulary import TokenizerConfig, VocabularyConfig
from seq2seq.errors import RunError
from seq2seq.saved.directory import CARD_FILE, CONFIG_FILE
from seq2seq.text.sentencepiece import Tokenizer
from seq2seq.text.vocabulary import UNITS_FILE, Subwords
from tests.seq2seq.saved.models import make
from tests.seq2seq.saved.test_digest import model

__all__ = ["model"]  # the fixture: (user class, directory of a saved model) of every task

HUGE = (10**5, 10**9, 2**63, 10**30)


def sizes(values, path=()):
    """Paths of all whole numbers in the section of the model."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from sizes(value, (*path, key))
        elif type(value) is int:
            yield (*path, key)


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_sizes_that_the_weights_do_not_have(model):
    user, directory = model
    text = (directory / CONFIG_FILE).read_text("utf-8")
    before = peak_mb()
    for path in sizes(json.loads(text)["config"]["model"]):
        for huge in HUGE:
            values = json.loads(text)
            inner = values["config"]["model"]
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = huge
            (directory / CONFIG_FILE).write_text(json.dumps(values))
            try:
                user.from_pretrained(directory, device="cpu")
            except RunError as error:
                assert str(directory) in str(error)  # a size of a part that this model lacks loads
    assert peak_mb() - before < 200


def test_more_layers_than_there_are_weights(model):
    user, directory = model
    values = json.loads((directory / CONFIG_FILE).read_text("utf-8"))
    section = values["config"]["model"]
    if "layers" not in section:
        section = section.get("decoder", section["encoder"])
    section["layers"] = 900
    (directory / CONFIG_FILE).write_text(json.dumps(values))
    with pytest.raises(RunError, match="weights do not belong to the model"):
        user.from_pretrained(directory, device="cpu")
    section["layers"] = 1001
    (directory / CONFIG_FILE).write_text(json.dumps(values))
    with pytest.raises(RunError, match=r"layers' is 1001; expected at most 1,000"):
        user.from_pretrained(directory, device="cpu")


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, '{"a": ' + "9" * 5000 + "}"])
def test_json_that_python_cannot_read(model, content):
    user, directory = model
    for name in (CONFIG_FILE, UNITS_FILE):
        path = directory / name
        if path.exists():
            whole = path.read_bytes()
            path.write_text(content)
            with pytest.raises(RunError, match=rf"{re.escape(str(path))}.*damaged"):
                user.from_pretrained(directory, device="cpu")
            path.write_bytes(whole)


def test_each_file_that_is_missing_is_named(model):
    user, directory = model
    for path in sorted(directory.iterdir()):
        whole = path.read_bytes()
        path.unlink()
        if path.name != CARD_FILE:
            with pytest.raises(RunError, match=rf"file {re.escape(path.name)} is missing"):
                user.from_pretrained(directory, device="cpu")
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"shape": {"units": None}}, "'shape' is damaged"),
        ({"shape": {"outputs": 2, "units": None}}, "'units' is None, expected int"),
        ({"shape": {"outputs": "2"}}, "'outputs' is '2', expected int"),
        ({"shape": {"outputs": 2, "kept": -1}}, "'kept' is -1, expected int"),
        ({"shape": {"outputs": 2, "grid": 1}}, "'grid' is 1, expected bool"),
    ],
)
def test_a_damaged_shape_of_a_classifier(tmp_path, values, said):
    user = make("classification")
    user.save_pretrained(tmp_path)
    path = tmp_path / CONFIG_FILE
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **values}))
    with pytest.raises(RunError, match=rf"{re.escape(str(path))}: {said}|{said}.*copy it again"):
        user.from_pretrained(tmp_path, device="cpu")


def test_loading_imports_no_compiler(tmp_path):
    user, directory = make("generation"), tmp_path
    user.save_pretrained(directory)
    code = (
        "import sys; from seq2seq import registry\n"
        f"registry.load(registry.TASKS[{user.task!r}].user)"
        f".from_pretrained({str(directory)!r}, device='cpu')\n"
        "print([name for name in ('torch._dynamo', 'sympy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("kind", ["tokenizer", "units"])
def test_pieces_of_sentencepiece_that_are_no_text(kind):
    texts = [" ".join([word] * n) for n in range(1, 9) for word in ("gold", "silver", "iron")]
    if kind == "units":
        model = Subwords.train(texts, VocabularyConfig(kind="subwords", vocab_size=272)).model
    else:
        model = Tokenizer.train(texts, TokenizerConfig(vocab_size=272)).model
    damaged = model.replace(b"\n\x01g", b"\n\x01\xb1")  # the piece g, as protobuf holds it
    assert damaged != model
    with pytest.raises(RunError, match="not a SentencePiece model, or a truncated one"):
        Subwords(damaged) if kind == "units" else Tokenizer(damaged)
