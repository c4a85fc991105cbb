import json
import os
from pathlib import Path

import pytest

from moyai.checkpoint.header import header_bytes, tensor_bytes
from moyai.checkpoint.layout import expected_tensors
from moyai.errors import BusyError, FailedError
from moyai.progress import SilentProgress
from moyai.recipe.architecture import architecture_from_config
from moyai.recipe.load import parse_recipe
from moyai.recipe.record import Record
from moyai.run import single_stage
from moyai.run.lock import lock_directory
from moyai.run.runner import run_recipe
from moyai.stages.contract import Stage, StageContext, nothing_outside
from moyai.stages.table import STAGES

CONFIG = {
    "model_type": "llama",
    "vocab_size": 4,
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "tie_word_embeddings": True,
}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    directory = tmp_path / "base"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(CONFIG))
    tensors = [(name, "BF16", shape) for name, shape in expected_tensors(architecture_from_config(CONFIG)).items()]
    content = os.urandom(sum(tensor_bytes(dtype, shape) for _, dtype, shape in tensors))
    # no exponent of ones: no infinities
    content = bytes(byte & 0xBF for byte in content)
    (directory / "model.safetensors").write_bytes(header_bytes(tensors) + content)
    return directory


def recipe_for(base: Path, **settings: object):
    stage = {"upcycle": {"experts": 2, "active": 1, **settings}}
    return parse_recipe(json.dumps({"moyai": 1, "name": "upcycle", "base": str(base), "stages": [stage]}), where="here")


def upcycle(base: Path, out_dir: Path, **settings: object) -> Record:
    return single_stage.run_single_stage(
        recipe_for(base, **settings), out_dir=out_dir, cache_dir=base.parent / "cache", progress=SilentProgress()
    )


def test_the_base_is_read_where_it_lies_and_the_record_is_that_of_a_run(tmp_path: Path, base: Path) -> None:
    record = upcycle(base, tmp_path / "out")
    done = run_recipe(
        recipe_for(base), out_dir=tmp_path / "run", until=None, cache_dir=tmp_path / "cache", progress=SilentProgress()
    )
    assert record.fingerprint == done[-1][1].fingerprint
    written = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert written == (tmp_path / "run" / "01-upcycle" / "model.safetensors").read_bytes()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "config.json", "model.safetensors", "record.json", "tensor_origins.json"
    }  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "out", "run"]


def test_an_interrupted_call_is_gone_on_with_and_another_one_starts_anew(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def broken(settings: object, context: StageContext) -> dict[str, object]:
        found.append(sorted(path.name for path in context.out_dir.glob("part*")))
        (context.out_dir / f"part-{len(found)}").write_text("x")
        raise FailedError("it broke")

    with monkeypatch.context() as patch:
        patch.setitem(STAGES, "upcycle", lambda: Stage(broken, 2, nothing_outside))
        for settings in ({}, {}, {"experts": 3}, {"experts": 3}):
            with pytest.raises(FailedError):
                upcycle(base, tmp_path / "out", **settings)
        (base / "generation_config.json").write_text("{}")
        with pytest.raises(FailedError):
            upcycle(base, tmp_path / "out", experts=3)
    assert found == [[], ["part-1"], [], ["part-3"], []]
    assert not (tmp_path / "out").exists()
    upcycle(base, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "out"]


def test_two_at_a_time_are_refused(tmp_path: Path, base: Path) -> None:
    work_dir = tmp_path / ".out.moyai"
    work_dir.mkdir()
    with lock_directory(work_dir), pytest.raises(BusyError):
        upcycle(base, tmp_path / "out")
