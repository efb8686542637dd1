"""Labelled sentences as text: columns, JSON lines, coloured for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from seq2seq.json_files import to_json
from seq2seq.tasks.tagging.columns import Block
from seq2seq.tasks.tagging.schemes import OUTSIDE, split_label
from seq2seq.tasks.tagging.tagged import Tagged

# ANSI: bold, and one of six colours for each type in the order in which types come up
_COLOURS = (36, 33, 32, 35, 34, 31)
_END = "\033[0m"


class ColumnWriter:
    """Sentences in columns: a word a line with its labels, a tab between them, an empty line after
    each sentence, above it ``# NAME = LABEL`` for the label of the whole."""

    def __init__(
        self, sentence_name: str | None, probabilities: bool = False, coloured: bool = False
    ) -> None:
        self._name, self._probabilities, self._coloured = sentence_name, probabilities, coloured
        self._colours: dict[str, int] = {}

    def write(self, tagged: Tagged, given: Block | None = None) -> str:
        """One sentence. ``given``: the columns that its labels are added to; its lines that are no
        word stand where they stood, those in columns with ``O`` or ``_`` for a label."""
        lines: list[str] = []
        whole = self._whole(tagged)
        others = list(given.others) if given else []
        for place in range(len(tagged.tokens) + 1):
            while others and others[0].place == place:
                other = others.pop(0)
                if whole and (other.fields or other.name == self._name):
                    lines, whole = lines + whole, []
                if other.fields:
                    lines.append("\t".join([*other.fields, *self._blank(tagged)]))
                elif other.name is None or other.name != self._name:
                    lines.append(other.text)
            lines, whole = lines + whole, []
            if place < len(tagged.tokens):
                lines.append(self._row(tagged, place, given))
        return "".join(line + "\n" for line in [*lines, ""])

    def _whole(self, tagged: Tagged) -> list[str]:
        """The comments that say what the label of the sentence is."""
        if tagged.sentence_label is None:
            return []
        lines = [f"# {self._name} = {tagged.sentence_label}"]
        if self._probabilities:
            lines.append(f"# {self._name}_probability = {tagged.sentence_probability:.4f}")
        return lines

    def _row(self, tagged: Tagged, place: int, given: Block | None) -> str:
        """The line of one word."""
        cells = list(given.rows[place]) if given else [tagged.tokens[place].text]
        marks = [labels[place] for labels in tagged.labels.values()]
        for name, labels in tagged.labels.items():
            cells.append(labels[place])
            if tagged.probabilities is not None and self._probabilities:
                cells.append(f"{tagged.probabilities[name][place]:.4f}")
        line = "\t".join(cells)
        return self._in_colour(line, marks) if self._coloured else line

    def _blank(self, tagged: Tagged) -> list[str]:
        """What stands for labels beside a line that is no word, so that lines stay equally wide."""
        cells = []
        for name in tagged.labels:
            cells.append(OUTSIDE if name in tagged.spans else "_")
            if self._probabilities:
                cells.append("_")
        return cells

    def _in_colour(self, line: str, labels: Sequence[str]) -> str:
        """The line in the colour of the first span that the word is in."""
        kind = next((split_label(x)[1] for x in labels if split_label(x)[0] != OUTSIDE), None)
        if kind is None:
            return line
        colour = self._colours.setdefault(kind, _COLOURS[len(self._colours) % len(_COLOURS)])
        return f"\033[1;{colour}m{line}{_END}"


def json_line(tagged: Tagged) -> str:
    """One sentence as a JSON object on a line; see ``Tagged.to_dict``."""
    return to_json(tagged.to_dict()) + "\n"
