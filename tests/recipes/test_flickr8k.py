"""Unpacking Flickr8k: whole or not at all, and nothing outside the folder."""

from __future__ import annotations

import io
import json
import tarfile

import prepare_flickr8k as flickr8k
import pytest
from PIL import Image

from seq2seq.errors import UsageError


def archive(path, members):
    with tarfile.open(path, "w") as stream:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            stream.addfile(info, io.BytesIO(data))
    return path


def photograph():
    memory = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(memory, "jpeg")
    return memory.getvalue()


def split(prefix):
    row = {"file_name": "a.jpg", "captions": ["A red square .", "Red ."]}
    return {
        f"{prefix}a.jpg": photograph(),
        f"{prefix}metadata.jsonl": json.dumps(row).encode() + b"\n",
    }


@pytest.mark.parametrize("prefix", ["train/", ""])
def test_unpack(tmp_path, prefix):
    folder = tmp_path / "data" / "train"
    flickr8k.unpack(archive(tmp_path / "train.tar", split(prefix)), folder)
    assert sorted(path.name for path in folder.iterdir()) == ["a.jpg", "metadata.jsonl"]
    assert [path.name for path in folder.parent.iterdir()] == ["train"]
    assert flickr8k.summary(folder) == "1 photographs, 2 captions"


def test_what_is_there_stays(tmp_path):
    folder = tmp_path / "train"
    folder.mkdir()
    flickr8k.unpack(tmp_path / "missing.tar", folder)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("name", ["../evil.jpg", "/tmp/evil.jpg", "train/../../evil.jpg"])
def test_nothing_outside_the_folder(tmp_path, name):
    source = archive(tmp_path / "train.tar", {**split("train/"), name: b"x"})
    folder = tmp_path / "data" / "train"
    try:
        flickr8k.unpack(source, folder)
    except UsageError as error:
        assert "outside" in str(error)
        assert not folder.exists()
    assert not list(tmp_path.glob("**/evil.jpg"))


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    with tarfile.open(tmp_path / "train.tar", "w") as stream:
        link = tarfile.TarInfo("train/a.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        stream.addfile(link)
    with pytest.raises(UsageError, match=r"train\.tar"):
        flickr8k.unpack(tmp_path / "train.tar", tmp_path / "data" / "train")
    assert not list((tmp_path / "data").iterdir())


def test_damaged_and_missing_archives(tmp_path):
    source = archive(tmp_path / "train.tar", {"train/a.jpg": bytes(5000)})
    source.write_bytes(source.read_bytes()[:2000])
    with pytest.raises(UsageError, match="not a whole tar archive"):
        flickr8k.unpack(source, tmp_path / "data")
    assert not (tmp_path / "data").exists()
    with pytest.raises(UsageError, match="no such file"):
        flickr8k.unpack(tmp_path / "none.tar", tmp_path / "data")
