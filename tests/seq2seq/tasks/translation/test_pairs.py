import csv
import gzip
import io
import json
import os

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from seq2seq.errors import RunError, UsageError
from seq2seq.tasks.translation import pair_files
from seq2seq.tasks.translation.config import DataConfig
from seq2seq.tasks.translation.pairs import load_pairs
from seq2seq.text.files import decode_lines, read_lines

PAIRS = [
    ("A dog.", "Ein Hund."),
    ('He said "hi', 'Er sagte „hi“, "ja'),
    ("", ""),
    ("naïve 漢字, semi; colon", "Straße\N{LINE SEPARATOR}x"),
]


@pytest.fixture
def load(tmp_path):
    """Loads a training set with a cache of its own."""

    def load(split="train", **options):
        options = {"cache_dir": str(tmp_path / "cache"), **options}
        return load_pairs(DataConfig(**options), split)

    return load


def rows(dataset):
    assert dataset.column_names == ["source", "target"]
    return list(zip(dataset["source"], dataset["target"], strict=True))


def store(path, data):
    """Write bytes, compressed where the name says so."""
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def as_csv(pairs):
    stream = io.StringIO()
    csv.writer(stream).writerows([("en", "de"), *pairs])
    return stream.getvalue()


def as_tsv(pairs):
    return "".join(f"{source}\t{target}\n" for source, target in [("en", "de"), *pairs])


def as_objects(pairs):
    return [{"id": i, "en": source, "de": target} for i, (source, target) in enumerate(pairs)]


def as_parquet(pairs):
    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(as_objects(pairs)), stream)
    return stream.getvalue()


FORMATS = {
    "tsv": as_tsv(PAIRS).encode(),
    "csv": as_csv(PAIRS).encode(),
    "json": json.dumps(as_objects(PAIRS)).encode(),
    "jsonl": "\n".join(map(json.dumps, as_objects(PAIRS))).encode(),
    "parquet": as_parquet(PAIRS),
}


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("name", FORMATS)
def test_files_with_both_columns(load, tmp_path, name, ending):
    path = store(tmp_path / f"pairs.{name}{ending}", FORMATS[name])
    assert rows(load(train=path)) == PAIRS
    swapped = load(train=path, source="de", target="en")
    assert rows(swapped) == [(target, source) for source, target in PAIRS]


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_parallel_text(load, tmp_path, ending):
    for side, lang in enumerate(("en", "de")):
        text = "".join(pair[side] + "\n" for pair in PAIRS)
        store(tmp_path / f"train.{lang}{ending}", text.encode())
    assert rows(load(train=f"{tmp_path}/train.{{lang}}{ending}")) == PAIRS


def test_the_rows_stay_on_disk(load, tmp_path):
    dataset = load(train=store(tmp_path / "a.tsv", FORMATS["tsv"]))
    assert dataset.cache_files and str(tmp_path / "cache") in dataset.cache_files[0]["filename"]


def test_a_file_is_read_once_and_again_when_it_changes(load, tmp_path, monkeypatch):
    path = tmp_path / "a.tsv"
    store(path, b"en\tde\na\tb\n")
    first = load(train=str(path))
    with monkeypatch.context() as patch:
        patch.setattr(pair_files, "decode_lines", lambda *_: pytest.fail("read once more"))
        second = load(train=str(path))
    assert rows(second) == rows(first) == [("a", "b")]
    assert second._fingerprint == first._fingerprint
    store(path, b"en\tde\nc\td\n")  # of the same size
    os.utime(path, ns=(0, 0))
    assert rows(load(train=str(path))) == [("c", "d")]
    assert rows(load(train=str(path), columns=["en", "de"])) == [("en", "de"), ("c", "d")]


@pytest.mark.parametrize("name", ["tsv", "csv"])
def test_columns_without_a_header(load, tmp_path, name):
    mark = {"tsv": "\t", "csv": ","}[name]
    text = "1\tx\ty\n2\tz\tw\n".replace("\t", mark)
    path = store(tmp_path / f"a.{name}", text.encode())
    dataset = load(train=path, columns=["id", "en", "de"])
    assert rows(dataset) == [("x", "y"), ("z", "w")]


def test_tsv_gives_quotes_no_meaning(load, tmp_path):
    path = store(tmp_path / "a.tsv", b'en\tde\n"a\t"b"\nc"\td\n')
    assert rows(load(train=path)) == [('"a', '"b"'), ('c"', "d")]


def test_csv_quotes_may_hold_commas_and_newlines(load, tmp_path):
    path = store(tmp_path / "a.csv", b'en,de\r\n"a, ""b""","c\nd"\r\n')
    assert rows(load(train=path)) == [('a, "b"', "c\nd")]


@pytest.mark.parametrize("name", ["json", "jsonl", "parquet"])
def test_a_nested_translation_column(load, tmp_path, name):
    values = [{"translation": {"en": source, "de": target}} for source, target in PAIRS]
    if name == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(values), tmp_path / "a.parquet")
    else:
        text = json.dumps(values) if name == "json" else "\n".join(map(json.dumps, values))
        (tmp_path / f"a.{name}").write_text(text)
    assert rows(load(train=str(tmp_path / f"a.{name}"))) == PAIRS


