import os
import subprocess
import sys
from pathlib import Path

import pytest

from checkpoint.loopback_hub import Repository, loopback_hub
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


def test_a_directory_without_safetensors_is_known_by_its_torch_files(tmp_path):
    for name in ("config.json", "pytorch_model.bin"):
        (tmp_path / name).write_text(name)
    seen = [source_sha256(LocalModel(tmp_path), tmp_path)]
    (tmp_path / "pytorch_model.bin").write_text("changed")
    seen.append(source_sha256(LocalModel(tmp_path), tmp_path))
    (tmp_path / "pytorch_model.bin.index.json").write_text("{}")
    seen.append(source_sha256(LocalModel(tmp_path), tmp_path))
    (tmp_path / "model.safetensors").write_text("goes before")
    seen.append(source_sha256(LocalModel(tmp_path), tmp_path))
    assert len(set(seen)) == 4
    (tmp_path / "pytorch_model.bin").write_text("not read any more")
    assert source_sha256(LocalModel(tmp_path), tmp_path) == seen[-1]


FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": b"weights",
    "tokenizer.json": b"{}",
    "pytorch_model.bin": b"a pickle",
    "consolidated.safetensors": b"the same once more",
    "m.gguf": b"GGUF",
    "original/model.safetensors": b"elsewhere",
    "modeling_tiny.py": b"raise SystemExit",
}
TORCH_FILES = {
    "config.json": b'{"model_type": "llama"}',
    "pytorch_model-00001-of-00002.bin": b"one",
    "pytorch_model-00002-of-00002.bin": b"two",
    "pytorch_model.bin.index.json": b"{}",
    "training_args.bin": b"a pickle of a class",
    "tokenizer.model": b"pieces",
}


@pytest.fixture
def hub():
    with loopback_hub() as served:
        for name, files in (("tiny", FILES), ("torch", TORCH_FILES), ("words", {"README.md": b"soon"})):
            served.repositories[f"owner/{name}"] = Repository()
            served.repositories[f"owner/{name}"].commit(files)
        yield served


# Each word asks for the identity (?) or the files (!) of a repository; the answer to each is one line.
ASK_HUB = """
import sys, time
from pathlib import Path
from moyai.checkpoint.sources import resolve_model, source_sha256
from moyai.errors import SourceError
from moyai.progress import SilentProgress
from moyai.recipe.sources import parse_model
time.sleep = lambda seconds: None  # the hub's library waits before it tries again
for word in sys.argv[1:]:
    source = parse_model(word[1:])
    try:
        if word[0] == "?":
            print(source_sha256(source, Path()))
        else:
            print(resolve_model(source, Path(), SilentProgress()))
    except SourceError as error:
        print("refused:", error)
"""


def ask_hub(tmp_path, endpoint, *words, **settings):
    # The hub's settings are read when its library is imported: hence a process of its own.
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
    } | settings
    command = [sys.executable, "-c", ASK_HUB, *words]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def held(directory):
    directory = Path(directory)
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def only(files, *names):
    return {name: files[name] for name in names}


def test_a_hub_gives_safetensors_and_nothing_that_is_run(tmp_path, hub):
    identity, path = ask_hub(tmp_path, hub.url, "?owner/tiny", "!owner/tiny")
    assert held(path) == only(FILES, "config.json", "model.safetensors", "tokenizer.json")
    (commit,) = hub.repositories["owner/tiny"].commits
    assert identity == f"owner/tiny@{commit}"
    assert Path(path).name == commit


def test_a_hub_gives_torch_files_where_there_are_no_safetensors(tmp_path, hub):
    (path,) = ask_hub(tmp_path, hub.url, "!owner/torch")
    assert held(path) == {name: data for name, data in TORCH_FILES.items() if name != "training_args.bin"}


def test_a_repository_without_weights(tmp_path, hub):
    (answer,) = ask_hub(tmp_path, hub.url, "!owner/words")
    assert "owner/words@" in answer
    assert answer.endswith("has neither model.safetensors nor pytorch_model.bin, nor an index of either")


