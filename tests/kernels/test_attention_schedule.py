"""The rule for attention's tiles, and that what it picks compiles."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.attention.arguments import Problem
from kernels.attention.schedule import (
    Columns,
    Tile,
    Tiles,
    additive_tiles,
    asked_tiles,
    blocks,
    columns_price,
    columns_tiles,
    forward_price,
    keeps_scores,
    pick,
    use_tiles,
    widths,
)
from kernels.common.chip import CHIPS
from tests.kernels.test_compile import report, reports


def test_kernels_compile_without_spills_and_within_shared_memory(tmp_path):
    """Both forms, forward and backward, H 512, bfloat16."""
    found = reports(tmp_path / "report.json", "attention", "--shapes", "quick", "--dtype", "bf16")
    for arch, kernels in found.items():
        assert {(k["pass"], k["additive"]) for k in kernels} == {
            ("forward", True), ("scores", True), ("columns", True), ("forward", False),
            ("scores", False),
        }, arch  # fmt: skip
        # Products on tensor cores, but for the kernel that has none.
        assert all((k["mma"] + k["wgmma"] > 0) == (k["pass"] != "columns") for k in kernels), arch


def test_every_option_compiles(tmp_path):
    report(
        tmp_path / "report.json", "attention", "--arch", "90", "--shapes", "quick",
        "--dtype", "fp32", "--options",
    )  # fmt: skip


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 300),
    steps=st.integers(1, 3000),
    sources=st.integers(1, 3000),
    heads=st.integers(1, 8),
    size=st.integers(1, 3000),
    width=st.integers(1, 3000),
    bytes=st.sampled_from([2, 4]),
    additive=st.booleans(),
    arch=st.sampled_from(sorted(CHIPS)),
)
def test_the_rule_finds_tiles_for_any_size(arch, **sizes):
    problem, chip = Problem(**sizes), CHIPS[arch]
    tiles = pick(problem, chip)
    assert all(n & (n - 1) == 0 for tile in tiles for n in tile)
    assert all(n > 0 for tile in tiles for n in tile[: 5 if isinstance(tile, Tile) else 4])
    assert min(tiles.forward.sources, tiles.forward.width, tiles.scores.width) >= 16
    if problem.additive:
        offered = additive_tiles(tiles.forward.width, chip)
        prices = [forward_price(tile, problem, chip) for tile in offered]
        assert forward_price(tiles.forward, problem, chip) == min(prices) > 0
        prices = [columns_price(tile, problem, chip) for tile in columns_tiles(problem)]
        assert columns_price(tiles.columns, problem, chip) == min(prices) > 0


@pytest.mark.parametrize(("batch", "steps", "least"), [(64, 50, 8), (1, 1, 1), (32, 5, 1)])
def test_few_queries_take_small_tiles(batch, steps, least):
    problem = Problem(batch, steps, 50, 1, 512, 512, 2, True)
    chosen = pick(problem, CHIPS[90]).forward.steps
    assert chosen >= 8 if least == 8 else chosen <= 2


def test_one_query_is_shared_out_over_processors():
    few, many = (Problem(b, t, 50, 1, 1024, 1024, 2, True) for b, t in ((1, 1), (64, 50)))
    assert pick(few, CHIPS[90]).forward.part == 16
    assert pick(many, CHIPS[90]).forward.part == 0
    assert pick(few, CHIPS[90]).scores.part == 0  # the backward pass has one launch of it
    assert pick(few._replace(additive=False), CHIPS[90]).forward.part == 0


@pytest.mark.parametrize(
    ("sources", "narrow", "expected"),
    [
        (50, 0, [2]),
        (50, 4, [1, 1, 1]),  # 32, 16, 4
        (52, 4, [1, 1, 1]),
        (53, 4, [2, 0, 0]),  # a rest of 21 is a whole block
        (40, 4, [1, 0, 2]),
        (41, 4, [1, 1, 0]),
        (64, 4, [2, 0, 0]),
        (0, 4, [0, 0, 0]),
        (50, 8, [1, 3]),
        (57, 8, [2, 0]),
    ],
)
def test_the_last_blocks_are_narrower(sources, narrow, expected):
    tile = Tile(16, 32, 8, 64, 4, narrow)
    found = blocks(tile, sources)
    assert found == expected
    held = sum(n * width for n, width in zip(found, widths(tile), strict=True))
    assert held >= sources


def test_kept_scores_take_no_more_room_than_the_arguments():
    for steps, sources, size in ((50, 50, 512), (200, 200, 1024), (300, 300, 24), (5, 3000, 4)):
        problem = Problem(8, steps, sources, 2, size, size, 2, True)
        room = steps * size + 2 * sources * size
        assert keeps_scores(problem) == (steps * sources <= room), problem
        assert not keeps_scores(problem._replace(covered=True))  # needs tanh anyway
        assert not keeps_scores(problem._replace(additive=False))


def test_the_rule_can_be_overridden():
    problem = Problem(64, 50, 50, 1, 512, 512, 2, True)
    tiles = Tiles(Tile(4, 32, 4, 16, 4, 4), Tile(8, 16, 4, 32, 2), Columns(4, 2, 32, 1))
    assert asked_tiles() == ""
    with use_tiles(tiles):
        assert pick(problem, CHIPS[90], asked_tiles()) == tiles
    assert asked_tiles() == ""