@pytest.mark.parametrize(
    "text",
    [
        '{"data": [{"en": "a", "de": "b"}]}',
        '{"en": "a", "de": "b"}',
        '\n{"en": "a", "de": "b"}\n\n',
    ],
)
def test_shapes_of_json(load, tmp_path, text):
    assert rows(load(train=store(tmp_path / "a.json", text.encode()))) == [("a", "b")]
    lines = '{"en": "a", "de": "b"}\n{"en": null, "de": "c\\u0000"}\n'
    path = store(tmp_path / "lines.json", lines.encode())
    assert rows(load(train=path)) == [("a", "b"), ("", "c ")]


def test_nul_bytes_become_spaces(load, tmp_path):
    store(tmp_path / "x.en", b"a\0b\n\0\n")
    store(tmp_path / "x.de", b"c\nd\n")
    assert rows(load(train=f"{tmp_path}/x.{{lang}}")) == [("a b", "c"), (" ", "d")]
    assert rows(load(train=store(tmp_path / "a.tsv", b"en\tde\na\0\tb\n"))) == [("a ", "b")]


def test_a_saved_or_plain_dataset_folder(load, tmp_path):
    data = datasets.Dataset.from_list(as_objects(PAIRS))
    datasets.DatasetDict({"train": data, "dev": data.select([0])}).save_to_disk(tmp_path / "saved")
    assert rows(load(hub=str(tmp_path / "saved"), train="train")) == PAIRS
    assert rows(load("validation", hub=str(tmp_path / "saved"), validation="dev")) == PAIRS[:1]
    (tmp_path / "plain").mkdir()
    store(tmp_path / "plain" / "train.jsonl", FORMATS["jsonl"])
    assert rows(load(hub=str(tmp_path / "plain"), train="train")) == PAIRS
    nested = [{"translation": {"en": source, "de": target}} for source, target in PAIRS]
    datasets.Dataset.from_list(nested).save_to_disk(tmp_path / "nested")
    assert rows(load(hub=str(tmp_path / "nested"), train="train")) == PAIRS


def test_wrong_uses_of_a_dataset_folder(load, tmp_path):
    data = datasets.Dataset.from_list(as_objects(PAIRS))
    datasets.DatasetDict({"train": data}).save_to_disk(tmp_path / "saved")
    hub = str(tmp_path / "saved")
    with pytest.raises(UsageError, match="no split 'test'; it has: train"):
        load("test", hub=hub, test="test")
    with pytest.raises(UsageError, match="no column 'fr'; it has: 'id', 'en', 'de'"):
        load(hub=hub, train="train", target="fr")
    with pytest.raises(UsageError, match="'id' is 0; expected text"):
        load(hub=hub, train="train", target="id")
    (tmp_path / "void").mkdir()
    with pytest.raises(UsageError, match=r"void.*check 'data.hub'"):
        load(hub=str(tmp_path / "void"), train="train")


BAD = {
    "a.tsv": [
        (b"", "no sentence pairs"),
        (b"en\tde\n", "no sentence pairs"),
        (b"en\tfr\na\tb\n", "no column 'de'; it has: 'en', 'fr'"),
        (b"en\tde\na\tb\nc\n", "a.tsv, line 3: 1 fields; expected 2 \\(en, de\\)"),
        (b"en\tde\na\tb\tc\n", "line 2: 3 fields; expected 2"),
        (b"en\tde\na\tb\xff\n", "line 2: not valid UTF-8: byte 0xff at offset 9 of the file"),
    ],
    "a.csv": [
        (b"", "no sentence pairs"),
        (b"en,de\na\n", "line 2: 1 fields"),
        (b'en,de\n"a,b\n', "a.csv, line 2: not valid CSV"),
        (b"en,de\n\xe9,b\n", "line 2: not valid UTF-8: byte 0xe9 at offset 6"),
    ],
    "a.json": [
        (b"", "the file is empty"),
        (b"[]", "no sentence pairs"),
        (b'[{"en": "a", "de": ', "a.json, line 1: not valid JSON"),
        (b"3", "expected a list of objects, found int"),
        (b'[{"en": "a"}]', "a.json, row 1: no column 'de'; it has: 'en'"),
        (b'[{"en": "a", "de": 3}]', "row 1: 'de' is 3; expected text"),
        (b'["a"]', "row 1: expected named columns, found 'a'"),
    ],
    "a.jsonl": [
        (b"", "no sentence pairs"),
        (b'{"en": "a", "de": "b"}\n{"en"\n', "a.jsonl, line 2: not valid JSON"),
        (b'{"en": "a", "de": "\xff"}\n', "line 1: not valid UTF-8: byte 0xff at offset 19"),
    ],
    "a.parquet": [
        (b"", "a.parquet: not a readable Parquet file"),
        (FORMATS["parquet"][:-20], "a.parquet: not a readable Parquet file"),
        (as_parquet([]), "no column 'en'"),
    ],
    "a.tsv.gz": [
        (b"en\tde\na\tb\n", "a.tsv.gz: not a whole gzip file"),
        (gzip.compress(FORMATS["tsv"])[:-12], "a.tsv.gz: not a whole gzip file"),
    ],
    "a.txt": [(b"a\n", "unknown format '.txt'; expected .tsv, .csv, .json.*{lang}")],
}


