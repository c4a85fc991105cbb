import shutil
from pathlib import Path

import pytest

from moyai.errors import InputFileError
from moyai.generation.gguf_cache import gguf_for
from moyai.gguf.header import read_header
from moyai.progress import SilentProgress

SILENT = SilentProgress()


def test_a_gguf_is_itself(mixtral_gguf: Path, tmp_path: Path) -> None:
    assert gguf_for(mixtral_gguf, tmp_path / "cache", SILENT) == mixtral_gguf
    assert not (tmp_path / "cache").exists()


def test_a_checkpoint_is_exported_once(mixtral: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    path = gguf_for(mixtral, cache, SILENT)
    made = path.stat().st_mtime_ns
    assert read_header(path).metadata["general.name"] == "mixtral"
    moved = shutil.copytree(mixtral, tmp_path / "elsewhere")
    assert gguf_for(moved, cache, SILENT) == path
    assert path.stat().st_mtime_ns == made
    assert list(cache.iterdir()) == [path]


def test_another_content_is_another_file(mixtral: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    before = gguf_for(mixtral, cache, SILENT)
    changed = shutil.copytree(mixtral, tmp_path / "changed")
    weights = changed / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1
    weights.write_bytes(content)
    assert gguf_for(changed, cache, SILENT) != before


def test_neither_file_nor_directory(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"neither a .gguf file nor a checkpoint directory"):
        gguf_for(tmp_path / "none.gguf", tmp_path, SILENT)
