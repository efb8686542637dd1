"""The order of the features of series: that of the training data, by their names."""

from __future__ import annotations

from seq2seq.errors import UsageError


def feature_order(names: list[str], wanted: tuple[str, ...] | None, where: str) -> list[int]:
    """Places of the wanted names, of all where nothing is wanted."""
    twice = next((name for n, name in enumerate(names) if name in names[:n]), None)
    if twice is not None:
        raise UsageError(f"{where}: two features are named {twice!r}; give one another name")
    if wanted is None:
        return list(range(len(names)))
    missing = [name for name in wanted if name not in names]
    extra = [name for name in names if name not in wanted]
    if missing or extra:
        found = f"no feature {', '.join(map(repr, missing))}" if missing else ""
        found += "; " if missing and extra else ""
        found += f"{', '.join(map(repr, extra))} was not in training" if extra else ""
        raise UsageError(f"{where}: {found}; the model reads: {', '.join(wanted)}")
    return [names.index(name) for name in wanted]
