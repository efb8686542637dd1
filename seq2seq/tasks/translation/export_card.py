"""The README beside exported graphs: what goes in and comes out, and a program that uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seq2seq.tasks.translation.model import TranslationModel
    from seq2seq.tasks.translation.translator import Translator

_MEANING = {
    "tokens": ("int64 (B,)", "the target subword before, 2 (beginning of sentence) at first"),
    "hidden": ("float32 ({layers}, B, {hidden})", "hidden state"),
    "cell": ("float32 ({layers}, B, {hidden})", "cell state of the LSTM"),
    "feed": ("float32 (B, {vectors})", "the attentional vector of the step before"),
    "keys": ("float32 (B, S, {keys})", "what scores are made from"),
    "values": ("float32 (B, S, {values})", "what attention averages"),
    "lengths": ("int64 (B,)", "source subwords of each row, without padding"),
}

_TEXT = """\
# A translation model as ONNX graphs

Written by `seq2seq export`. `encoder.onnx` runs once for a source, `decoder_step.onnx` once for
each target subword. B rows (sources, or hypotheses in a beam: repeat a source's row for each) and S
source subwords are free. Ids: 0 padding, 1 unknown, 2 beginning and 3 end of a sentence.

## encoder.onnx

| input | type and shape | what it is |
| --- | --- | --- |
| tokens | int64 (B, S) | source subwords, without beginning and end, filled up with 0 |
| lengths | int64 (B,) | source subwords of each row |

Its outputs are inputs of the step, under the same names.

## decoder_step.onnx

| input | type and shape | what it is |
| --- | --- | --- |
{inputs}

Outputs: `logits` (B, {vocabulary}) of the next subword; {after}, which the next step takes as
`hidden` and so on{attention}.

## A sentence

Needs `pip install numpy onnxruntime sentencepiece`; greedy search, as `seq2seq translate
--beam-size 1` does it.

```python
import unicodedata
from pathlib import Path

import numpy as np
import onnxruntime
import sentencepiece

FOLDER = Path(__file__).parent
encoder = onnxruntime.InferenceSession(FOLDER / "encoder.onnx")
step = onnxruntime.InferenceSession(FOLDER / "decoder_step.onnx")
source = sentencepiece.SentencePieceProcessor(model_file=str(FOLDER / "{source}"))
target = sentencepiece.SentencePieceProcessor(model_file=str(FOLDER / "{target}"))


def translate(text):
    ids = source.encode(unicodedata.normalize("NFC", " ".join(text.split())))
    given = {{"tokens": np.array([ids]), "lengths": np.array([len(ids)])}}
    state = dict(zip((o.name for o in encoder.get_outputs()), encoder.run(None, given)))
    state["lengths"] = given["lengths"]
    token, found = 2, []
    for _ in range(int({ratio} * len(ids)) + {extra}):
        state["tokens"] = np.array([token])
        results = step.run(None, {{i.name: state[i.name] for i in step.get_inputs()}})
        for output, result in zip(step.get_outputs(), results):
            state[output.name.removeprefix("next_")] = result
        logits = state["logits"][0]
        logits[[0, 2]] = -np.inf  # padding and beginning are never written
        token = int(logits.argmax())
        if token == 3:
            break
        found.append(token)
    return target.decode([k for k in found if k != 1])  # without unknown ones
```
"""


def export_card(translator: Translator, model: TranslationModel, inputs: list[str]) -> str:
    """``inputs``: the names of the step's, in their order."""
    decoder, decoding = model.decoder, translator.config.decoding
    layer, keys = decoder.layers[0], decoder.keys
    values = model.encoder.size
    sizes = {
        "layers": len(decoder.layers),
        "hidden": layer.hidden_size,
        "vectors": decoder.output_size,
        "keys": values if keys is None else keys.out_features,
        "values": values,
    }
    rows = []
    for name in inputs:
        kind, what = _MEANING[name]
        rows.append(f"| {name} | {kind.format(**sizes)} | {what} |")
    after = [f"`next_{name}`" for name in inputs if name in ("hidden", "cell", "feed")]
    source, target = translator.tokenizer_files
    return _TEXT.format(
        inputs="\n".join(rows),
        vocabulary=model.projection.out_features,
        after=", ".join(after),
        attention="; `attention` (B, S), weights over the source" if "keys" in inputs else "",
        source=source,
        target=target,
        ratio=decoding.max_length_ratio,
        extra=decoding.max_length_extra,
    )
