"""What a caption says, parsed back into a scene: the score that no paraphrase can fool."""

from __future__ import annotations

from collections.abc import Sequence

from phrases import NUMBERS, RELATION_WORDS, SIZE_WORDS
from scenes import COLOURS, OPPOSITE, RELATIONS, SHAPES, Group, Scene

_COUNTS = {word: count for count, words in NUMBERS.items() for word in words}
_SIZES = {word: size for size, words in SIZE_WORDS.items() for word in words}
_SINGULAR = {shape: shape for shape in SHAPES}
_PLURAL = {shape + ("es" if shape.endswith("s") else "s"): shape for shape in SHAPES}
_RELATIONS = {tuple(text.split()): name for name, texts in RELATION_WORDS.items() for text in texts}
# Around the groups and the relation, no other words may stand.
_FRAMES_OF_ONE = {(), ("there", "is"), ("there", "are"), ("the", "picture", "shows")}
_AFTER_ONE = {(), ("and", "nothing", "else")}
_VERBS = {("is",), ("are",)}


def parse(caption: str) -> Scene | None:
    """The scene that a caption describes; None when it is none of the grammar's sentences.

    Number has to agree ("two small red circle" is no sentence), in the verb, too.
    """
    words = tuple(caption.lower().replace(".", " ").split())
    items = _items(words)
    kinds = [type(item) for item in items]
    if Group not in kinds:
        return None
    if kinds.count(Group) == 1:
        return _single(items)
    return _related(items)


def exact_meaning(captions: Sequence[str], scenes: Sequence[Scene]) -> float:
    """Share of the captions that say what their scene is, in all of it."""
    pairs = zip(captions, scenes, strict=True)
    return sum(parse(caption) == scene for caption, scene in pairs) / max(1, len(scenes))


def _items(words: tuple[str, ...]) -> list[Group | str | tuple[str, ...]]:
    """Groups, relations (as text) and runs of other words, in order."""
    items: list[Group | str | tuple[str, ...]] = []
    place = 0
    while place < len(words):
        group, relation = _group(words[place:]), _relation(words[place:])
        if group:
            items.append(group[0])
            place += group[1]
        elif relation:
            items.append(relation[0])
            place += relation[1]
        else:
            if items and isinstance(items[-1], tuple):
                items[-1] += (words[place],)
            else:
                items.append((words[place],))
            place += 1
    return items


def _group(words: tuple[str, ...]) -> tuple[Group, int] | None:
    """The group that the words begin with, and of how many words it is made."""
    if not words or words[0] not in _COUNTS:
        return None
    count = _COUNTS[words[0]]
    nouns, be = (_SINGULAR, "is") if count == 1 else (_PLURAL, "are")
    if len(words) >= 4 and words[1] in _SIZES and words[2] in COLOURS and words[3] in nouns:
        return Group(count, _SIZES[words[1]], words[2], nouns[words[3]]), 4
    if (
        len(words) >= 6
        and words[1] in COLOURS
        and words[2] in nouns
        and words[3:5] == ("that", be)
        and words[5] in _SIZES
    ):
        return Group(count, _SIZES[words[5]], words[1], nouns[words[2]]), 6
    return None


def _relation(words: tuple[str, ...]) -> tuple[str, int] | None:
    for text, name in _RELATIONS.items():
        if words[: len(text)] == text:
            return name, len(text)
    return None


def _single(items: list) -> Scene | None:
    place = next(i for i, item in enumerate(items) if isinstance(item, Group))
    before, after = items[:place], items[place + 1 :]
    group = items[place]
    if any(isinstance(item, str) for item in items):
        return None
    before, after = before[0] if before else (), after[0] if after else ()
    if before not in _FRAMES_OF_ONE or after not in _AFTER_ONE or (before and after):
        return None
    return Scene(group) if _agrees(before, group) else None


def _related(items: list) -> Scene | None:
    frame: tuple[str, ...] = ()
    match items:
        case [Group() as a, str() as relation, Group() as b]:
            pass
        case [("there", _) as frame, Group() as a, str() as relation, Group() as b]:
            pass
        case [Group() as a, tuple() as frame, str() as relation, Group() as b] if frame in _VERBS:
            pass
        case [str() as relation, Group() as b, ("there", _) as frame, Group() as a]:
            pass
        case _:
            return None
    if frame and not _agrees(frame, a):
        return None
    if relation in RELATIONS:
        return Scene(a, relation, b)
    return Scene(b, OPPOSITE[relation], a)


def _agrees(frame: tuple[str, ...], group: Group) -> bool:
    """Whether the verb of "there is", "are" and the like fits the number."""
    verb = frame[-1] if frame else ""
    return verb not in ("is", "are") or verb == ("is" if group.count == 1 else "are")
