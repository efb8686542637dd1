"""Phrases that translations must hold and must not, by Python and by command."""

from __future__ import annotations

import dataclasses
import json

import pytest

from seq2seq.errors import UsageError
from seq2seq.text.phrases import missing
from tests.seq2seq.tasks.translation.models import ENGLISH, GERMAN, make_translator

REQUIRE = [["katze"], [], ["matte", "ein hund"]]
FORBID = [["hund"], ["katze", "die"], []]


@pytest.mark.parametrize("beam_size", [1, 3, 8])
def test_translations_hold_what_they_must(translator, beam_size):
    options = {"beam_size": beam_size, "n_best": 1}
    found = translator.translate_nbest(ENGLISH, require=REQUIRE, forbid=FORBID, **options)
    plain = translator.translate(ENGLISH, beam_size=beam_size)
    assert plain == GERMAN
    for text, required, forbidden, (one,) in zip(ENGLISH, REQUIRE, FORBID, found, strict=True):
        assert one.missing == missing(one.text, required) == []
        assert missing(one.text, forbidden) == forbidden
        (alone,) = translator.translate_nbest([text], require=required, forbid=forbidden, **options)
        assert alone[0].text == one.text
        assert alone[0].score == pytest.approx(one.score, rel=1e-4)
    everywhere = translator.translate(ENGLISH, require=["im baum"], beam_size=beam_size)
    assert not any(missing(text, ["im baum"]) for text in everywhere)
    same = translator.translate(ENGLISH, require=["e"], forbid=["Ω"], beam_size=beam_size)
    assert all("e" in text.split() for text in same)


def test_a_blank_text_holds_nothing_and_says_so(translator):
    found = translator.translate_nbest(["", "a dog"], require=["hund"], n_best=1)
    assert (found[0][0].text, found[0][0].missing) == ("", ["hund"])
    assert found[1][0].missing == []


def test_contradictions_are_errors_by_line(translator):
    with pytest.raises(UsageError, match=r"line 8: 'hund' must come, .* 'hund', which must not"):
        translator.translate_nbest(
            ["a", "b"], require=[[], ["hund"]], forbid=["hund"], first_line=7
        )
    with pytest.raises(UsageError, match="line 2: the given beginning holds 'hund'"):
        translator.translate(["a", "b"], prefixes=["", "ein hund"], forbid=["hund"])
    many = [" ".join(GERMAN)] * 3 + ["katze heim " * 5]
    with pytest.raises(UsageError, match=r"line 1: .* take \d+ tokens, and there is room for \d+"):
        translator.translate(["a dog"], require=many)
    with pytest.raises(UsageError, match=r"line 1: 'Ω' must come and holds letters .*: 'Ω'"):
        translator.translate(["a dog"], require=["Ω"])
    with pytest.raises(UsageError, match="a phrase is blank"):
        translator.translate(["a dog"], forbid=[" "])
    with pytest.raises(UsageError, match="3 lists of phrases in require for 1 texts"):
        translator.translate(["a dog"], require=[["a"], ["b"], ["c"]])
    with pytest.raises(UsageError, match="require is one text; expected a list"):
        translator.translate(["a dog"], require="hund")
    with pytest.raises(UsageError, match="expected at most 64"):
        translator.translate(["a dog"], forbid=[f"w{i}" for i in range(65)])


def test_by_command(run, saved, translator):
    text = "\n".join(ENGLISH).encode()
    status, out, err = run("translate", saved, "--require", "katze", "--forbid", "hund", stdin=text)
    assert (status, err) == (0, "")
    assert out.splitlines() == translator.translate(ENGLISH, require=["katze"], forbid=["hund"])

    rows = [f"{a}\t{'|'.join(b)}\t{' | '.join(c)}" for a, b, c in zip(ENGLISH, REQUIRE, FORBID)]  # noqa: B905
    expected = translator.translate(ENGLISH, require=REQUIRE, forbid=FORBID)
    columns = ("--columns", "text,require,forbid")
    _, out, _ = run("translate", saved, *columns, stdin="\n".join(rows).encode())
    assert out.splitlines() == expected
    objects = [
        json.dumps({"text": a, "require": b, "forbid": c})
        for a, b, c in zip(ENGLISH, REQUIRE, FORBID, strict=True)
    ]
    _, out, _ = run("translate", saved, "--json-lines", stdin="\n".join(objects).encode())
    assert out.splitlines() == expected
    given = json.dumps({"text": ENGLISH[0], "prefix": "zwei"}).encode()
    _, out, _ = run("translate", saved, "--json-lines", stdin=given)
    assert out.splitlines() == translator.translate(ENGLISH[:1], prefixes="zwei")


