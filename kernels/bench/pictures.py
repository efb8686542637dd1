"""Pictures of what was measured: a group of bars for each shape, a bar for each contender."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Bar(NamedTuple):
    shape: str  # the label of its group
    contender: str
    value: float


def possible() -> bool:
    """Whether there can be pictures; says so if not."""
    try:
        import matplotlib
    except ImportError:
        print("no pictures: matplotlib is not installed")
        return False
    matplotlib.use("Agg")
    return True


def draw(bars: list[Bar], path: Path, label: str, title: str = "") -> None:
    """Writes a PNG; ``label``: of the logarithmic axis of values. Needs matplotlib."""
    from matplotlib import pyplot
    from matplotlib.ticker import LogFormatter

    path.parent.mkdir(parents=True, exist_ok=True)
    shapes = list(dict.fromkeys(bar.shape for bar in bars))
    contenders = list(dict.fromkeys(bar.contender for bar in bars))
    figure, axes = pyplot.subplots(figsize=(max(8, 1.6 * len(shapes)), 4.5), layout="constrained")
    width = 0.8 / max(1, len(contenders))
    for k, contender in enumerate(contenders):
        own = [bar for bar in bars if bar.contender == contender]
        places = [shapes.index(bar.shape) + k * width for bar in own]
        axes.bar(places, [bar.value for bar in own], width, label=contender)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")  # 0.1, not 10^-1
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))  # few on long axes
    axes.set_ylabel(label)
    axes.set_xticks([i + 0.4 - width / 2 for i in range(len(shapes))], shapes)
    axes.set_title(title)
    # Above the bars, not over them.
    figure.legend(loc="outside upper center", fontsize="small", ncols=max(1, len(contenders)))
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
