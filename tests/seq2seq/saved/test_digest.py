"""Weights and vocabularies that are not those that were saved are never used, whatever the
task."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from seq2seq import registry
from seq2seq.errors import RunError
from seq2seq.saved.directory import CONFIG_FILE, FILES_DIGEST, WEIGHTS_DIGEST, WEIGHTS_FILE
from tests.seq2seq.saved.models import make


@pytest.fixture(params=list(registry.TASKS))
def model(request, tmp_path):
    """(user class, directory of a saved model)"""
    user = make(request.param)
    user.save_pretrained(tmp_path)
    return type(user), tmp_path


def test_flipped_bits_are_refused(model):
    user, directory = model
    user.from_pretrained(directory, device="cpu")
    whole = (directory / WEIGHTS_FILE).read_bytes()
    for place in (-1, -40, len(whole) // 2):
        content = bytearray(whole)
        content[place] ^= 1
        (directory / WEIGHTS_FILE).write_bytes(content)
        with pytest.raises(RunError, match=r"not the weights that were saved .* copy the whole"):
            user.from_pretrained(directory, device="cpu")


def test_a_model_without_a_digest_loads(model):
    user, directory = model
    values = json.loads((directory / CONFIG_FILE).read_text("utf-8"))
    assert values["format_version"] == 1
    assert len(values.pop(WEIGHTS_DIGEST)) == 64
    assert values.pop(FILES_DIGEST)
    (directory / CONFIG_FILE).write_text(json.dumps(values))
    user.from_pretrained(directory, device="cpu")


def test_every_file_that_turns_data_into_numbers_is_known_again(model):
    """A file with the same values, written in another way, loads but for its digest."""
    user, directory = model
    known = json.loads((directory / CONFIG_FILE).read_text("utf-8"))[FILES_DIGEST]
    others = {CONFIG_FILE, WEIGHTS_FILE, "README.md"}
    assert set(known) == {path.name for path in directory.iterdir()} - others
    for name in known:
        path = directory / name
        whole = path.read_bytes()
        if path.suffix == ".json":
            path.write_text(json.dumps(json.loads(whole), indent=3))
        else:  # a field of protocol buffers that nobody knows
            path.write_bytes(whole + b"\xf8\x7f\x01")
        with pytest.raises(RunError, match=f"{name}: not the file that was saved with these"):
            user.from_pretrained(directory, device="cpu")
        path.write_bytes(whole)
    user.from_pretrained(directory, device="cpu")


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn, torch.bool])
def test_weights_of_another_kind_are_refused(model, dtype):
    user, directory = model
    drop_digest(directory)
    tensors = load_file(directory / WEIGHTS_FILE)
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    save_file({**tensors, name: tensors[name].to(dtype)}, directory / WEIGHTS_FILE)
    with pytest.raises(RunError, match=f"tensor '{name}' holds .*, expected float32; quantised"):
        user.from_pretrained(directory, device="cpu")


def test_half_precision_weights_load(model):
    user, directory = model
    drop_digest(directory)
    tensors = load_file(directory / WEIGHTS_FILE)
    half = {n: t.half() if t.is_floating_point() else t for n, t in tensors.items()}
    save_file(half, directory / WEIGHTS_FILE)
    user.from_pretrained(directory, device="cpu")


def drop_digest(directory):
    values = json.loads((directory / CONFIG_FILE).read_text("utf-8"))
    del values[WEIGHTS_DIGEST]
    (directory / CONFIG_FILE).write_text(json.dumps(values))