def test_what_is_missing_is_said(run, saved):
    arguments = ("--require", "hund", "--json")
    status, out, err = run("translate", saved, *arguments, stdin=b"\na dog\n")
    assert (status, err) == (0, "")  # a blank line has an empty translation, as it should
    first, second = map(json.loads, out.splitlines())
    assert first["translations"][0]["missing"] == ["hund"]
    assert "missing" not in second["translations"][0]


@pytest.mark.parametrize(
    ("arguments", "line", "message"),
    [
        (["--columns", "text,require"], "a\tb\tc", "line 1 has 3 columns; --columns expects 2"),
        (["--columns", "require"], "", "'text' among them"),
        (["--columns", "text,colour"], "", "expected different ones of text, prefix"),
        (["--columns", "text,prefix"], "text\tprefix", "line 1 names the columns"),
        (["--json-lines"], "{", "line 1: no JSON"),
        (["--json-lines"], "[1]", "expected an object with 'text'"),
        (["--json-lines"], '{"text": "a", "requires": []}', "unknown key 'requires'"),
        (["--json-lines"], '{"text": "a", "forbid": "b"}', "'forbid' is 'b'; expected a list"),
        (["--json-lines"], '{"text": "\\ud800"}', "half a character"),
        (["--samples", "2", "--require", "a"], "", "--require does not go with --samples"),
        (["--mbr", "4", "--forbid", "a"], "", "--forbid does not go with --mbr"),
        (["--beam-groups", "2", "--beam-size", "3"], "a dog", "--beam-size is 3, which 2 groups"),
        (["--samples", "2", "--min-length", "3"], "", "--min-length is 3; sampling has no"),
        (["--beam-groups", "2", "--beam-size", "1"], "", "--beam-groups goes with --beam-size"),
        (["--length-penalty", "2", "--beam-size", "1"], "", "--length-penalty goes with --beam-"),
        (["--diversity", "2"], "", "translate: --diversity goes with --beam-groups"),
    ],
)  # fmt: skip
def test_wrong_use(run, saved, arguments, line, message):
    status, _, err = run("translate", saved, *arguments, stdin=f"{line}\n".encode())
    assert status == 2 and message in err, err


def test_a_blank_line_of_json_is_a_blank_text(run, saved):
    lines = b'{"text": "a dog"}\n\n \t\n{"text": ""}\n{"text": "a dog"}\n'
    status, out, err = run("translate", saved, "--json-lines", stdin=lines)
    found = out.split("\n")
    assert (status, err) == (0, "") and len(found) == 6
    assert found[0] == found[4] != "" and found[1:4] == ["", "", ""]


def test_diverse_beams(run, saved, translator):
    """Groups give other translations; the first group is a plain beam."""
    settings = {"beam_size": 4, "n_best": 4}
    diverse = dataclasses.replace(translator.config.decoding, beam_groups=4, diversity=8.0)
    plain = translator.translate_nbest(["a bird sleeps"], **settings)[0]
    apart = translator.translate_nbest(["a bird sleeps"], decoding=diverse, **settings)[0]
    firsts = [{one.tokens[0] for one in found} for found in (plain, apart)]
    assert len(firsts[1]) > len(firsts[0])
    greedy = translator.translate("a bird sleeps", beam_size=1)
    assert greedy in [one.text for one in apart]
    arguments = ("--beam-size", 4, "--n-best", 4, "--beam-groups", 4, "--diversity", 8)
    _, out, _ = run("translate", saved, *arguments, stdin=b"a bird sleeps\n")
    assert [line.split("\t")[2] for line in out.splitlines()] == [one.text for one in apart]


def test_constraints_in_diverse_beams(run, saved):
    arguments = ("--beam-size", 4, "--n-best", 4, "--beam-groups", 2, "--require", "katze")
    status, out, _ = run("translate", saved, *arguments, stdin=b"a bird sleeps\n")
    found = [line.split("\t")[2] for line in out.splitlines()]
    assert status == 0 and found and len(set(found)) == len(found)  # of two groups that agree one
    assert not any(missing(text, ["katze"]) for text in found)


def test_constraints_and_no_attention():
    plain = make_translator(attention="none")
    found = plain.translate_nbest(ENGLISH, require=["katze"], n_best=1, beam_size=4)
    assert all(missing(one.text, ["katze"]) == one.missing == [] for (one,) in found)
