"""Ensembles of translation models: in Python and by command."""

from __future__ import annotations

import copy
import importlib.util

import pytest
import torch

from seq2seq import Translator
from seq2seq.errors import UsageError
from seq2seq.tasks.translation.export import export_onnx
from tests.seq2seq.tasks.translation.models import ENGLISH, GERMAN, TEXTS, make_translator


def another(translator: Translator, noise: float = 0.02) -> Translator:
    """The same tokenizers, other weights."""
    other = copy.deepcopy(translator)
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in other.model.parameters():
            parameter.add_(noise * torch.randn_like(parameter))
    return other


def saved(translators: list[Translator], path) -> list[str]:
    for number, one in enumerate(translators):
        one.save_pretrained(path / str(number))
    return [str(path / str(number)) for number in range(len(translators))]


def test_an_ensemble_translates_as_one_model(translator):
    both = Translator.ensemble([translator, another(translator)])
    assert both.translate(ENGLISH) == GERMAN
    assert both.translate(ENGLISH, beam_size=1) == GERMAN
    (alone,), (found,) = (
        one.translate_nbest([ENGLISH[0]], n_best=1, attention=True)[0] for one in (translator, both)
    )
    assert found.log_probability != alone.log_probability
    assert found.attention.shape == alone.attention.shape
    assert copy.deepcopy(both).translate(ENGLISH) == GERMAN


@pytest.mark.parametrize("beam_size", [1, 3])
def test_same_text_whatever_the_batch(beam_size):
    first = make_translator()
    both = Translator.ensemble([first, another(first, 0.2)])
    texts = [*TEXTS, *ENGLISH]
    expected = both.translate(texts, beam_size=beam_size, batch_size=1)
    assert len(set(expected)) > 4
    assert both.translate(texts, beam_size=beam_size, batch_size=64) == expected


def test_wrong_ensembles(translator, tmp_path):
    with pytest.raises(UsageError, match="an ensemble of no models"):
        Translator.ensemble([])
    with pytest.raises(UsageError, match="models 1 and 2 have different source vocabularies"):
        Translator.ensemble([translator, make_translator(shared=False)])
    other = another(translator)
    pieces = [f"x{i}" for i in range(len(translator.target_tokenizer))]
    other.target_tokenizer = copy.copy(translator.target_tokenizer)
    other.target_tokenizer.pieces = lambda ids: pieces
    with pytest.raises(UsageError, match=r"target vocabularies .subword 0 is '<pad>' in one and"):
        Translator.ensemble([translator, other])
    with pytest.raises(UsageError, match="an ensemble is not one model and cannot be saved"):
        Translator.ensemble([translator]).save_pretrained(tmp_path / "model")
    if importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxscript"):
        with pytest.raises(UsageError, match="an ensemble is not one model and cannot be exported"):
            export_onnx(Translator.ensemble([translator]), tmp_path / "graphs")
    assert not list((tmp_path).glob("model/*.safetensors"))


def test_translate_and_evaluate_an_ensemble(run, translator, tmp_path):
    names = saved([translator, another(translator)], tmp_path)
    both = Translator.ensemble([Translator.from_pretrained(name) for name in names])
    text = "\n".join(TEXTS).encode()
    expected = "".join(f"{line}\n" for line in both.translate(TEXTS))
    assert run("translate", "--ensemble", *names, stdin=text) == (0, expected, "")
    assert run("translate", names[0], "--ensemble", names[1], stdin=text) == (0, expected, "")
    (tmp_path / "en").write_text("\n".join(ENGLISH) + "\n", encoding="utf-8")
    (tmp_path / "de").write_text("\n".join(GERMAN) + "\n", encoding="utf-8")
    files = ("--source", tmp_path / "en", "--reference", tmp_path / "de", "--bootstrap", 0)
    status, out, _ = run("evaluate", "--ensemble", *names, *files)
    assert status == 0
    assert out.startswith("BLEU = 100.00")


def test_an_ensemble_of_unlike_vocabularies_is_one_line(run, translator, tmp_path):
    names = saved([translator, make_translator(shared=False)], tmp_path)
    status, out, err = run("translate", "--ensemble", *names, stdin=b"a dog\n")
    assert (status, out) == (2, "")
    assert "different source vocabularies" in err and err.count("\n") == 1
