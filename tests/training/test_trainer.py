"""The training loop: the split into micro-batches does not matter, a resumed run is the undisturbed one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from moyai.errors import DiskSpaceError
from moyai.forest.model import ForestModel
from moyai.progress import SilentProgress
from moyai.recipe.settings import PretrainSettings, SftSettings
from moyai.training.optimizer import freeze
from moyai.training.pretrain import pretrain_rows
from moyai.training.sft import TokenizedConversation, sft_rows
from moyai.training.trainer import tokens_done, train
from tiny import tiny_model


def settings(**changes: object) -> PretrainSettings:
    values = {"corpus": {"a": 0.7, "b": 0.3}, "tokens": 256, "batch_tokens": 64, "row_tokens": 32, "precision": "float32"}
    return PretrainSettings.model_validate(values | changes)


def documents(seed: int = 0) -> dict[str, list[list[int]]]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: [torch.randint(3, 320, (length,), generator=generator).tolist() for length in (17, 40, 9, 25)]
        for name in ("a", "b")
    }


def each_alone(sources: dict[str, list[list[int]]]) -> dict[str, dict[str, list[list[int]]]]:
    return {name: {name: source} for name, source in sources.items()}


def run(work_dir: Path, chosen: PretrainSettings, *, family: str = "mixtral", num_base_rows: int = 300) -> ForestModel:
    model = tiny_model(family)
    if family == "mixtral":
        model.set_experts_implementation("one_by_one")
    forest_model = ForestModel(model, precision=torch.float32, num_base_rows=num_base_rows)
    freeze(forest_model, chosen)
    rows = pretrain_rows(each_alone(documents()), chosen)
    tokens_done(work_dir, work_dir.with_suffix(".jsonl"))
    with SilentProgress().bar("train", total=1, unit="tokens") as bar:
        train(forest_model, rows, chosen, work_dir=work_dir, log_path=work_dir.with_suffix(".jsonl"), bar=bar)
    return forest_model


def log(work_dir: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in work_dir.with_suffix(".jsonl").read_text().splitlines()]


def parameters(model: ForestModel) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_one_row_of_64_equals_two_of_32_in_step_and_loss(tmp_path: Path) -> None:
    # The same documents, none longer than a row, so that only the packing differs.
    pool = {"a": [[5 + n] * 4 + [100 + n] * 4 for n in range(64)]}
    trained = []
    for row_tokens in (32, 64):
        chosen = settings(corpus={"a": 1.0}, tokens=64, row_tokens=row_tokens, router_balance=0.0, optimizer="adamw")
        model = ForestModel(tiny_model("llama"), precision=torch.float32)
        rows = pretrain_rows(each_alone(pool), chosen)
        work_dir = tmp_path / str(row_tokens)
        with SilentProgress().bar("train", total=1, unit="tokens") as bar:
            train(model, rows, chosen, work_dir=work_dir, log_path=work_dir.with_suffix(".jsonl"), bar=bar)
        trained.append(log(work_dir)[0])
    first_log, second_log = trained
    assert first_log["loss"] == pytest.approx(second_log["loss"], abs=1e-5)
    assert first_log["grad_norm"] == pytest.approx(second_log["grad_norm"], rel=1e-5)


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
def test_a_run_cut_short_ends_like_an_undisturbed_one(
    tmp_path: Path, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(optimizer=optimizer, save_every_seconds=1e-9)
    whole = run(tmp_path / "whole", chosen)
    losses = [line["loss"] for line in log(tmp_path / "whole")]
    assert len(losses) == 4

    class KilledError(Exception):
        pass

    original = ForestModel.forward
    calls = 0

    def dies(self: ForestModel, row: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 6:  # in the middle of the third step
            raise KilledError
        return original(self, row)  # type: ignore[arg-type]

    monkeypatch.setattr(ForestModel, "forward", dies)
    with pytest.raises(KilledError):
        run(tmp_path / "cut", chosen)
    assert len(log(tmp_path / "cut")) == 2
    # a state that the crash left half-written has no mark and is thrown away
    (tmp_path / "cut" / "checkpoint-3").mkdir()
    monkeypatch.setattr(ForestModel, "forward", original)
    resumed = run(tmp_path / "cut", chosen)
    assert [line["loss"] for line in log(tmp_path / "cut")] == losses
    for name, parameter in parameters(whole).items():
        assert torch.equal(parameter, parameters(resumed)[name]), name


def test_a_state_that_the_disk_cannot_hold_is_told_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(save_every_seconds=1e-9)
    weights = sum(parameter.nbytes for parameter in tiny_model("mixtral").parameters())
    full = shutil.disk_usage(tmp_path)._replace(free=2 * weights)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: full)
        with pytest.raises(DiskSpaceError, match="free"):
            run(tmp_path / "full", chosen)
    assert not list((tmp_path / "full").glob("checkpoint-*"))
    run(tmp_path / "full", chosen)
    assert len(log(tmp_path / "full")) == 4


def test_only_new_rows_move_and_nothing_else_has_optimiser_state(tmp_path: Path) -> None:
    chosen = settings(trainable="new-embeddings", learning_rate=1e-2)
    before = tiny_model("mixtral").get_input_embeddings().weight.detach()
    model = run(tmp_path / "new", chosen)
    assert torch.equal(model.embedding.base_VD, before[:300])
    assert not torch.equal(model.embedding.new_VD, before[300:])
    moving = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert moving == ["embedding.new_VD"]


def test_rates_are_the_settings(tmp_path: Path) -> None:
    chosen = settings(tokens=640, learning_rate=1e-2, warmup=0.2, final_rate=0.1)
    run(tmp_path / "run", chosen)
    rates = [line["learning_rate"] for line in log(tmp_path / "run")]
    assert rates[0] == pytest.approx(5e-3)
    assert max(rates) == rates[2] == pytest.approx(1e-2)
    assert rates[-1] == pytest.approx(1e-2 * (1 - 0.9 * 7 / 8))


def test_loss_falls_and_balance_is_logged(tmp_path: Path) -> None:
    run(tmp_path / "run", settings(tokens=2048, learning_rate=5e-3))
    lines = log(tmp_path / "run")
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.5
    assert 1.9 < lines[-1]["balance_loss"] < 4.0


def test_sft_trains_on_the_assistants_words_only_and_counts_what_is_left_out() -> None:
    short = TokenizedConversation([1, 2, 3, 4], [0.0, 0.0, 1.0, 1.0])
    too_long = TokenizedConversation([1] * 99, [1.0] * 99)
    silent = TokenizedConversation([1, 2], [0.0, 0.0])
    chosen = SftSettings.model_validate({"data": "x", "epochs": 2, "batch_tokens": 32, "row_tokens": 32})
    rows = sft_rows({"x": [short, too_long, silent]}, chosen)
    targets = [want.target for row in rows.trees for tree in row for want in tree.wanted]
    assert targets == [3, 4, 3, 4]
    assert rows.sources["x"]["left_out_too_long_or_without_assistant"] == 2
    assert rows.sources["x"]["epochs"] == 2


def test_mixture_keeps_its_shares_and_counts_epochs() -> None:
    rows = pretrain_rows(each_alone(documents()), settings(tokens=4096))
    tokens = {name: source["tokens"] for name, source in rows.sources.items()}
    assert sum(tokens.values()) == 4096 == rows.num_tokens
    assert tokens["a"] / 4096 == pytest.approx(0.7, abs=0.02)
    assert rows.sources["a"]["epochs"] == pytest.approx(tokens["a"] / 91, abs=0.001)
