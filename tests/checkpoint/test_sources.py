import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from moyai.checkpoint.sources import resolve_model, source_sha256
from moyai.errors import SourceError
from moyai.progress import SilentProgress
from moyai.recipe.record import file_sha256
from moyai.recipe.sources import GgufModel, HubModel, LocalModel, WheelModel


def resolve(source, cache_dir):
    return resolve_model(source, cache_dir, SilentProgress())


def test_a_gguf_file(tmp_path):
    path = tmp_path / "m.gguf"
    for ask in (resolve, source_sha256):
        with pytest.raises(SourceError, match=r"GGUF file .*m\.gguf does not exist"):
            ask(GgufModel(path), tmp_path)
    path.write_bytes(b"GGUF")
    assert resolve(GgufModel(path), tmp_path) == path
    assert source_sha256(GgufModel(path), tmp_path) == file_sha256(path)


def test_a_directory_is_known_by_its_config_weights_and_tokenizer(tmp_path):
    directory = tmp_path / "model"
    with pytest.raises(SourceError, match=r"checkpoint directory .*model does not exist"):
        resolve(LocalModel(directory), tmp_path)
    directory.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "README.md"):
        (directory / name).write_text(name)
    assert resolve(LocalModel(directory), tmp_path) == directory
    seen = [source_sha256(LocalModel(directory), tmp_path)]
    (directory / "README.md").write_text("other words")
    assert source_sha256(LocalModel(directory), tmp_path) == seen[0]
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (directory / name).write_text("changed")
        seen.append(source_sha256(LocalModel(directory), tmp_path))
    (directory / "tokenizer.json").rename(directory / "vocab.json")
    seen.append(source_sha256(LocalModel(directory), tmp_path))
    assert len(set(seen)) == 5


def test_a_wheel_is_known_by_its_pin(tmp_path):
    assert source_sha256(WheelModel("p", "1", "m.gguf", "a" * 64), tmp_path) == f"{'a' * 64}/m.gguf"
    with pytest.raises(SourceError, match="not pinned"):
        source_sha256(WheelModel("p", "1", "m.gguf", None), tmp_path)


COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": b"weights",
    "tokenizer.json": b"{}",
    "pytorch_model.bin": b"a pickle",
    "consolidated.safetensors": b"the same once more",
    "m.gguf": b"GGUF",
    "original/model.safetensors": b"elsewhere",
}


class Hub(BaseHTTPRequestHandler):
    """As much of a hub as a download asks for; OWNER/gated is gated."""

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body):
        path = self.path.split("?")[0]
        headers, content, status = {}, b"", 200
        if "/gated" in path or "/none" in path:
            status = 403 if "/gated" in path else 404
            headers["X-Error-Code"] = "GatedRepo" if "/gated" in path else "RepoNotFound"
        elif path.startswith("/api/models/owner/tiny/tree"):
            content = json.dumps(
                [
                    {"type": "file", "path": n, "size": len(c), "oid": f"{i:040}"}
                    for i, (n, c) in enumerate(FILES.items())
                ]
            ).encode()
        elif path.startswith("/api/models/owner/tiny"):
            siblings = [{"rfilename": name} for name in FILES]
            content = json.dumps({"id": "owner/tiny", "sha": COMMIT, "siblings": siblings}).encode()
        else:
            name = path.split(f"/resolve/{COMMIT}/")[-1]
            content = FILES[name]
            headers |= {"ETag": f'"{list(FILES).index(name):040}"', "X-Repo-Commit": COMMIT}
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


ASK_HUB = """
import sys
from pathlib import Path
from moyai.checkpoint.sources import resolve_model, source_sha256
from moyai.errors import SourceError
from moyai.progress import SilentProgress
from moyai.recipe.sources import HubModel
for repo in sys.argv[1:]:
    for ask in (lambda: resolve_model(HubModel(repo, None), Path(), SilentProgress()),
                lambda: source_sha256(HubModel(repo, None), Path())):
        try:
            print(ask())
        except SourceError as error:
            print("refused:", error)
"""


def ask_hub(tmp_path, endpoint, *repos, **settings):
    # The hub's settings are read when its library is imported: hence a process of its own.
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
    } | settings
    command = [sys.executable, "-c", ASK_HUB, *repos]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_hub_gives_safetensors_and_no_pickles(tmp_path, hub):
    path, identity, *refused = ask_hub(tmp_path, hub, "owner/tiny", "owner/gated", "owner/none")
    snapshot = Path(path)
    assert {str(item.relative_to(snapshot)) for item in snapshot.rglob("*")} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }
    assert (snapshot / "model.safetensors").read_bytes() == b"weights"
    assert identity == f"owner/tiny@{COMMIT}"
    assert refused[:2] == ["refused: owner/gated is gated"] * 2
    assert all("has no repository owner/none" in line for line in refused[2:])


def test_without_a_hub(tmp_path):
    closed = "http://127.0.0.1:9"
    for line in ask_hub(tmp_path, closed, "owner/tiny") + ask_hub(
        tmp_path, closed, "owner/tiny", HF_HUB_OFFLINE="1"
    ):
        assert line.startswith(f"refused: {closed} does not give owner/tiny: ")
    assert source_sha256(HubModel("owner/tiny", COMMIT), tmp_path) == f"owner/tiny@{COMMIT}"
