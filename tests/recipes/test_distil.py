"""Distillation: which translation is kept, and the files that training reads."""

from __future__ import annotations

import gzip
from pathlib import Path

import distil

from seq2seq import Translator, load_config
from seq2seq.config import config_to_dict
from tests.seq2seq.tasks.translation.models import ENGLISH, GERMAN, learn, make_translator


def test_the_translation_closest_to_the_reference_is_kept():
    texts = ["ein hund", "ein hund rennt nach hause", "ein hund rennt heim", "der hund"]
    assert distil.closest(texts, "ein hund rennt heim .") == "ein hund rennt heim"
    assert distil.closest(["a", "b"], "c") == "a"
    chinese = ["他在家", "我是一个人在那里吃饭"]
    assert distil.closest(chinese, "我是一个人在这里吃饭", "zh") == chinese[1]


def test_new_pairs_follow_the_old_ones(tmp_path, call, start):
    learn(make_translator()).save_pretrained(tmp_path / "model")
    references = ["ein hund", GERMAN[1], "vögel ."]
    for name, lines in (("en", ENGLISH), ("de", references)):
        data = "".join(line + "\n" for line in lines).encode()
        (tmp_path / f"train.{name}.gz").write_bytes(gzip.compress(data))
    model, output = tmp_path / "model", tmp_path / "new" / "both.{lang}"
    given = [model, "--beam-size", "3", "--train", tmp_path / "train.{lang}.gz", "--output"]
    done = call(distil, *given, output)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("3 pairs and 3 new ones\n")
    sources = (tmp_path / "new" / "both.en").read_text(encoding="utf-8").splitlines()
    targets = (tmp_path / "new" / "both.de").read_text(encoding="utf-8").splitlines()
    assert sources == ENGLISH * 2 and targets[:3] == references
    teacher = Translator.from_pretrained(tmp_path / "model", device="cpu")
    nbest = teacher.translate_nbest(ENGLISH, beam_size=3)
    for found, reference, made in zip(nbest, references, targets[3:], strict=True):
        assert made == distil.closest([one.text for one in found], reference)

    assert call(distil, *given, tmp_path / "new" / "both.{lang}.gz").returncode == 0
    both = gzip.decompress((tmp_path / "new" / "both.de.gz").read_bytes())
    assert both.decode().splitlines() == targets
    before = (tmp_path / "train.de.gz").read_bytes()
    same = start(distil, *given, tmp_path / "new" / ".." / "train.{lang}.gz")
    assert same.returncode == 2 and "it is what --train names" in same.stderr
    assert (tmp_path / "train.de.gz").read_bytes() == before
    (tmp_path / "train.de.gz").write_bytes(gzip.compress(b"one line\n"))
    done = call(distil, *given, output)
    assert done.returncode == 2 and "3 lines of en and 1 of de; expected as many" in done.stderr


def test_the_recipe_is_that_of_the_teacher_on_other_pairs():
    folder = Path(distil.__file__).parent
    teacher, student = (
        config_to_dict(load_config(folder / name))
        for name in ("multi30k.yaml", "multi30k_distilled.yaml")
    )
    for values in (teacher, student):
        values["output"] = values["data"]["train"] = values["tokenizer"]["model"] = None
    assert teacher == student
