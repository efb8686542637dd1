"""Public data: from a server, a folder, a mirror; wrong, cut short and unreachable."""

from __future__ import annotations

import hashlib
import http.server
import io
import socket
import tarfile
import threading

import pytest

from seq2seq.errors import RunError, UsageError
from seq2seq.public_data import SETS, fetch, missing_hint
from seq2seq.public_data import sources as table
from seq2seq.public_data.sources import DataSet, File

TEXT = b"To be, or not to be\n" * 400
SHA = hashlib.sha256(TEXT).hexdigest()
SMALL = File("play.txt", "owner/texts", "abc123", "plays/hamlet.txt", SHA)


@pytest.fixture
def small(monkeypatch):
    """A set of one file, under the name ``small``."""
    monkeypatch.delenv("SEQ2SEQ_DATA", raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(SETS, "small", DataSet("a play", "public domain", (SMALL,)))
    monkeypatch.setitem(
        SETS, "repacked", DataSet("two files", "none stated", origin="github.com/owner/raw")
    )


@pytest.fixture
def server(monkeypatch):
    """A server on this machine, where ``files`` says what it has; ``cut`` ends a file early."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            content = files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if self.path in cut else content)

        def log_message(self, *_):
            pass

    files: dict[str, bytes] = {}
    cut: set[str] = set()
    asked: list[str] = []
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    running.files, running.cut, running.asked = files, cut, asked
    running.place = f"http://127.0.0.1:{running.server_port}"
    yield running
    running.shutdown()
    running.server_close()


def left(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_the_published_place_is_asked_and_the_file_is_whole(small, server, tmp_path, monkeypatch):
    server.files["/owner/texts/abc123/plays/hamlet.txt"] = TEXT
    monkeypatch.setattr(
        table.File, "url", property(lambda f: f"{server.place}/{f.repository}/{f.commit}/{f.path}")
    )
    told = []
    folder = fetch("small", tmp_path, retries=0, tell=told.append)
    assert folder == tmp_path / "small"
    assert (folder / "play.txt").read_bytes() == TEXT
    assert left(tmp_path) == ["play.txt"]
    assert (folder / "play.txt").stat().st_mode & 0o044 == folder.stat().st_mode & 0o044
    fetch("small", tmp_path, retries=0, tell=told.append)
    assert len(server.asked) == 1 and "there already" in told[-1]


def test_published_places_are_commits_of_public_repositories():
    for name in ("multi30k", "tinyshakespeare"):
        for file in SETS[name].files:
            assert file.url.startswith("https://raw.githubusercontent.com/")
            assert len(file.commit) == 40 and len(file.sha256) == 64
    assert len(SETS["multi30k"].files) == 6


@pytest.mark.parametrize(
    "layout",
    [
        "small/play.txt",
        "owner/texts/abc123/plays/hamlet.txt",
        "owner/texts/plays/hamlet.txt",
    ],
)
def test_both_layouts_of_a_mirror_and_of_a_folder(small, server, tmp_path, monkeypatch, layout):
    server.files[f"/mirror/{layout}"] = TEXT
    monkeypatch.setenv("SEQ2SEQ_DATA", f"{server.place}/mirror/")
    assert (fetch("small", tmp_path / "a", retries=0) / "play.txt").read_bytes() == TEXT
    path = tmp_path / "folder" / layout
    path.parent.mkdir(parents=True)
    path.write_bytes(TEXT)
    monkeypatch.setenv("SEQ2SEQ_DATA", str(tmp_path / "folder"))
    assert (fetch("small", tmp_path / "b") / "play.txt").read_bytes() == TEXT
    assert left(tmp_path / "b") == ["play.txt"]


def test_a_wrong_checksum_keeps_nothing(small, server, tmp_path):
    server.files["/small/play.txt"] = TEXT + b"more"
    with pytest.raises(RunError, match=f"not the file expected.*{SHA}.*nothing was kept"):
        fetch("small", tmp_path / "a", mirror=server.place, retries=0)
    assert left(tmp_path) == []
    (tmp_path / "folder" / "small").mkdir(parents=True)
    (tmp_path / "folder" / "small" / "play.txt").write_bytes(TEXT[:-1])
    with pytest.raises(RunError, match=r"folder/small/play\.txt: sha256 is .*, expected"):
        fetch("small", tmp_path / "a", mirror=str(tmp_path / "folder"))
    assert left(tmp_path / "a") == []


def test_a_download_that_breaks_off_keeps_nothing_and_can_be_repeated(small, server, tmp_path):
    server.files["/small/play.txt"] = TEXT
    server.cut.add("/small/play.txt")
    with pytest.raises(RunError, match=r"play\.txt: (cannot be fetched|is not the file)"):
        fetch("small", tmp_path, mirror=server.place, retries=0)
    assert left(tmp_path) == []
    server.cut.clear()
    fetch("small", tmp_path, mirror=server.place, retries=0)
    assert (tmp_path / "small" / "play.txt").read_bytes() == TEXT


def test_a_failed_download_is_tried_again(small, server, tmp_path, monkeypatch):
    import pooch.core

    server.files["/small/play.txt"] = TEXT
    server.cut.add("/small/play.txt")
    monkeypatch.setattr(pooch.core.time, "sleep", lambda _: server.cut.clear())
    fetch("small", tmp_path, mirror=server.place, retries=1)
    assert (tmp_path / "small" / "play.txt").read_bytes() == TEXT


def test_no_network(small, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(RunError, match=r"cannot be fetched .*set SEQ2SEQ_DATA to a folder"):
        fetch("small", tmp_path, mirror=f"http://127.0.0.1:{port}", retries=0)
    assert left(tmp_path) == []


def test_a_mirror_and_a_folder_without_the_file(small, server, tmp_path):
    with pytest.raises(RunError, match="the server answered 404"):
        fetch("small", tmp_path, mirror=server.place, retries=0)
    assert len(server.asked) == 3
    with pytest.raises(UsageError, match=r"play\.txt is not there; looked for .*small/play\.txt"):
        fetch("small", tmp_path, mirror=str(tmp_path))


def test_a_file_of_ones_own_is_not_overwritten(small, tmp_path):
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "play.txt").write_bytes(b"mine")
    with pytest.raises(UsageError, match="is another file than the published one"):
        fetch("small", tmp_path, mirror="http://127.0.0.1:9")
    assert (tmp_path / "small" / "play.txt").read_bytes() == b"mine"


def test_a_set_that_is_not_public_says_how_to_bring_it_or_is_copied(small, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"github\.com/owner/raw.*Put its files into .*repacked"):
        fetch("repacked", tmp_path)
    assert not (tmp_path / "repacked").exists()
    source = tmp_path / "shared" / "repacked" / "deep"
    source.mkdir(parents=True)
    (source / "a.txt").write_text("a")
    monkeypatch.setenv("SEQ2SEQ_DATA", str(tmp_path / "shared"))
    folder = fetch("repacked", tmp_path)
    assert (folder / "deep" / "a.txt").read_text() == "a"
    told = []
    fetch("repacked", tmp_path, tell=told.append)
    assert "there already" in told[0]


def test_archives_are_unpacked(tmp_path, monkeypatch):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        member = tarfile.TarInfo("train/metadata.jsonl")
        member.size = 2
        archive.addfile(member, io.BytesIO(b"{}"))
    (tmp_path / "from" / "flickr8k").mkdir(parents=True)
    (tmp_path / "from" / "flickr8k" / "train.tar").write_bytes(content.getvalue())
    folder = fetch("flickr8k", tmp_path / "data", mirror=str(tmp_path / "from"))
    assert (folder / "train" / "metadata.jsonl").read_text() == "{}"


def test_an_unknown_set_is_answered_with_those_there_are(tmp_path):
    with pytest.raises(UsageError, match=r"no such set; there are: tinyshakespeare, multi30k"):
        fetch("multi3k", tmp_path)


def test_a_missing_file_is_answered_with_the_command():
    assert missing_hint("data/multi30k/train.en.gz") == "; fetch it with: seq2seq data multi30k"
    assert missing_hint("/home/me/data/flickr8k/train").endswith("seq2seq data flickr8k")
    assert missing_hint("data/mine/train.en") == missing_hint("train.en") == ""
