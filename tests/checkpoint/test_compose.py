import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForCausalLM

from moyai.checkpoint.compose import ExpertModel, Gates, plan_compose
from moyai.checkpoint.model_directory import write_model
from moyai.checkpoint.reader import CheckpointReader
from moyai.checkpoint.router import RouterDraw
from moyai.errors import InputFileError
from moyai.progress import SilentProgress
from moyai.recipe.architecture import read_config

DRAWN = Gates("drawn", draw=RouterDraw("uniform", 0.1, 0))


def scaled(make_parent, architecture, name, factor):
    """A parent whose weights are all `factor` times the usual ones."""
    directory = make_parent(architecture, name)
    tensors = load_file(directory / "model.safetensors")
    save_file({key: value * np.float32(factor) for key, value in tensors.items()}, directory / "model.safetensors")
    return directory


def compose(base, architecture, experts, out_dir, *, shared=None, active=2, gates=DRAWN, dtype="F32", seed=0):
    mixture, planned = plan_compose(
        CheckpointReader(base),
        architecture,
        experts,
        base_label="base",
        shared=shared,
        active=active,
        gates=gates,
        dtype=dtype,
        seed=seed,
    )
    counts = write_model(
        out_dir,
        mixture,
        planned,
        like=read_config(base),
        tokenizer_dir=None,
        shard_bytes=10**9,
        progress=SilentProgress(),
    )
    return mixture, counts


def test_the_base_gives_everything_but_the_feed_forward_layers(tmp_path, tiny, make_parent):
    base, other = make_parent(name="base"), scaled(make_parent, tiny, "other", 2)
    experts = [ExpertModel(CheckpointReader(path), path.name) for path in (base, other)]
    mixture, counts = compose(base, tiny, experts, tmp_path / "out")
    made, ours, theirs = (load_file(path / "model.safetensors") for path in (tmp_path / "out", base, other))
    assert mixture.num_experts == 2
    for layer in range(2):
        block = f"model.layers.{layer}.block_sparse_moe"
        for matrix, name in {"w1": "gate", "w2": "down", "w3": "up"}.items():
            source = f"model.layers.{layer}.mlp.{name}_proj.weight"
            assert (made.pop(f"{block}.experts.0.{matrix}.weight") == ours.pop(source)).all()
            assert (made.pop(f"{block}.experts.1.{matrix}.weight") == theirs[source]).all()
        assert np.abs(made.pop(f"{block}.gate.weight")).max() <= 0.1 * 3**0.5
    assert made.keys() == ours.keys()
    assert all((made[name] == ours[name]).all() for name in made)
    assert counts["num_tensors_copied"] == counts["num_tensors"] - 2


def test_a_token_gets_the_weighted_sum_of_its_experts(tmp_path, tiny, make_parent):
    """With both experts active and a router of zeros, each feed-forward layer is the mean of the two."""
    base, other = make_parent(name="base"), scaled(make_parent, tiny, "other", 0.5)
    experts = [ExpertModel(CheckpointReader(path), path.name) for path in (base, other)]
    gates = Gates("zeros", routers_LEH=np.zeros((2, 2, tiny.hidden_size), np.float32))
    compose(base, tiny, experts, tmp_path / "out", gates=gates)
    mixture = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    first, second = (AutoModelForCausalLM.from_pretrained(path).eval() for path in (base, other))
    vector = torch.randn(1, 5, tiny.hidden_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mean = (first.model.layers[1].mlp(vector) + second.model.layers[1].mlp(vector)) / 2
        assert torch.allclose(mixture.model.layers[1].mlp(vector), mean, atol=1e-5)


def test_noise_and_residual_scale(tmp_path, tiny, make_parent):
    wide = tiny.model_copy(update={"intermediate_size": 600, "num_hidden_layers": 1})
    base = make_parent(wide, "base")
    plain = ExpertModel(CheckpointReader(base), "base")
    changed = ExpertModel(CheckpointReader(base), "base", noise_scale=0.1, residual_scale=-2.0)
    compose(base, wide, [plain, changed], tmp_path / "out")
    made = load_file(tmp_path / "out" / "model.safetensors")
    for matrix, factor in {"w1": 1, "w2": -2, "w3": 1}.items():
        first, second = (made[f"model.layers.0.block_sparse_moe.experts.{n}.{matrix}.weight"] for n in (0, 1))
        noise = second / factor - first
        assert noise.std() == pytest.approx(0.1, rel=0.05)
        assert noise.mean() == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_the_dtype_is_converted_as_torch_does(tmp_path, tiny, make_parent, dtype):
    from safetensors.torch import load_file as load_torch

    base = make_parent(name="base")
    compose(base, tiny, [ExpertModel(CheckpointReader(base), "base")] * 2, tmp_path / "out", dtype=dtype)
    wanted = {"BF16": torch.bfloat16, "F16": torch.float16}[dtype]
    made, source = load_torch(tmp_path / "out" / "model.safetensors"), load_torch(base / "model.safetensors")
    assert {value.dtype for value in made.values()} == {wanted}
    name = "model.layers.1.block_sparse_moe.experts.1.w2.weight"
    assert (made[name] == source["model.layers.1.mlp.down_proj.weight"].to(wanted)).all()


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
def test_qwen_mixtures_load_whole(tmp_path, tiny, make_parent, family):
    dense = tiny.model_copy(update={"family": family})
    base = make_parent(dense, "base")
    expert = ExpertModel(CheckpointReader(base), "base")
    shared = expert if family == "qwen2" else None
    num = 3 if shared else 2
    gates = np.random.default_rng(0).standard_normal((2, num, tiny.hidden_size), np.float32)
    given = Gates("prompts", routers_LEH=gates[:, :2], shared_LH=gates[:, 2] if shared else None)
    mixture, _ = compose(base, dense, [expert, expert], tmp_path / "out", shared=shared, gates=given)
    model, info = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    assert type(model).__name__ == mixture.class_name
    if shared:
        row = model.model.layers[1].mlp.shared_expert_gate.weight.detach().numpy()
        assert (row == gates[1, 2:]).all()


def test_what_cannot_be_composed(tmp_path, tiny, make_parent):
    base, thin = make_parent(name="base"), make_parent(tiny.model_copy(update={"intermediate_size": 20}), "thin")
    expert = ExpertModel(CheckpointReader(base), "base")
    with pytest.raises(InputFileError, match=r"shared_experts has 1 entries; .* MixtralForCausalLM, has none"):
        compose(base, tiny, [expert, expert], tmp_path / "out", shared=expert)
    with pytest.raises(InputFileError, match=r"gate_proj.weight' is \[20, 16\] instead of \[40, 16\]"):
        compose(base, tiny, [expert, ExpertModel(CheckpointReader(thin), "thin")], tmp_path / "out")
    mixture, _ = compose(base, tiny, [expert, expert], tmp_path / "out")
    with pytest.raises(InputFileError, match="a mixture already"):
        compose(tmp_path / "out", mixture, [expert, expert], tmp_path / "again")