def test_a_branch_that_moves_between_the_question_and_the_download(tmp_path, hub):
    repository = hub.repositories["owner/tiny"]
    old, new = repository.branches["main"], FILES | {"model.safetensors": b"other weights"}

    def move(request):
        # The tree of the old commit is asked for after the branch has been looked up.
        if "/tree/" in request and repository.branches["main"] == old:
            repository.commit(new)

    hub.before = move
    identity, path = ask_hub(tmp_path, hub.url, "?owner/tiny", "!owner/tiny")
    assert repository.branches["main"] != old, "the branch did not move"
    assert identity == f"owner/tiny@{old}"
    assert held(path)["model.safetensors"] == b"weights"
    # Another process asks anew, and a commit is what it was.
    moved, path, pinned = ask_hub(tmp_path, hub.url, "?owner/tiny", "!owner/tiny", f"!owner/tiny@{old}")
    assert moved == f"owner/tiny@{repository.branches['main']}"
    assert held(path)["model.safetensors"] == b"other weights"
    assert held(pinned)["model.safetensors"] == b"weights"


def test_another_branch(tmp_path, hub):
    commit = hub.repositories["owner/tiny"].commit(FILES | {"model.safetensors": b"new"}, branch="v2")
    identity, path, none = ask_hub(tmp_path, hub.url, "?owner/tiny@v2", "!owner/tiny@v2", "!owner/tiny@v3")
    assert identity == f"owner/tiny@{commit}"
    assert held(path)["model.safetensors"] == b"new"
    assert none == "refused: owner/tiny has no revision 'v3'"


def test_repositories_that_are_gated_or_not_there(tmp_path, hub):
    hub.repositories["owner/gated"] = Repository(gated=True)
    hub.repositories["owner/gated"].commit(FILES)
    words = ["?owner/gated", "!owner/gated", "?owner/none", "!owner/none"]
    gated, gated_too, *none = ask_hub(tmp_path, hub.url, *words)
    assert gated == gated_too == "refused: owner/gated is gated"
    assert none == [f"refused: {hub.url} has no repository owner/none, or it is private"] * 2


def test_a_download_that_is_cut_off_is_told_and_not_used(tmp_path, hub):
    hub.repositories["owner/tiny"].cut["model.safetensors"] = 3
    (told,) = ask_hub(tmp_path, hub.url, "!owner/tiny")
    assert told.startswith(f"refused: {hub.url} does not give owner/tiny: ")
    assert not list((tmp_path / "hf").rglob("snapshots/*/model.safetensors"))
    # Without a connection what is there is still not taken for a whole model.
    (offline,) = ask_hub(tmp_path, hub.url, "!owner/tiny", HF_HUB_OFFLINE="1")
    assert offline.startswith("refused: ")
    hub.repositories["owner/tiny"].cut.clear()
    (path,) = ask_hub(tmp_path, hub.url, "!owner/tiny")
    assert held(path) == only(FILES, "config.json", "model.safetensors", "tokenizer.json")


def test_without_a_hub(tmp_path, hub):
    closed = "http://127.0.0.1:9"
    words = ["?owner/tiny", "!owner/tiny"]
    for settings in ({}, {"HF_HUB_OFFLINE": "1"}):
        for line in ask_hub(tmp_path, closed, *words, **settings):
            assert line.startswith(f"refused: {closed} does not give owner/tiny: ")
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert source_sha256(HubModel("owner/tiny", commit), tmp_path) == f"owner/tiny@{commit}"
    # What has been fetched once is used.
    fetched = ask_hub(tmp_path, hub.url, *words)
    for settings in ({}, {"HF_HUB_OFFLINE": "1"}):
        assert ask_hub(tmp_path, closed, *words, **settings) == fetched


def test_a_page_instead_of_a_hub(tmp_path, hub):
    hub.page = b"<html>Please log in to this network</html>"
    for line in ask_hub(tmp_path, hub.url, "?owner/tiny", "!owner/tiny"):
        assert line.startswith(f"refused: {hub.url} does not give owner/tiny: ")


def test_a_hub_that_does_not_say_which_commit(tmp_path, hub):
    hub.repositories["owner/odd"] = Repository({"main": FILES}, {"main": "main"})
    (told,) = ask_hub(tmp_path, hub.url, "?owner/odd")
    assert told == "refused: the hub says that owner/odd is at 'main', which is no commit"