@pytest.mark.parametrize(
    ("name", "data", "message"), [(name, *case) for name, cases in BAD.items() for case in cases]
)
def test_malformed_files(load, tmp_path, name, data, message):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UsageError, match=message) as error:
        load(train=str(path))
    assert str(path) in str(error.value)


@pytest.mark.parametrize("counts", [(3, 2), (2, 3), (1, 0), (0, 5)])
def test_unequal_line_counts_name_both_files(load, tmp_path, counts):
    for lang, count in zip(("en", "de"), counts, strict=True):
        store(tmp_path / f"x.{lang}", b"a\n" * count)
    with pytest.raises(UsageError) as error:
        load(train=f"{tmp_path}/x.{{lang}}")
    expected = f"{tmp_path}/x.en has {counts[0]} lines and {tmp_path}/x.de has {counts[1]};"
    assert expected in str(error.value)


def test_invalid_utf8_in_parallel_text(load, tmp_path):
    store(tmp_path / "x.en", "é\nok\n".encode())
    store(tmp_path / "x.de", "é\nab\xe9\n".encode("latin-1").replace(b"\xe9\n", b"o\n", 1))
    with pytest.raises(UsageError, match=r"x\.de, line 2: not valid UTF-8: byte 0xe9 at offset 4"):
        load(train=f"{tmp_path}/x.{{lang}}")


def test_missing_files_and_splits(load, tmp_path):
    store(tmp_path / "x.en", b"a\n")
    with pytest.raises(UsageError, match=r"x\.de: no such file"):
        load(train=f"{tmp_path}/x.{{lang}}")
    with pytest.raises(UsageError, match=r"none\.tsv: no such file"):
        load(train=str(tmp_path / "none.tsv"))
    with pytest.raises(UsageError, match=r"'data.test' is not set"):
        load("test", train="x.tsv")


def test_empty_parallel_files(load, tmp_path):
    store(tmp_path / "x.en", b"")
    store(tmp_path / "x.de", b"")
    with pytest.raises(UsageError, match=r"x\.en and .*x\.de: no sentence pairs"):
        load(train=f"{tmp_path}/x.{{lang}}")


def test_a_cache_that_cannot_be_written(load, tmp_path):
    path = store(tmp_path / "a.tsv", FORMATS["tsv"])
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cache folder .*file/cache.*'data.cache_dir'"):
        load(train=path, cache_dir=str(tmp_path / "file" / "cache"))


def test_a_failed_read_leaves_no_cache_behind(load, tmp_path):
    path = tmp_path / "a.tsv"
    store(path, b"en\tde\na\tb\nc\n")
    for _ in range(2):
        with pytest.raises(UsageError, match="line 3"):
            load(train=str(path))


def test_no_progress_bar_without_a_terminal(load, tmp_path, capfd):
    load(train=store(tmp_path / "a.tsv", FORMATS["tsv"]))
    assert capfd.readouterr() == ("", "")
    assert datasets.is_progress_bar_enabled()


def test_read_lines_splits_at_newlines_only(tmp_path):
    text = "\ufeffa\r\n\u2028b\x85\x0c\x1e\n\n\rc\0d"
    expected = ["a", "\u2028b\x85\x0c\x1e", "", "\rc d"]
    assert read_lines(store(tmp_path / "a.txt", text.encode())) == expected
    assert read_lines(store(tmp_path / "a.txt.gz", (text + "\n").encode())) == expected
    assert read_lines(store(tmp_path / "b.txt", b"\n\n")) == ["", ""]


def test_read_lines_names_what_is_wrong(tmp_path):
    with pytest.raises(UsageError, match=r"none: cannot be read \(No such file"):
        read_lines(tmp_path / "none")
    with pytest.raises(UsageError, match=r"a\.txt: the file is empty"):
        read_lines(store(tmp_path / "a.txt", b""))
    with pytest.raises(UsageError, match=r"a\.txt, line 2: .* byte 0xff at offset 3 "):
        read_lines(store(tmp_path / "a.txt", b"a\nb\xff\n"))
    with pytest.raises(UsageError, match="cannot be read"):
        read_lines(tmp_path)
    (tmp_path / "b.gz").write_bytes(b"plain")
    with pytest.raises(UsageError, match=r"b\.gz: not a whole gzip file"):
        read_lines(tmp_path / "b.gz")


def test_decode_lines_of_any_stream():
    assert list(decode_lines(io.BytesIO(b"a\nb\r\n"), "standard input")) == ["a", "b"]
    with pytest.raises(UsageError, match="standard input, line 1"):
        list(decode_lines([b"\xc3\n"], "standard input"))
