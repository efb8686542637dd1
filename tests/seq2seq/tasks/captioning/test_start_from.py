"""A model to start from whose vocabulary lacks words of the new captions."""

from __future__ import annotations

import numpy as np
import pytest

from seq2seq.errors import UsageError
from seq2seq.tasks.captioning.batches import CaptionSet
from seq2seq.tasks.captioning.training import _say_unknown
from seq2seq.text.vocabulary import UNK


def captions(*units):
    one = [[np.array(ids, np.int32)] for ids in units]
    return CaptionSet(["a.png"] * len(one), [["x"]] * len(one), one, None, None)


def test_the_share_of_unknown_words_is_told(capsys):
    _say_unknown(captions([3, 4], [5]), "m", True)
    assert not capsys.readouterr().err
    _say_unknown(captions([3, UNK], [5, 6]), "m", True)
    assert "start_from m: its vocabulary lacks 25% of the words" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"lacks 100% of the words .* start from another model"):
        _say_unknown(captions([UNK, UNK], [UNK]), "m", True)
