"""Checkpoints: safetensors and JSON in a folder written aside and renamed into place.

    RUN/checkpoints/last/      all that resuming needs: tensors.safetensors, state.json
    RUN/checkpoints/best-S/    weights of the kept validations, at step S

A folder is either whole or not there: it is written under a temporary name, flushed to disk and
renamed; the folder it replaces is removed only after that. Nothing is pickled.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from seq2seq.digests import file_digest
from seq2seq.errors import RunError
from seq2seq.json_files import read_json

TENSORS, STATE = "tensors.safetensors", "state.json"
_DIGEST = "tensors_sha256"  # in state.json


def write(folder: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Replace ``folder`` as a whole; RunError, with the old one left, when the disk is full."""
    aside = folder.with_name(f".{folder.name}.writing")
    old = folder.with_name(f".{folder.name}.old")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        save_file({k: v.detach().contiguous() for k, v in tensors.items()}, aside / TENSORS)
        values = {**state, _DIGEST: file_digest(aside / TENSORS)}
        (aside / STATE).write_text(json.dumps(values, indent=1), encoding="utf-8")
        # safetensors writes for the owner alone; who may read the folder may read this too
        (aside / TENSORS).chmod((aside / STATE).stat().st_mode)
        for name in (TENSORS, STATE):
            with open(aside / name, "rb") as file:
                os.fsync(file.fileno())
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
        aside.rename(folder)
        _sync(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        kept = f"; the one before it in {folder} is intact" if folder.exists() else ""
        raise RunError(f"checkpoint {folder}: could not be written ({error}){kept}") from None


def _sync(folder: Path) -> None:
    """Make renames in a folder last through a power loss."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and state of a checkpoint; RunError if it is missing or damaged."""
    old = folder.with_name(f".{folder.name}.old")
    if not folder.exists() and old.exists():  # killed between the two renames
        old.rename(folder)
    try:
        state = read_json(folder / STATE)
        digest = state.pop(_DIGEST, None)  # checkpoints of before have none
        if digest is not None and digest != file_digest(folder / TENSORS):
            raise ValueError(f"{TENSORS} is not what was saved: its sha256 is another")
        return load_file(folder / TENSORS), state
    except (OSError, ValueError, SafetensorError) as error:
        raise RunError(f"checkpoint {folder}: cannot be read ({error})") from None


def write_text(path: Path, text: str) -> None:
    """Replace a text file as a whole; the old one stays when the disk is full."""
    aside = path.with_name(f".{path.name}.writing")
    try:
        with open(aside, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise RunError(f"{path}: could not be written ({error})") from None


def exists(folder: Path) -> bool:
    return folder.exists() or folder.with_name(f".{folder.name}.old").exists()


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Each parameter once, by its first name (tied ones are one parameter), and each buffer that is
    saved with them (the statistics of batch norm)."""
    saved = model.state_dict().keys()
    weights = {name: p.detach() for name, p in model.named_parameters()}
    return weights | {name: b for name, b in model.named_buffers() if name in saved}


@torch.no_grad()
def load_weights(model: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Copy weights written by ``weights_of``; RunError where names or shapes differ."""
    own = weights_of(model)
    if own.keys() != tensors.keys():
        missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
        raise RunError(f"{where}: does not fit the model; missing {missing}, unknown {extra}")
    for name, parameter in own.items():
        if parameter.shape != tensors[name].shape:
            raise RunError(
                f"{where}: '{name}' has shape {tuple(tensors[name].shape)}, the model needs "
                f"{tuple(parameter.shape)}"
            )
        parameter.copy_(tensors[name])


def average(folders: list[Path]) -> dict[str, Tensor]:
    """The mean of the weights of several checkpoints (Junczys-Dowmunt et al. 2016)."""
    total: dict[str, Tensor] = {}
    for folder in folders:
        for name, tensor in read(folder)[0].items():
            total[name] = total[name] + tensor.double() if name in total else tensor.double()
    return {name: (tensor / len(folders)).float() for name, tensor in total.items()}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's moments, flat: "index.name" -> tensor."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
