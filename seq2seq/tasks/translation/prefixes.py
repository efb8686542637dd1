"""Given beginnings of translations, as subwords."""

from __future__ import annotations

from collections.abc import Sequence

from seq2seq.arguments import check_text, listed
from seq2seq.errors import UsageError
from seq2seq.text.sentencepiece import Tokenizer

MAX_PREFIX_TOKENS = 1024


def encode_prefixes(
    prefixes: str | Sequence[str], texts: int, tokenizer: Tokenizer, first_line: int
) -> list[list[int]]:
    """The subwords of each of ``texts`` prefixes; one str is the prefix of all.

    A letter that the vocabulary lacks is spelt in bytes where the tokenizer has byte fallback.
    Raises UsageError where it has none, naming the letters, and for another number of prefixes.
    """
    given = [prefixes] * texts if isinstance(prefixes, str) else listed("prefixes", prefixes)
    if len(given) != texts:
        raise UsageError(f"{len(given)} prefixes for {texts} texts; expected one for each")
    encoded = []
    for number, prefix in enumerate(given, start=first_line):
        check_text(f"prefix {number}", prefix)
        ids = tokenizer.encode(prefix)
        if tokenizer.unk in ids:
            raise UsageError(
                f"line {number}: the prefix holds letters that the model's vocabulary lacks: "
                f"{unknown_letters(prefix, tokenizer)}; leave them out, or train with "
                "'tokenizer.byte_fallback: true'"
            )
        if len(ids) > MAX_PREFIX_TOKENS:
            raise UsageError(
                f"line {number}: the prefix has {len(ids)} subwords; expected at most "
                f"{MAX_PREFIX_TOKENS}"
            )
        encoded.append(ids)
    return encoded


def unknown_letters(text: str, tokenizer: Tokenizer) -> str:
    """The letters of ``text`` that the vocabulary lacks, ten at most, for an error."""
    letters = [c for c in dict.fromkeys(text) if tokenizer.unk in tokenizer.encode(c)]
    return ", ".join(map(repr, letters[:10]))
