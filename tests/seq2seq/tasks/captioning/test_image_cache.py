"""The cache holds what read_image gives, is built once, and is whole or not there."""

import errno
import os

import numpy as np
import pytest
import torch
from PIL import Image

from seq2seq.errors import RunError
from seq2seq.images.files import ImageError, read_image
from seq2seq.tasks.captioning import image_cache
from seq2seq.tasks.captioning.image_cache import cache_images


@pytest.fixture
def paths(tmp_path):
    noise = np.random.default_rng(0)
    found = []
    for i in range(5):
        found.append(tmp_path / f"{i}.png")
        Image.fromarray(noise.integers(0, 256, (9, 7, 3), np.uint8)).save(found[-1])
    return found


def test_holds_the_images_in_order(paths, tmp_path):
    cache = cache_images(paths, 6, tmp_path / "cache")
    assert len(cache) == 5 and cache.size == 6
    wanted = torch.stack([read_image(path, 6) for path in paths])
    assert torch.equal(cache[range(5)], wanted)
    for index in ([3, 0, 3], np.array([3, 0, 3]), torch.tensor([3, 0, 3])):
        assert torch.equal(cache[index], wanted[[3, 0, 3]])
    assert cache[[1]].dtype == torch.uint8 and cache[[]].shape == (0, 3, 6, 6)


def test_more_images_than_one_round_of_threads(paths, tmp_path, monkeypatch):
    monkeypatch.setattr(image_cache, "_AT_ONCE", 1)
    many = paths * 7
    cache = cache_images(many, 6, tmp_path / "cache")
    assert torch.equal(cache[range(35)], torch.stack([read_image(path, 6) for path in many]))


def test_batches_are_copies(paths, tmp_path):
    cache = cache_images(paths, 6, tmp_path / "cache")
    before = cache[[0]]
    cache[[0]].zero_()
    assert torch.equal(cache[[0]], before)


def test_decoded_once(paths, tmp_path, monkeypatch):
    cache_images(paths, 6, tmp_path / "cache")
    monkeypatch.setattr(image_cache, "read_images", None)  # may not be called again
    assert len(cache_images([str(path) for path in paths], 6, tmp_path / "cache")) == 5


@pytest.mark.parametrize("change", ["size", "order", "file", "fewer"])
def test_what_changes_is_decoded_anew(paths, tmp_path, change):
    first = cache_images(paths, 6, tmp_path / "cache")
    size = 6
    if change == "size":
        size = 5
    elif change == "order":
        paths = paths[::-1]
    elif change == "fewer":
        paths = paths[:-1]
    else:
        Image.new("RGB", (9, 7), "red").save(paths[0])
    again = cache_images(paths, size, tmp_path / "cache")
    assert again.path != first.path
    assert torch.equal(again[[0]][0], read_image(paths[0], size))


def test_bad_images_are_all_counted_and_the_first_named(paths, tmp_path):
    for path in paths[1:3]:
        path.write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"2 images of 6[^$]*1\.png: not an[^$]*2\.png: not an"):
        cache_images([*paths, paths[0]], 6, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_many_bad_images_are_not_all_named(tmp_path):
    with pytest.raises(ImageError, match=r"9 images of 9[^$]*4\.png[^$]*and 4 more$"):
        cache_images([tmp_path / f"{i}.png" for i in range(9)], 6, tmp_path / "cache")


def test_a_full_disk_leaves_nothing_behind(paths, tmp_path, monkeypatch):
    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left"):
        cache_images(paths, 6, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_a_folder_that_is_a_file_is_named(paths, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(RunError, match=r"image cache .*cache: .*; set 'data.cache_dir'"):
        cache_images(paths, 6, tmp_path / "cache")
