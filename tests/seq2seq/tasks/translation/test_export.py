"""seq2seq export: graphs that ONNX Runtime runs, and the program in the README beside them."""

from __future__ import annotations

import re
import sys

import pytest

from seq2seq.errors import UsageError
from seq2seq.tasks.translation import export
from tests.seq2seq.tasks.translation.models import ENGLISH, TEXTS, make_translator

needs_onnx = pytest.mark.skipif(
    any(not export.importlib.util.find_spec(n) for n in ("onnx", "onnxscript", "onnxruntime")),
    reason="the extra 'onnx' is not installed",
)


def program(directory):
    """The README's program, as somebody who copies it has it."""
    readme = (directory / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    found = {"__file__": str(directory / "translate.py")}
    exec(compile(code, "translate.py", "exec"), found)
    return found["translate"]


@needs_onnx
def test_sentences_from_onnxruntime_are_those_of_translate(run, saved, translator, tmp_path):
    status, out, err = run("export", saved, "--format", "onnx", "-o", tmp_path / "graphs")
    assert "torchvision" not in err
    assert status == 0
    names = ["README.md", "decoder_step.onnx", "encoder.onnx", "tokenizer.model"]
    assert out.splitlines() == [str(tmp_path / "graphs" / name) for name in names]
    translate = program(tmp_path / "graphs")
    texts = [text for text in [*ENGLISH, *TEXTS] if text.strip()]
    assert [translate(text) for text in texts] == translator.translate(texts, beam_size=1)


@needs_onnx
@pytest.mark.parametrize(("attention", "cell"), [("none", "tanh"), ("dot", "gru")])
def test_other_decoders(attention, cell, tmp_path):
    translator = make_translator("none", False, attention, cell)
    export.export_onnx(translator, tmp_path)
    translate = program(tmp_path)
    texts = [text for text in TEXTS if text.strip()]
    assert [translate(text) for text in texts] == translator.translate(texts, beam_size=1)
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert ("| keys |" in readme) == (attention != "none")
    assert "| cell |" not in readme and "source.model" in readme


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setattr(
        export.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else name
    )
    with pytest.raises(UsageError, match=r"onnxscript is not installed; pip install .*\[onnx\]"):
        export.export_onnx(make_translator(), tmp_path)
