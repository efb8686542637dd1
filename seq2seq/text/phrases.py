"""Words and phrases that a text must hold, or must not: constraints of a search, made of text.

A phrase stands in a text where its characters do, as whole words: before a phrase that begins with
a letter or digit, and after one that ends with one, there is none. How the vocabulary splits it
does not matter: what a hypothesis spells is read as text, in bytes. Case matters.

- A phrase that must come is offered to the search in the subwords that the tokenizer gives it;
  any other spelling counts, too. It has come once no letter follows: "Hunde" holds no "Hund".
- A phrase that must not come is stopped at the token that completes it, however it is spelt.
  A longer word is stopped, too, where a token ends inside it just there: "Hund" + "es". Stopping
  one token later would leave the search with nothing but the endings of that word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from seq2seq.errors import UsageError
from seq2seq.text.characters import to_subwords
from seq2seq.text.letters import in_word


@dataclass(frozen=True, eq=False)
class Spelling:
    """What each token of a vocabulary writes, in UTF-8 and as SentencePiece is given it
    (``characters.to_subwords``), spaces as spaces; b"" for special tokens."""

    pieces: Sequence[bytes]
    _completing: dict[tuple[bytes, bool], list[int]] = field(default_factory=dict, repr=False)

    def completing(self, rest: bytes, inside: bool) -> list[int]:
        """Tokens that write ``rest`` as the end of a word at their beginning; ``inside``: as
        whole words anywhere behind their beginning."""
        key = (rest, inside)
        if key not in self._completing:
            self._completing[key] = [
                token
                for token, piece in enumerate(self.pieces)
                if (
                    _stands(piece, rest, 1)
                    if inside
                    else piece.startswith(rest) and _ends_word(rest, piece[len(rest) :])
                )
            ]
        return self._completing[key]


class State(NamedTuple):
    """What one hypothesis has written."""

    tail: bytes  # its end, as long as the longest phrase and a character before it
    tokens: tuple[int, ...]  # its last tokens, as many as the longest form has, less one
    met: int  # a bit for each phrase that must come and has
    pending: int  # and for each that has, unless a letter follows


class Phrases:
    """The constraint of one source; see ``seq2seq.decoding.constraints.Constraint``.

    required: phrases that must come, each with its tokens; forbidden: those that must not.
    """

    def __init__(
        self, spelling: Spelling, required: dict[str, tuple[int, ...]], forbidden: Sequence[str]
    ) -> None:
        self._spelling = spelling
        self.required, self.forbidden = required, tuple(forbidden)
        self._forms = list(required.values())
        self._texts = [to_subwords(phrase).encode() for phrase in required]
        self._barred = [to_subwords(phrase).encode() for phrase in forbidden]
        longest = max(map(len, [*self._texts, *self._barred]), default=0)
        self._kept = longest + 4  # bytes of a character
        self._span = max(map(len, self._forms), default=1) - 1
        self._all = (1 << len(self._forms)) - 1
        self._pieces = spelling.pieces

    def first(self) -> State:
        return State(b"", (), 0, 0)

    def advance(self, state: State, token: int) -> State:
        piece = self._pieces[token] if token < len(self._pieces) else b""
        tokens = (*state.tokens, token)[-self._span :] if self._span else ()
        if not piece:
            return state._replace(tokens=tokens)
        met, pending = state.met, state.pending
        if pending:
            if not _letter_first(piece):
                met |= pending
            pending = 0
        text = state.tail + piece
        for bit, phrase in enumerate(self._texts):
            if not met >> bit & 1:
                start = max(0, len(state.tail) - len(phrase) + 1)
                where = _where(text, phrase, start)
                met |= where.inside << bit
                pending |= (where.at_end and not where.inside) << bit
        return State(text[-self._kept :], tokens, met, pending)

    def wanted(self, state: State) -> list[int]:
        return [
            form[self._begun(state, form)]
            for bit, form in enumerate(self._forms)
            if not (state.met | state.pending) >> bit & 1
        ]

    def barred(self, state: State) -> list[int]:
        tokens: list[int] = []
        for phrase in self._barred:
            tokens += self._spelling.completing(phrase, inside=True)
            for size in range(min(len(phrase) - 1, len(state.tail)) + 1):
                begun = state.tail[len(state.tail) - size :]
                before = state.tail[: len(state.tail) - size]
                if phrase.startswith(begun) and _begins_word(before, phrase):
                    tokens += self._spelling.completing(phrase[size:], inside=False)
        return tokens

    def progress(self, state: State) -> int:
        done, begun = 0, 0
        for bit, form in enumerate(self._forms):
            if (state.met | state.pending) >> bit & 1:
                done += len(form)
            else:
                begun = max(begun, self._begun(state, form))
        return done + begun

    def complete(self, state: State) -> bool:
        return state.met | state.pending == self._all

    @property
    def tokens(self) -> list[int]:
        """The tokens that the search is offered for all phrases that must come."""
        return [token for form in self._forms for token in form]

    @property
    def size(self) -> int:
        """Tokens of all that must come."""
        return sum(map(len, self._forms))

    def _begun(self, state: State, form: tuple[int, ...]) -> int:
        """How many tokens of ``form`` the hypothesis ends with, less than all."""
        for size in range(min(len(form) - 1, len(state.tokens)), 0, -1):
            if state.tokens[-size:] == form[:size]:
                return size
        return 0

    def check(self, beginning: Sequence[int], limit: int, where: str) -> None:
        """Raises UsageError, which ``where`` begins, for phrases that contradict each other or
        the ``beginning``, and for more of them than ``limit`` tokens can hold."""
        for phrase, form in self.required.items():
            if stopped := self._stopped(form):
                raise UsageError(
                    f"{where}: {phrase!r} must come, and cannot be written without {stopped!r}, "
                    "which must not; leave out one of them"
                )
        if stopped := self._stopped(beginning):
            raise UsageError(
                f"{where}: the given beginning holds {stopped!r}, which must not come; leave out "
                "one of them"
            )
        state = self.first()
        for token in beginning:
            state = self.advance(state, token)
        needed, room = self.size - self.progress(state), limit - len(beginning)
        if needed > room:
            raise UsageError(
                f"{where}: the phrases that must come take {needed} tokens, and there is room for "
                f"{room}; ask for fewer, or allow longer texts"
            )

    def _stopped(self, tokens: Sequence[int]) -> str | None:
        """The forbidden phrase that ``tokens`` write, if any."""
        for phrase in self.forbidden:
            one = Phrases(self._spelling, {}, [phrase])
            state = one.first()
            for token in tokens:
                if token in one.barred(state):
                    return phrase
                state = one.advance(state, token)
        return None


def missing(text: str, required: Sequence[str]) -> list[str]:
    """The phrases that do not stand in the text."""
    return [phrase for phrase in required if not _stands(text.encode(), phrase.encode(), 0)]


class _Where(NamedTuple):
    inside: bool  # stands somewhere, and what follows is no letter
    at_end: bool  # stands at the very end


def _where(text: bytes, phrase: bytes, start: int) -> _Where:
    """Where ``phrase`` stands in ``text``, from ``start`` on."""
    at_end = False
    at = text.find(phrase, start)
    while at >= 0:
        end = at + len(phrase)
        if _begins_word(text[:at], phrase):
            if end == len(text):
                at_end = True
                if not _letter(phrase[-4:], last=True):
                    return _Where(True, True)
            elif _ends_word(phrase, text[end:]):
                return _Where(True, False)
        at = text.find(phrase, at + 1)
    return _Where(False, at_end)


def _stands(text: bytes, phrase: bytes, start: int) -> bool:
    return any(_where(text, phrase, start))


def _begins_word(before: bytes, phrase: bytes) -> bool:
    return not (_letter(phrase[:4], last=False) and _letter(before[-4:], last=True))


def _ends_word(phrase: bytes, after: bytes) -> bool:
    return not (_letter(phrase[-4:], last=True) and _letter_first(after))


def _letter_first(text: bytes) -> bool:
    return _letter(text[:4], last=False)


@lru_cache(maxsize=1 << 16)
def _letter(part: bytes, last: bool) -> bool:
    """Whether the last or first character of a few bytes is a letter or digit. Part of a
    character, which bytes spell one by one, counts as one."""
    if not part:
        return False
    if last:
        begin = len(part) - 1
        while begin and 0x80 <= part[begin] < 0xC0:
            begin -= 1
        part = part[begin:]
    try:
        text = part.decode()
    except UnicodeDecodeError as error:
        text = part[: error.start].decode()
    return not text or in_word(text[-1 if last else 0])
