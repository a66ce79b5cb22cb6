"""A small Hugging Face Hub on this machine: repositories with branches and commits, pushed to and read over
HTTP.

It knows the calls that huggingface_hub makes for models (create, branch, validate-yaml, preupload, LFS,
commit; info, tree, resolve) and nothing else. Private repositories and all writing need the token.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_loopback"


class LoopbackHub:
    """`with LoopbackHub() as hub: ...` serves at `hub.url`; `hub.repositories` is what it holds.

    A repository is a dict: `private`, `branches` (name -> commit id) and `commits` (id -> {path: bytes}).
    """

    def __init__(self):
        self.repositories: dict[str, dict] = {}
        self.large: dict[str, bytes] = {}
        self.messages: list[str] = []
        self.requests: list[str] = []
        self.connections: list[socket.socket] = []
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> LoopbackHub:
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()
        return self

    def __exit__(self, *_) -> None:
        self.server.shutdown()
        self.server.server_close()
        for connection in self.connections:  # those kept alive
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def environment(self, home: str, token: str | None = TOKEN) -> dict[str, str]:
        """Variables for a process that is to use this Hub, with an empty cache in `home`."""
        result = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": home,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1",
        }
        return result | ({"HF_TOKEN": token} if token else {})

    def files(self, repository: str, revision: str = "main") -> dict[str, bytes]:
        found = self.repositories[repository]
        return found["commits"][found["branches"].get(revision, revision)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: LoopbackHub

    def setup(self):
        super().setup()
        self.hub.connections.append(self.connection)

    def do_GET(self):
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def log_message(self, *_):
        pass

    def _send(self, status: int, content: dict | list | bytes = b"", **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self) -> None:
        url = urlsplit(self.path)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        body = self._body()
        self.hub.requests.append(f"{self.command} {url.path}")
        writes = self.command in ("POST", "PUT") and parts[0] != "large"
        if writes and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._send(401, {"error": "Invalid username or password."})
        match parts:
            case ["api", "repos", "create"]:
                self._create(json.loads(body))
            case ["api", "validate-yaml"]:
                self._send(200, {"errors": [], "warnings": []})
            case ["large", oid]:
                if hashlib.sha256(body).hexdigest() != oid:
                    return self._send(400)
                self.hub.large[oid] = body
                self._send(200)
            case [owner, name, "info", "lfs", "objects", "batch"]:
                self._batch(json.loads(body))
            case ["api", "models", owner, name, *rest]:
                self._model(f"{owner}/{name}", rest, body, parse_qs(url.query))
            case [owner, name, "resolve", revision, *path]:
                self._resolve(f"{owner}/{name}", revision, "/".join(path))
            case _:
                self._send(404, {"error": f"{self.command} {self.path}"})

    def _create(self, request: dict) -> None:
        name = f"{request['organization'] or 'me'}/{request['name']}"
        answer = {"url": f"{self.hub.url}/{name}", "name": name, "id": name}
        if name in self.hub.repositories:
            return self._send(409, answer)
        first = {".gitattributes": b"*.safetensors filter=lfs\n"}
        self.hub.repositories[name] = {
            "private": request.get("visibility") == "private" or bool(request.get("private")),
            "branches": {"main": _commit_id(first, "")},
            "commits": {_commit_id(first, ""): first},
        }
        self._send(200, answer)

    def _batch(self, request: dict) -> None:
        objects = []
        for item in request["objects"]:
            item = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in self.hub.large:
                item["actions"] = {"upload": {"href": f"{self.hub.url}/large/{item['oid']}"}}
            objects.append(item)
        self._send(200, {"transfer": "basic", "objects": objects}, Content_Type="application/json")

    def _find(self, name: str, revision: str) -> tuple[dict, str] | None:
        """The repository and the commit, or None when an error was sent."""
        repository = self.hub.repositories.get(name)
        hidden = (
            repository and repository["private"] and self.headers.get("Authorization") != f"Bearer {TOKEN}"
        )
        if not repository or hidden:
            self._send(401, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return None
        commit = repository["branches"].get(revision, revision)
        if commit not in repository["commits"]:
            self._send(404, {"error": f"Invalid rev id: {revision}"}, X_Error_Code="RevisionNotFound")
            return None
        return repository, commit

    def _model(self, name: str, rest: list[str], body: bytes, query: dict) -> None:
        action, revision = rest[0] if rest else "revision", rest[1] if len(rest) > 1 else "main"
        if action == "branch":
            return self._branch(name, revision)
        found = self._find(name, revision)
        if found is None:
            return None
        repository, commit = found
        files = repository["commits"][commit]
        if action == "revision":
            siblings = [{"rfilename": path} for path in files]
            answer = {"id": name, "sha": commit, "private": repository["private"], "siblings": siblings}
            return self._send(200, answer)
        if action == "tree":
            return self._send(200, [_entry(path, content) for path, content in files.items()])
        if action == "preupload":
            answer = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return self._send(200, {"files": answer})
        if action == "commit":
            return self._commit(name, repository, revision, body)
        return self._send(404, {"error": self.path})

    def _branch(self, name: str, branch: str) -> None:
        if (found := self._find(name, "main")) is None:
            return
        repository, commit = found
        known = branch in repository["branches"]
        repository["branches"].setdefault(branch, commit)
        self._send(409 if known else 200, {})

    def _commit(self, name: str, repository: dict, branch: str, body: bytes) -> None:
        files = dict(repository["commits"][repository["branches"][branch]])
        summary = ""
        for line in body.decode().splitlines():
            operation = json.loads(line)
            value = operation["value"]
            match operation["key"]:
                case "header":
                    summary = value["summary"]
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.hub.large[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        commit = _commit_id(files, repository["branches"][branch])
        repository["commits"][commit] = files
        repository["branches"][branch] = commit
        self.hub.messages.append(f"{name}@{branch}: {summary}")
        url = f"{self.hub.url}/{name}/commit/{commit}"
        self._send(200, {"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})

    def _resolve(self, name: str, revision: str, path: str) -> None:
        if (found := self._find(name, revision)) is None:
            return
        repository, commit = found
        content = repository["commits"][commit].get(path)
        if content is None:
            return self._send(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
        etag = f'"{_entry(path, content)["oid"]}"'
        self._send(200, content, X_Repo_Commit=commit, ETag=etag, X_Linked_Size=str(len(content)))


def _entry(path: str, content: bytes) -> dict:
    oid = hashlib.sha256(content).hexdigest()
    entry = {"type": "file", "path": path, "size": len(content), "oid": oid[:40]}
    if path.endswith(".safetensors"):
        entry["oid"] = oid
        entry["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 130}
    return entry


def _commit_id(files: dict[str, bytes], parent: str) -> str:
    hasher = hashlib.sha1(parent.encode())
    for path, content in sorted(files.items()):
        hasher.update(path.encode() + hashlib.sha1(content).digest())
    return hasher.hexdigest()
