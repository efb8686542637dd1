"""Images, and the directory of a captioning model."""

from __future__ import annotations

import pytest

pytest.importorskip("PIL")

from PIL import Image

from tests.seq2seq.tasks.captioning.models import make


@pytest.fixture
def images(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(7)]
    colours = "white red yellow blue black green purple".split()
    for number, (path, colour) in enumerate(zip(paths, colours, strict=True)):
        Image.new("RGB", (50, 40), colours[number - 3]).save(path)
        with Image.open(path) as image:
            image.paste(colour, (5 * number, 5, 5 * number + 15, 30))
            image.save(path)
    return paths


@pytest.fixture
def saved(tmp_path):
    make().save_pretrained(tmp_path / "model")
    return tmp_path / "model"
