"""The HTTP interface of the Hugging Face hub, as much of it as pushing and fetching use, on this
machine alone."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class Repository:
    files: dict[str, bytes] = field(default_factory=dict)
    private: bool = False
    gated: bool = False
    messages: list[str] = field(default_factory=list)

    @property
    def sha(self) -> str:
        """Another one for other files."""
        content = repr(sorted(self.files.items())) + repr(len(self.messages))
        return hashlib.sha1(content.encode()).hexdigest()


@dataclass
class FakeHub:
    """``repositories`` by kind and name ("models/user/name"); ``tokens``: token -> user."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    broken: bool = False  # answers 500 to everything


@contextmanager
def running():
    hub = FakeHub()

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self._dispatch()

    def do_GET(self):
        self._dispatch()

    def do_POST(self):
        self._dispatch()

    def _dispatch(self):
        size = int(self.headers.get("Content-Length") or 0)
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        body = self._chunks() if chunked else self.rfile.read(size)
        path = unquote(urlsplit(self.path).path)
        self.state.asked.append(f"{self.command} {path}")
        if self.state.broken:
            return self._refuse(500, "", "Internal Server Error")
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "repos"]:
            return self._create(json.loads(body))
        if parts[:2] == ["api", "validate-yaml"]:
            return self._json({"errors": [], "warnings": []})
        if parts[:2] == ["api", "whoami-v2"]:
            return self._json({"name": self._user}) if self._user else self._unknown()
        if parts[0] == "api":
            return self._api(parts[1], "/".join(parts[2:4]), parts[4:], body)
        kind = "datasets" if parts[0] == "datasets" else "models"
        parts = parts[1:] if kind == "datasets" else parts
        return self._file(f"{kind}/{parts[0]}/{parts[1]}", "/".join(parts[4:]))

    def _chunks(self):
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    @property
    def _user(self):
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        return self.state.tokens.get(token)

    def _create(self, values):
        if not self._user:
            return self._unknown()
        owner = values.get("organization") or self._user
        if owner != self._user:
            return self._refuse(403, "", "You don't have the rights to create a model there")
        name = f"{owner}/{values['name']}"
        url = f"{self.state.url}/{name}"
        if f"models/{name}" in self.state.repositories:
            return self._json({"url": url, "error": "You already created this model repo"}, 409)
        private = values.get("visibility") == "private" or bool(values.get("private"))
        self.state.repositories[f"models/{name}"] = Repository(private=private)
        return self._json({"url": url, "name": name})

    def _found(self, name):
        """The repository, or None where the hub would not show it."""
        found = self.state.repositories.get(name)
        hidden = found and found.private and self._user != name.split("/")[1]
        return None if hidden else found

    def _api(self, kind, name, rest, body):
        found = self._found(f"{kind}/{name}")
        if found is None:
            return self._unknown() if not self._user else self._missing()
        if rest[:1] == ["preupload"]:
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for one in json.loads(body)["files"]
            ]
            return self._json({"files": files})
        if rest[:1] == ["commit"]:
            return self._commit(name, found, body)
        if rest[:1] == ["revision"] and rest[1] not in ("main", found.sha):
            return self._refuse(404, "RevisionNotFound", "Invalid rev id")
        if rest[:1] == ["tree"]:
            return self._json([self._entry(path, found) for path in sorted(found.files)])
        if rest[:1] == ["paths-info"]:
            paths = json.loads(body)["paths"]
            return self._json([self._entry(path, found) for path in paths if path in found.files])
        siblings = [{"rfilename": path} for path in sorted(found.files)]
        return self._json(
            {
                "id": name, "sha": found.sha, "private": found.private, "gated": found.gated,
                "siblings": siblings, "tags": [], "downloads": 0, "likes": 0,
                "lastModified": "2026-01-01T00:00:00.000Z",
            }
        )  # fmt: skip

    @staticmethod
    def _entry(path, found):
        content = found.files[path]
        oid = hashlib.sha1(content).hexdigest()
        return {"type": "file", "path": path, "size": len(content), "oid": oid}

    def _commit(self, name, found, body):
        if self._user != name.split("/")[0]:
            return self._refuse(403, "", "You don't have write access")
        for line in body.splitlines():
            one = json.loads(line)
            if one["key"] == "header":
                found.messages.append(one["value"]["summary"])
            elif one["key"] == "file":
                found.files[one["value"]["path"]] = base64.b64decode(one["value"]["content"])
        url = f"{self.state.url}/{name}/commit/{found.sha}"
        return self._json({"success": True, "commitOid": found.sha, "commitUrl": url})

    def _file(self, name, path):
        found = self._found(name)
        if found is None:
            return self._unknown() if not self._user else self._missing()
        if found.gated and not self._user:
            return self._refuse(401, "GatedRepo", "Access to this model is restricted")
        if path not in found.files:
            return self._refuse(404, "EntryNotFound", "Entry not found")
        content = found.files[path]
        self._answer(
            200,
            content,
            {"X-Repo-Commit": found.sha, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'},
        )

    def _unknown(self):
        self._refuse(401, "RepoNotFound", "Repository not found")

    def _missing(self):
        self._refuse(404, "RepoNotFound", "Repository not found")

    def _refuse(self, status, code, message):
        head = {"X-Error-Code": code, "X-Error-Message": message} if code else {}
        self._answer(status, json.dumps({"error": message}).encode(), head)

    def _json(self, values, status=200):
        self._answer(status, json.dumps(values).encode(), {"Content-Type": "application/json"})

    def _answer(self, status, content, head):
        first, last = 0, len(content)
        if span := self.headers.get("Range"):
            start, _, end = span.removeprefix("bytes=").partition("-")
            first, last = int(start or 0), min(last, int(end) + 1 if end else last)
        self.send_response(206 if span else status)
        for name, value in head.items():
            self.send_header(name, value)
        if span:
            self.send_header("Content-Range", f"bytes {first}-{last - 1}/{len(content)}")
        self.send_header("Content-Length", str(last - first))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[first:last])
