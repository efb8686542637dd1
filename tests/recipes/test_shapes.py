"""The captioning demo's data: scenes, their captions, what captions mean, and the images."""

from __future__ import annotations

import random
from collections import Counter

import meaning
import numpy as np
import pytest
import scenes
import shapes
from phrases import captions_of
from scenes import Group, Scene

from seq2seq.tasks.captioning.captions import load_captions

SQUARE = Group(1, "small", "red", "square")
CROSSES = Group(2, "large", "blue", "cross")


def drawn(number=400, held_out=False, seed=0):
    return scenes.draw_scenes(number, held_out, random.Random(seed))


def test_test_combinations_are_never_in_training():
    train, test = drawn(3000), drawn(300, held_out=True)
    seen = {scenes.combination(scene) for scene in train}
    assert not any(scenes.combination(scene) in seen for scene in test)
    assert not any(scenes.is_held_out(scene) for scene in train)


def test_training_sees_every_part_about_equally_often():
    seen = Counter()
    for scene in drawn(4000):
        for group in scene.groups:
            seen.update([group.colour, group.shape, group.size, (group.colour, group.shape)])
        seen.update([scene.relation] if scene.second else [scene.first.count])
    for values in (
        scenes.COLOURS,
        scenes.SHAPES,
        scenes.SIZES,
        scenes.RELATIONS,
        scenes.COUNTS,
        [(colour, shape) for colour in scenes.COLOURS for shape in scenes.SHAPES],
    ):
        counts = [seen[value] for value in values]
        assert min(counts) > 0 and max(counts) < 1.8 * min(counts)


def test_one_in_six_is_held_out():
    share = sum(scenes.is_held_out(scenes._draw(random.Random(i))) for i in range(3000)) / 3000
    assert 0.14 < share < 0.2


@pytest.mark.parametrize("held_out", [False, True])
def test_every_caption_means_its_scene(held_out):
    source = random.Random(3)
    for scene in drawn(300, held_out):
        captions = captions_of(scene, source)
        assert len(captions) == 5 and len(set(captions)) == 5
        assert meaning.exact_meaning(captions, [scene] * 5) == 1


@pytest.mark.parametrize(
    ("caption", "scene"),
    [
        ("a small red square", Scene(SQUARE)),
        ("There is one little red square.", Scene(SQUARE)),
        ("the picture shows a small red square", Scene(SQUARE)),
        ("two big blue crosses and nothing else", Scene(CROSSES)),
        ("two blue crosses that are large", Scene(CROSSES)),
        ("a small red square above two large blue crosses", Scene(SQUARE, "above", CROSSES)),
        ("two big blue crosses are under one small red square", Scene(SQUARE, "above", CROSSES)),
        (
            "to the right of a small red square there are two big blue crosses",
            Scene(SQUARE, "left", CROSSES),
        ),
        (
            "there are two large blue crosses to the left of a small red square",
            Scene(CROSSES, "left", SQUARE),
        ),
    ],
)
def test_parse(caption, scene):
    assert meaning.parse(caption) == scene


@pytest.mark.parametrize(
    "caption",
    [
        "",
        "a dog",
        "a small red",
        "two small red square",
        "a small red squares",
        "there are a small red square",
        "two large blue crosses is above a small red square",
        "a small red square above",
        "a small red square two large blue crosses",
        "above a small red square",
        "a small red square above two large blue crosses and nothing else",
        "a small red square above above two large blue crosses",
        "a small red square above two large blue crosses above a small red square",
        "a small small red square",
        "a red square that are small",
        "nothing else and a small red square",
        "there is above a small red square two large blue crosses",
    ],
)
def test_what_is_no_sentence_means_nothing(caption):
    assert meaning.parse(caption) is None


def test_exact_meaning_counts_every_part():
    wanted = Scene(SQUARE, "above", CROSSES)
    wrong = [
        "a small green square above two large blue crosses",
        "a small red circle above two large blue crosses",
        "a large red square above two large blue crosses",
        "a small red square above three large blue crosses",
        "a small red square below two large blue crosses",
        "a small red square to the left of two large blue crosses",
        "two large blue crosses above a small red square",
        "a small red square",
    ]
    assert not any(meaning.parse(caption) == wanted for caption in wrong)
    right = "two big blue crosses below a little red square"
    assert meaning.exact_meaning([right, wrong[0]], [wanted, wanted]) == 0.5


def test_images_and_captions_repeat_themselves_from_the_seed(tmp_path):
    splits = {"train": 4, "validation": 2, "test": 3}
    made = shapes.write(tmp_path / "a", 1, splits)
    shapes.write(tmp_path / "b", 1, splits)
    shapes.write(tmp_path / "c", 2, splits)
    for split, number in splits.items():
        assert shapes.read_scenes(tmp_path / "a" / split) == made[split]
        found = load_captions(tmp_path / "a" / split)
        assert len(found) == number and all(len(one) == 5 for one in found["captions"])
        for path in (tmp_path / "a" / split).iterdir():
            assert path.read_bytes() == (tmp_path / "b" / split / path.name).read_bytes()
            assert path.read_bytes() != (tmp_path / "c" / split / path.name).read_bytes()


def test_splits_share_no_image(tmp_path):
    splits = {"train": 5, "validation": 5}
    made = shapes.write(tmp_path, 1, splits)
    assert made["train"] != made["validation"]


def test_the_drawing_shows_the_scene():
    scene = Scene(Group(1, "large", "red", "square"), "left", Group(2, "small", "white", "circle"))
    pixels = np.asarray(shapes.draw(scene, random.Random(1))).astype(int)  # (P, P, 3)
    red = (pixels[..., 0] > 150) & (pixels[..., 1] < 110)
    white = pixels.min(axis=2) > 180
    half = shapes.SIDE // 2
    assert red[:, :half].sum() > 130 and not red[:, half:].any()
    assert 2 * 30 < white[:, half:].sum() < 2 * 70 and not white[:, :half].any()


def test_shapes_neither_touch_nor_leave_the_image():
    source = random.Random(5)
    for scene in drawn(200):
        spots = [spot for group in shapes._places(scene, source) for spot in group]
        assert len(spots) == sum(group.count for group in scene.groups)
        for i, (x, y, radius) in enumerate(spots):
            reach = 1.2 * radius
            assert reach < x < shapes.SIDE - reach and reach < y < shapes.SIDE - reach
            for a, b, other in spots[:i]:
                assert np.hypot(x - a, y - b) > reach + 1.2 * other
