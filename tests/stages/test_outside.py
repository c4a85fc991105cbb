"""What identifies the texts that a stage reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from moyai.errors import InputFileError
from moyai.recipe.record import file_sha256
from moyai.stages.outside import file_hashes


def test_a_glob_and_a_directory_stand_for_their_files(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.jsonl", "b.jsonl")]
    for path in paths:
        path.write_text(path.name)
    expected = {str(path): file_sha256(path) for path in paths}
    assert file_hashes([f"{tmp_path}/*.jsonl"]) == file_hashes([str(tmp_path)]) == file_hashes(map(str, paths)) == expected
    (tmp_path / "c.jsonl").write_text("")
    assert file_hashes([f"{tmp_path}/*.jsonl"]).keys() - expected == {str(tmp_path / "c.jsonl")}
    with pytest.raises(InputFileError, match="no file matches"):
        file_hashes([f"{tmp_path}/*.txt"])


def test_a_set_of_the_starter_pack_keeps_its_name() -> None:
    assert list(file_hashes(["starter:ja_text"])) == ["starter:ja_text"]
