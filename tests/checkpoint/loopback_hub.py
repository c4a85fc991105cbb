"""A hub of models and data sets on this machine's loopback: as much of its HTTP interface as a download asks for.

    GET  /api/models/OWNER/NAME[/revision/REVISION]        which commit it is, and its files
    GET  /api/models/OWNER/NAME/tree/COMMIT[/DIRECTORY]    names and sizes
    HEAD /OWNER/NAME/resolve/COMMIT/PATH                   size and hash of a file, and the commit again
    GET  /OWNER/NAME/resolve/COMMIT/PATH                   its content, or a range of it

A data set's begin with /api/datasets and /datasets.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

API = re.compile(
    r"/api/(models|datasets)/(?P<repo>[^/]+/[^/]+)(/(revision|tree)/(?P<revision>[^/]+)(/(?P<directory>.+))?)?"
)
FILE = re.compile(r"/(datasets/)?(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")


@dataclass
class Repository:
    """Commits and where the branches stand."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    """Everybody may look, as on the hub, and nobody gets a file."""
    cut: dict[str, int] = field(default_factory=dict)
    """Path -> the byte at which the connection breaks."""

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Add a commit and move the branch there."""
        content = json.dumps({name: hashlib.sha1(data).hexdigest() for name, data in files.items()})
        name = hashlib.sha1(content.encode()).hexdigest()
        self.commits[name] = files
        self.branches[branch] = name
        return name


@dataclass
class Hub:
    """What the server serves, and what it was asked for."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    """Method and path, in order."""
    before: Callable[[str], None] = lambda request: None
    """Called before each answer."""
    page: bytes = b""
    """Sent in answer to everything, as a network does that wants a login first."""
    url: str = ""


@contextmanager
def loopback_hub() -> Iterator[Hub]:
    """Serve a hub while the block runs."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, hub: Hub, *args: object) -> None:
        self.hub = hub
        super().__init__(*args)  # type: ignore[arg-type]  # what the server passes on

    def do_HEAD(self) -> None:
        self.respond()

    def do_GET(self) -> None:
        self.respond()

    def respond(self) -> None:
        path = self.path.split("?")[0]
        request = f"{self.command} {path}"
        self.hub.requests.append(request)
        self.hub.before(request)
        if self.hub.page:
            self.send(200, self.hub.page, {"Content-Type": "text/html"})
            return
        match = API.fullmatch(path) or FILE.fullmatch(path)
        repository = self.hub.repositories.get(match["repo"]) if match else None
        if match is None or repository is None:
            self.refuse(404, "RepoNotFound")
            return
        wanted = match["revision"] or "main"
        commit = repository.branches.get(wanted, wanted)
        if commit not in repository.commits:
            self.refuse(404, "RevisionNotFound")
        elif match.re is API:
            files = repository.commits[commit]
            listing = "/tree/" in path
            answer = self.tree(files, match["directory"] or "") if listing else self.info(match["repo"], files, commit)
            self.send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})
        elif repository.gated:
            self.refuse(403, "GatedRepo")
        elif match["path"] not in repository.commits[commit]:
            self.refuse(404, "EntryNotFound")
        else:
            content = repository.commits[commit][match["path"]]
            self.send_file(content, commit, repository.cut.get(match["path"], len(content)))

    def refuse(self, status: int, code: str) -> None:
        self.send(status, b"", {"X-Error-Code": code})

    def info(self, repo: str, files: dict[str, bytes], commit: str) -> object:
        return {"id": repo, "sha": commit, "siblings": [{"rfilename": name} for name in files]}

    def tree(self, files: dict[str, bytes], directory: str) -> object:
        inside = f"{directory}/" if directory else ""
        found: dict[str, object] = {}
        for path, content in files.items():
            top = inside + path.removeprefix(inside).split("/")[0]
            if not path.startswith(inside):
                continue
            if path == top or "recursive=true" in self.path.lower():
                oid = hashlib.sha1(content).hexdigest()
                found[path] = {"type": "file", "path": path, "size": len(content), "oid": oid}
            else:
                found[top] = {"type": "directory", "path": top, "oid": hashlib.sha1(top.encode()).hexdigest()}
        return list(found.values())

    def send_file(self, content: bytes, commit: str, cut: int) -> None:
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        start, status = 0, 200
        stop = len(content)
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, status = int(asked[1]), 206
            stop = min(stop, int(asked[2]) + 1) if asked[2] else stop
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        self.send(status, content[start:stop], headers, max(0, cut - start))

    def send(self, status: int, content: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[:cut])
        # Without keep-alive the connection ends here, before its time if the content was cut.

    def log_message(self, *args: object) -> None:
        pass
