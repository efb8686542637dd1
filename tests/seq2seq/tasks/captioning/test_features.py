"""Features computed beforehand belong to one image each, and their names are checked at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from seq2seq.images.files import ImageError
from seq2seq.tasks.captioning.features import Features

SIZE = 3


def tensor(value):
    return torch.full((2, SIZE), float(value))


def of(folder, **values):
    """A file of tensors, or a folder of arrays, with names in which a slash is two underscores."""
    named = {name.replace("__", "/"): tensor(value) for name, value in values.items()}
    if folder.suffix:
        save_file(named, folder)
    else:
        for name, one in named.items():
            path = folder / f"{name}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, one.numpy())
    return Features(folder, SIZE)


@pytest.mark.parametrize("place", ["features.safetensors", "features"])
def test_images_of_several_folders_are_told_apart(tmp_path, place):
    features = of(tmp_path / place, **{"a__0.png": 1, "b__0": 2, "0.png": 3, "1": 4})
    images = [str(tmp_path / "data" / name) for name in ("a/0.png", "b/0.png", "c/0.png", "1.jpg")]
    assert [int(features.one(image)[0, 0]) for image in images] == [1, 2, 3, 4]
    features.check(images)


@pytest.mark.parametrize("place", ["features.safetensors", "features"])
def test_two_images_with_one_name_are_refused(tmp_path, place):
    features = of(tmp_path / place, **{"0.png": 3})
    with pytest.raises(ImageError, match=r"'0.png.*' would be the features of .*a/0.png and of "):
        features.check([str(tmp_path / "a/0.png"), str(tmp_path / "b/0.png")])


@pytest.mark.parametrize("place", ["features.safetensors", "features"])
def test_what_is_missing_is_named_before_training(tmp_path, place):
    features = of(tmp_path / place, **{"0.png": 3})
    images = [str(tmp_path / f"{n}.png") for n in range(3)]
    with pytest.raises(ImageError, match=r"1.png \(and 1 more images\): .* holds no features of"):
        features.check(images)


def test_an_array_beside_the_image_is_not_of_the_folder(tmp_path):
    np.save(tmp_path / "0.png.npy", tensor(1).numpy())
    features = of(tmp_path / "features", **{"1.png": 2})
    with pytest.raises(ImageError, match="holds no features of it"):
        features.check([str(tmp_path / "0.png")])
