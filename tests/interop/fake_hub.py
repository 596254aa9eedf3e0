"""A hub on the loopback interface: what huggingface_hub asks for, repositories in memory, and faults on request."""

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep
from urllib.parse import unquote, urlsplit

TOKEN = "hf_loopback"


@dataclass
class Repository:
    """Commits, oldest first, each a dict of file name -> bytes; branches and tags by name."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    private: bool = False
    messages: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        before = self.commits.get(self.refs.get(branch, self.refs.get("main", "")), {})
        sha = hashlib.sha1(f"{len(self.commits)}{branch}".encode()).hexdigest()
        self.commits[sha] = before | files
        self.refs[branch] = sha
        return sha

    def resolve(self, revision: str) -> str | None:
        return self.refs.get(revision) or (revision if revision in self.commits else None)


class FakeHub(ThreadingHTTPServer):
    """Attributes are faults: each is off at first.

    breaks: how many downloads of weights are cut off after half of what was asked for.
    lies: the weights are other bytes of the same number.
    silent: seconds before any answer.
    status, headers: of every answer.
    garbage: API answers are not JSON.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.reset()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def reset(self) -> None:
        self.repositories.clear()
        self.requests: list[str] = []
        self.ranges: list[str] = []
        self.lfs: dict[str, bytes] = {}
        self.breaks, self.lies, self.silent, self.status, self.garbage = 0, False, 0.0, None, False
        self.headers: dict[str, str] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address) -> None:
        """The client may hang up while it waits."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeHub

    def log_message(self, *words) -> None: ...

    def do_HEAD(self) -> None:
        self.serve()

    def do_GET(self) -> None:
        self.serve()

    def do_POST(self) -> None:
        self.serve()

    def do_PUT(self) -> None:
        self.serve()

    def serve(self) -> None:
        hub, parts = self.server, [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub.requests.append(f"{self.command} /{'/'.join(parts)}")
        sleep(hub.silent)
        if hub.status is not None:
            return self.answer(hub.status, {"error": "no"}, hub.headers)
        if hub.garbage and parts[0] == "api":
            return self.answer(200, b"<html>Log in to the network of this hotel</html>")
        if parts[0] == "lfs":
            hub.lfs[parts[1]] = body
            return self.answer(200, {})
        if parts[:2] == ["api", "validate-yaml"]:
            return self.answer(200, {"errors": [], "warnings": []})
        if self.command != "GET" and self.command != "HEAD" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(
                401, {"error": "who?"}, {"X-Error-Message": "Invalid credentials in Authorization header"}
            )
        if parts == ["api", "repos", "create"]:
            wanted = json.loads(body)
            name = f"{wanted['organization']}/{wanted['name']}"
            if name in hub.repositories:
                return self.answer(409, {"error": "exists", "url": f"{hub.address}/{name}"})
            hub.repositories[name] = Repository(private=wanted.get("visibility") == "private")
            hub.repositories[name].commit({".gitattributes": b"*.safetensors filter=lfs\n"})
            return self.answer(200, {"url": f"{hub.address}/{name}"})
        if parts[0] == "api":
            return self.api("/".join(parts[2:4]), parts[4:], body)
        return self.files("/".join(parts[:2]).removesuffix(".git"), parts[2:], body)

    def repository(self, name: str) -> Repository | None:
        found = self.server.repositories.get(name)
        if found is None or (found.private and self.headers.get("Authorization") != f"Bearer {TOKEN}"):
            self.answer(401, {"error": "Invalid username or password."}, {"X-Error-Code": "RepoNotFound"})
            return None
        return found

    def api(self, name: str, parts: list[str], body: bytes) -> None:
        repository = self.repository(name)
        if repository is None:
            return None
        kind, revision = [*parts, "revision", "main"][:2] if parts else ("revision", "main")
        if kind == "preupload":
            files = [
                {"path": file["path"], "shouldIgnore": False, "oid": None}
                | {"uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular"}
                for file in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": files})
        if kind == "branch":
            repository.refs.setdefault(revision, repository.refs["main"])
            return self.answer(200, {})
        sha = repository.resolve(revision)
        if sha is None:
            return self.answer(404, {"error": "no such revision"}, {"X-Error-Code": "RevisionNotFound"})
        if kind == "commit":
            lines = [json.loads(line) for line in body.splitlines()]
            added = {}
            for line in lines:
                value = line["value"]
                if line["key"] == "header":
                    repository.messages.append(value["summary"])
                elif line["key"] == "file":
                    added[value["path"]] = base64.b64decode(value["content"])
                else:
                    added[value["path"]] = self.server.lfs[value["oid"]]
            sha = repository.commit(added, revision)
            url = f"{self.server.address}/{name}/commit/{sha}"
            return self.answer(200, {"success": True, "commitOid": sha, "commitUrl": url})
        siblings = [{"rfilename": file, "size": len(data)} for file, data in repository.commits[sha].items()]
        return self.answer(200, {"id": name, "modelId": name, "sha": sha, "private": False, "siblings": siblings})

    def files(self, name: str, parts: list[str], body: bytes) -> None:
        repository = self.repository(name)
        if repository is None:
            return None
        if parts[-1] == "batch":
            upload = [
                {**each, "actions": {"upload": {"href": f"{self.server.address}/lfs/{each['oid']}"}}}
                for each in json.loads(body)["objects"]
            ]
            return self.answer(200, {"objects": upload})
        _, revision, file = parts
        sha = repository.resolve(revision)
        if sha is None:
            return self.answer(404, {}, {"X-Error-Code": "RevisionNotFound"})
        if file not in repository.commits[sha]:
            return self.answer(404, {}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha})
        return self.send_file(repository.commits[sha][file], sha, file)

    def send_file(self, data: bytes, sha: str, name: str) -> None:
        hub, is_weights = self.server, name.endswith(".safetensors")
        if hub.lies and is_weights:
            data = data[:-8] + bytes(8)
        tag = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        first = 0
        if wanted := self.headers.get("Range"):
            hub.ranges.append(wanted)
            first = int(wanted.removeprefix("bytes=").partition("-")[0])
            tag["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        self.send_response(206 if first else 200)
        for key, value in tag.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data) - first))
        self.end_headers()
        if self.command == "HEAD":
            return
        if hub.breaks and is_weights:
            hub.breaks -= 1
            self.wfile.write(data[first : first + (len(data) - first) // 2])
            self.close_connection = True
            return
        self.wfile.write(data[first:])

    def answer(self, status: int, value: dict | bytes, headers: dict[str, str] | None = None) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for key, text in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(key, text)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
