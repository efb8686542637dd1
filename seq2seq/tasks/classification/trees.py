"""Trees with a label for each phrase, one a line: (3 (2 It) (4 (2 's) (4 great)))."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from seq2seq.errors import UsageError

_MARK = re.compile(r"[()]|[^\s()]+")
_BRACKETS = {"-LRB-": "(", "-RRB-": ")", "-lrb-": "(", "-rrb-": ")"}


@dataclass
class Tree:
    label: str
    words: list[str] = field(default_factory=list)  # all below, from left to right
    parts: list[Tree] = field(default_factory=list)

    def labelled(self) -> tuple[str, list[str]]:
        return self.label, self.words


def read_tree(line: str, where: str) -> Tree:
    """Raises UsageError for brackets that do not match and phrases without words."""
    root = Tree("")
    stack = [root]
    marks = _MARK.findall(line)
    expects_label = False
    for mark in marks:
        if expects_label:
            if mark in "()":
                raise UsageError(f"{where}: no tree: a bracket without label")
            stack.append(Tree(mark))
            expects_label = False
        elif mark == "(":
            expects_label = True
        elif mark == ")":
            if len(stack) == 1 or not stack[-1].words:
                raise UsageError(f"{where}: no tree: brackets do not match, or hold no word")
            done = stack.pop()
            stack[-1].parts.append(done)
            stack[-1].words += done.words
        elif len(stack) == 1:
            raise UsageError(f"{where}: no tree: {mark!r} stands outside of all brackets")
        else:
            stack[-1].words.append(_BRACKETS.get(mark, mark))
    if len(stack) > 1 or expects_label or len(root.parts) != 1:
        raise UsageError(f"{where}: no tree: brackets do not match; expected one tree a line")
    return root.parts[0]


def phrases_of(tree: Tree) -> list[tuple[str, list[str]]]:
    """The tree and every phrase below it, (label, words)."""
    found, waiting = [], [tree]
    while waiting:
        one = waiting.pop()
        found.append(one.labelled())
        waiting += reversed(one.parts)
    return found
