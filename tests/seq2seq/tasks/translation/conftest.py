"""A trained translation model, and its directory."""

from __future__ import annotations

import pytest

from tests.seq2seq.tasks.translation.models import learn, make_translator


@pytest.fixture(scope="module")
def translator():
    return learn(make_translator())


@pytest.fixture
def saved(translator, tmp_path):
    translator.save_pretrained(tmp_path / "model")
    return tmp_path / "model"
