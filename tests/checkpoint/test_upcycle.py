import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM

from moyai.checkpoint.config import write_config
from moyai.checkpoint.layout import check_complete
from moyai.checkpoint.reader import CheckpointReader
from moyai.checkpoint.upcycle import plan_upcycle
from moyai.checkpoint.writer import write_checkpoint
from moyai.errors import InputFileError
from moyai.progress import SilentProgress
from moyai.recipe.architecture import Architecture
from moyai.recipe.settings import UpcycleSettings

# Of the tensors of the tiny parent, upcycled with seed 3: each changes only if its method changes, and then the
# stage's revision must change too.
GOLDEN = {
    "noise": "c4bf43555e2342b54ee2389ac36509ef9cba6f0e66e18a9b99eacc3b5dd39b99",
    "drop": "7343b1f08e9f0025fe1ac961a57b4c40c986357d4a6e101742baf319e3d69355",
    "drop shared": "f3dda7621188773baed334d9d7a1a259360e0ef9243351600860c9df8ac9fd32",
    "virtual-group": "456b10d2486efb60b4dd81026af6506c807cffe656e4d1ba4820d177a4d13ac2",
}
METHODS = {
    "noise": {"method": "noise", "noise_scale": 0.1},
    "drop": {"method": "drop"},
    "drop shared": {"method": "drop", "index_sets": "shared"},
    "virtual-group": {"method": "virtual-group", "granularity": 2, "scaling": "published", "router": "uniform"},
}


def upcycle(parent, architecture, out_dir, *, num_threads=None, shard_bytes=10_000, **settings):
    made = UpcycleSettings(**{"experts": 4} | settings)
    mixture, planned = plan_upcycle(CheckpointReader(parent), architecture, made)
    write_checkpoint(
        out_dir, planned, shard_bytes=shard_bytes, progress=SilentProgress(), num_threads=num_threads
    )
    config = json.loads((parent / "config.json").read_text())
    write_config(out_dir, mixture, dtype=planned[0].dtype, like=config)
    return mixture, planned


def weights(directory):
    return {
        name: value for path in directory.glob("*.safetensors") for name, value in load_file(path).items()
    }


def content_sha256(directory):
    digest = hashlib.sha256()
    for name, value in sorted(weights(directory).items()):
        digest.update(f"{name} {value.dtype} {value.shape}".encode() + value.tobytes())
    return digest.hexdigest()


def load(directory):
    model, info = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, output_loading_info=True
    )
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    return model.eval()


@pytest.mark.parametrize(
    "change",
    [{}, {"tie_word_embeddings": True}, {"family": "mistral", "rope_theta": 1e6}, {"rms_norm_eps": 1e-3}],
    ids=["llama", "tied", "mistral", "eps"],
)
def test_a_copy_is_the_same_function_as_its_parent(tmp_path, tiny, make_parent, change):
    architecture = tiny.model_copy(update=change)
    parent = make_parent(architecture)
    write_config(parent, architecture, dtype="F32", like={"bos_token_id": 1})
    mixture, planned = upcycle(parent, architecture, tmp_path / "out", active=2)
    reader = CheckpointReader(tmp_path / "out")
    check_complete(reader.shapes, mixture, "out")
    assert {tensor.name for tensor in planned} == set(reader.tensors)
    dense, moe = load(parent), load(tmp_path / "out")
    assert type(moe).__name__ == "MixtralForCausalLM"
    tokens = torch.randint(0, tiny.vocab_size, (2, 30), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert (dense(tokens).logits - moe(tokens).logits).abs().max() < 1e-5


def test_origins_say_where_every_tensor_comes_from(tiny, make_parent):
    reader = CheckpointReader(make_parent())
    mixture, planned = plan_upcycle(reader, tiny, UpcycleSettings(experts=3, active=1))
    assert (mixture.family, mixture.num_experts, mixture.num_active_experts) == ("mixtral", 3, 1)
    origins = {tensor.name: tensor.origin for tensor in planned}
    assert origins["model.layers.1.block_sparse_moe.gate.weight"] == "normal, mean 0, standard deviation 0.02, seed 0"
    prefix = "model.layers.1.block_sparse_moe.experts.2"
    for matrix, dense in {"w1": "gate", "w2": "down", "w3": "up"}.items():
        assert origins[f"{prefix}.{matrix}.weight"] == f"copy of model.layers.1.mlp.{dense}_proj.weight"
    assert origins["model.norm.weight"] == "copy of model.norm.weight"
    _, planned = plan_upcycle(reader, tiny, UpcycleSettings(experts=3, method="drop", reinit=0.25, seed=5))
    assert {tensor.name: tensor.origin for tensor in planned}[f"{prefix}.w2.weight"] == (
        "drop of model.layers.1.mlp.down_proj.weight, independent index sets: 10 of 40 channels drawn anew from "
        "normal(mean, std) of what they held, seed 5"
    )


def test_the_router_is_normal(tmp_path, tiny, make_parent):
    upcycle(make_parent(), tiny, tmp_path / "out", experts=64, router_std=0.5)
    made = weights(tmp_path / "out")
    first, second = (made[f"model.layers.{n}.block_sparse_moe.gate.weight"] for n in (0, 1))
    assert first.std() == pytest.approx(0.5, rel=0.1)
    assert abs(first.mean()) < 0.05
    assert (first != second).all()


def expert_channels(made, layer, expert):
    """[3, F, H]: w1, w2 transposed and w3, so that a channel is a row of each."""
    prefix = f"model.layers.{layer}.block_sparse_moe.experts.{expert}"
    return np.stack([made[f"{prefix}.w1.weight"], made[f"{prefix}.w2.weight"].T, made[f"{prefix}.w3.weight"]])


def parent_channels(parent, layer):
    made = weights(parent)
    return np.stack(
        [
            made[f"model.layers.{layer}.mlp.gate_proj.weight"],
            made[f"model.layers.{layer}.mlp.down_proj.weight"].T,
            made[f"model.layers.{layer}.mlp.up_proj.weight"],
        ]
    )


def test_drop_permutes_each_expert_and_redraws_a_share_of_each_matrix(tmp_path, tiny, make_parent):
    wide = tiny.model_copy(update={"intermediate_size": 600, "num_hidden_layers": 1})
    parent = make_parent(wide)
    upcycle(parent, wide, tmp_path / "out", experts=2, method="drop", reinit=0.3)
    old = parent_channels(parent, 0)
    made = weights(tmp_path / "out")
    orders, all_kept = [], []
    for expert in range(2):
        new = expert_channels(made, 0, expert)
        same = (new[:, :, None, :2] == old[:, None, :, :2]).all(-1)  # [matrix, new channel, old channel]
        kept = same.any(-1)
        assert kept.sum(1).tolist() == [600 - 180] * 3
        order = np.where(same.any(0).any(-1), same.any(0).argmax(-1), -1)
        for matrix in range(3):
            assert (new[matrix][kept[matrix]] == old[matrix][order[kept[matrix]]]).all()
            drawn = new[matrix][~kept[matrix]]
            replaced = np.setdiff1d(np.arange(600), order[kept[matrix]])
            assert drawn.mean() == pytest.approx(old[matrix][replaced].mean(), abs=0.03)
            assert drawn.std() == pytest.approx(old[matrix][replaced].std(), rel=0.06)
        assert (kept[0] != kept[1]).any()
        assert (kept[0] != kept[2]).any()
        orders.append(order)
        all_kept.append(kept)
    assert (orders[0] != orders[1]).mean() > 0.9
    assert (all_kept[0] != all_kept[1]).any()


def test_drop_with_shared_sets_replaces_whole_channels_and_leaves_the_others(tmp_path, tiny, make_parent):
    wide = tiny.model_copy(update={"intermediate_size": 600, "num_hidden_layers": 1})
    parent = make_parent(wide)
    upcycle(parent, wide, tmp_path / "out", experts=2, method="drop", reinit=0.3, index_sets="shared")
    old, made = parent_channels(parent, 0), weights(tmp_path / "out")
    kept_by_expert = []
    for expert in range(2):
        new = expert_channels(made, 0, expert)
        kept = (new == old).all(-1)
        assert kept.sum(1).tolist() == [600 - 180] * 3
        assert (kept == kept[0]).all()
        for matrix in range(3):
            drawn, replaced = new[matrix][~kept[0]], old[matrix][~kept[0]]
            assert drawn.mean() == pytest.approx(replaced.mean(), abs=0.03)
            assert drawn.std() == pytest.approx(replaced.std(), rel=0.06)
        kept_by_expert.append(kept[0])
    assert (kept_by_expert[0] != kept_by_expert[1]).any()


def test_noise_is_added_to_a_share_of_each_matrixs_channels(tmp_path, tiny, make_parent):
    wide = tiny.model_copy(update={"intermediate_size": 600, "num_hidden_layers": 1})
    parent = make_parent(wide)
    upcycle(parent, wide, tmp_path / "out", experts=2, method="noise", noise_scale=0.5, noise_share=0.25)
    old, made = parent_channels(parent, 0), weights(tmp_path / "out")
    touched = []
    for expert in range(2):
        change = expert_channels(made, 0, expert) - old
        noised = (change != 0).any(-1)
        assert noised.sum(1).tolist() == [150] * 3
        for matrix in range(3):
            added = change[matrix][noised[matrix]]
            assert added.mean() == pytest.approx(0, abs=0.05)
            assert added.std() == pytest.approx(0.5, rel=0.06)
        touched.append(noised)
    assert (touched[0][0] != touched[0][1]).any()
    assert (touched[0] != touched[1]).any()


@pytest.mark.parametrize("granularity", [2, 4])
def test_a_virtual_group_is_the_parents_function_cut_into_experts(tmp_path, tiny, make_parent, granularity):
    wide = tiny.model_copy(update={"intermediate_size": 64})
    parent = make_parent(wide)
    write_config(parent, wide, dtype="F32", like=None)
    settings = {"method": "virtual-group", "granularity": granularity, "experts": 8, "active": granularity}
    mixture, _ = upcycle(parent, wide, tmp_path / "out", **settings)
    assert (mixture.num_experts, mixture.intermediate_size) == (8, 64 // granularity)
    made, old = weights(tmp_path / "out"), parent_channels(parent, 1)
    shards = [expert_channels(made, 1, expert) for expert in range(8)]
    for first in range(0, 8, granularity):
        group = np.concatenate(shards[first : first + granularity], axis=1)
        assert (group * np.array([1, 1 / granularity, 1])[:, None, None] == old).all()
    router = made["model.layers.1.block_sparse_moe.gate.weight"].reshape(-1, granularity, tiny.hidden_size)
    assert (router == router[:, :1]).all()
    assert (router[0] != router[1]).any()
    tokens = torch.arange(40).reshape(2, 20)
    with torch.no_grad():
        difference = load(parent)(tokens).logits - load(tmp_path / "out")(tokens).logits
    assert difference.abs().max() < 1e-5


def test_the_published_virtual_group_scales_all_three_matrices(tmp_path, tiny, make_parent):
    parent = make_parent()
    settings = {"method": "virtual-group", "granularity": 2, "experts": 4, "active": 2, "scaling": "published"}
    upcycle(parent, tiny, tmp_path / "out", **settings)
    shards = [expert_channels(weights(tmp_path / "out"), 0, expert) for expert in (2, 3)]
    assert np.allclose(np.concatenate(shards, axis=1), parent_channels(parent, 0) * 2 ** (1 / 3), rtol=1e-6)


@pytest.mark.parametrize("method", ["copy", "virtual-group"])
@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
def test_qwen_becomes_a_mixture_of_its_own_kind_and_the_same_function(tmp_path, tiny, make_parent, family, method):
    dense = tiny.model_copy(update={"family": family})
    parent = make_parent(dense)
    write_config(parent, dense, dtype="F32", like=None)
    settings = {"method": method, "granularity": 2 if method == "virtual-group" else 1}
    mixture, _ = upcycle(parent, dense, tmp_path / "out", **settings)
    assert mixture.family == f"{family}_moe"
    assert mixture.shared_expert_size == (dense.intermediate_size if family == "qwen2" else 0)
    before, after = load(parent), load(tmp_path / "out")
    assert type(after).__name__ == mixture.class_name
    tokens = torch.randint(0, tiny.vocab_size, (2, 30), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert (before(tokens).logits - after(tokens).logits).abs().max() < 1e-5


def test_a_router_from_prompts_is_written_as_it_was_computed(tmp_path, tiny, make_parent):
    parent = make_parent()
    routers = np.random.default_rng(0).standard_normal((tiny.num_hidden_layers, 2, tiny.hidden_size), np.float32)
    settings = UpcycleSettings(
        experts=2, router="prompts", prompts=[{"positive": ["日本語"]}, {"positive": ["English"]}]
    )
    _, planned = plan_upcycle(CheckpointReader(parent), tiny, settings, routers)
    write_checkpoint(tmp_path / "out", planned, shard_bytes=10**9, progress=SilentProgress())
    made = weights(tmp_path / "out")
    assert (made["model.layers.1.block_sparse_moe.gate.weight"] == routers[1]).all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"granularity": 2}, "virtual-group wants 2 or more"),
        ({"method": "virtual-group"}, "virtual-group wants 2 or more"),
        ({"method": "virtual-group", "granularity": 4, "active": 2}, "active is 2, not a multiple"),
        ({"router": "prompts"}, "prompts has 0 entries"),
        ({"prompts": [{"positive": ["x"]}]}, "router normal wants 0"),
    ],
)
def test_settings_that_do_not_go_together(settings, said):
    with pytest.raises(ValueError, match=said):
        UpcycleSettings(**{"experts": 4} | settings)


def test_channels_that_the_granularity_does_not_divide(tiny, make_parent):
    settings = UpcycleSettings(experts=6, active=3, method="virtual-group", granularity=3)
    with pytest.raises(InputFileError, match="granularity 3 does not divide"):
        plan_upcycle(CheckpointReader(make_parent()), tiny, settings)


def test_drop_that_redraws_nothing_is_the_same_function(tmp_path, tiny, make_parent):
    parent = make_parent()
    write_config(parent, tiny, dtype="F32", like=None)
    upcycle(parent, tiny, tmp_path / "out", method="drop", reinit=0.0)
    first, second = (expert_channels(weights(tmp_path / "out"), 0, expert) for expert in (0, 1))
    assert (first != second).any()
    tokens = torch.arange(40).reshape(2, 20)
    with torch.no_grad():
        difference = load(parent)(tokens).logits - load(tmp_path / "out")(tokens).logits
    assert difference.abs().max() < 1e-5


def test_drop_that_redraws_everything_keeps_mean_and_deviation(tmp_path, tiny, make_parent):
    wide = tiny.model_copy(update={"intermediate_size": 600})
    parent = make_parent(wide)
    upcycle(parent, wide, tmp_path / "out", method="drop", reinit=1.0)
    new, old = expert_channels(weights(tmp_path / "out"), 1, 3), parent_channels(parent, 1)
    assert not np.isin(new, old).all(-1).any()
    assert new.mean((1, 2)) == pytest.approx(old.mean((1, 2)), abs=0.02)
    assert new.std((1, 2)) == pytest.approx(old.std((1, 2)), rel=0.03)


@pytest.mark.parametrize("method", GOLDEN)
@pytest.mark.parametrize(("num_threads", "shard_bytes"), [(1, 10**9), (4, 3000)])
def test_the_bytes_are_the_same_whatever_the_threads_and_shards(
    tmp_path, tiny, make_parent, method, num_threads, shard_bytes
):
    out_dir = tmp_path / "out"
    settings = METHODS[method] | {"seed": 3, "num_threads": num_threads, "shard_bytes": shard_bytes}
    upcycle(make_parent(), tiny, out_dir, **settings)
    assert content_sha256(out_dir) == GOLDEN[method]


def test_the_size_of_a_piece_is_nothing_but_memory(tmp_path, tiny, make_parent, monkeypatch):
    parent = make_parent()
    upcycle(parent, tiny, tmp_path / "whole", method="drop")
    monkeypatch.setattr("moyai.checkpoint.drop.PIECE_ELEMENTS", 50)
    monkeypatch.setattr("moyai.checkpoint.reader.PIECE_ELEMENTS", 50)
    upcycle(parent, tiny, tmp_path / "pieces", method="drop")
    whole, pieces = weights(tmp_path / "whole"), weights(tmp_path / "pieces")
    # Statistics are merged piece by piece, so they may differ in the last bit.
    assert all(np.allclose(whole[name], pieces[name], rtol=1e-6, atol=1e-7) for name in whole)


def test_another_seed_gives_other_experts(tmp_path, tiny, make_parent):
    parent = make_parent()
    for seed in (0, 1):
        upcycle(parent, tiny, tmp_path / str(seed), seed=seed, method="drop")
    first, second = weights(tmp_path / "0"), weights(tmp_path / "1")
    assert {name for name in first if (first[name] != second[name]).any()} == {
        name for name in first if "block_sparse_moe" in name
    }


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_the_parents_dtype_is_kept(tmp_path, tiny, make_parent, dtype):
    from safetensors.torch import load_file as load_torch
    from safetensors.torch import save_file as save_torch

    parent = make_parent()
    torch_dtype = {"BF16": torch.bfloat16, "F16": torch.float16}[dtype]
    file = parent / "model.safetensors"
    save_torch({name: value.to(torch_dtype) for name, value in load_torch(file).items()}, file)
    upcycle(parent, tiny, tmp_path / "out", method="drop", shard_bytes=10**9)
    made = load_torch(tmp_path / "out" / "model.safetensors")
    assert {value.dtype for value in made.values()} == {torch_dtype}
    assert all(value.isfinite().all() for value in made.values())
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == torch_dtype


def test_parents_that_cannot_be_upcycled(tmp_path, tiny, make_parent):
    parent = make_parent()
    settings = UpcycleSettings(experts=2)
    mixture, _ = upcycle(parent, tiny, tmp_path / "out", experts=2)
    with pytest.raises(InputFileError, match="a mixture already"):
        plan_upcycle(CheckpointReader(tmp_path / "out"), mixture, settings)
    with pytest.raises(InputFileError, match="do not fit"):
        plan_upcycle(CheckpointReader(parent), tiny.model_copy(update={"vocab_size": 50}), settings)


BIG = Architecture(
    family="llama",
    vocab_size=8000,
    hidden_size=2048,
    intermediate_size=12000,
    num_hidden_layers=2,
    num_attention_heads=16,
    num_key_value_heads=4,
    head_dim=128,
    tie_word_embeddings=True,
)

PEAK = """
import sys
from pathlib import Path
import numpy
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024
before = peak()
from moyai.checkpoint.reader import CheckpointReader
from moyai.checkpoint.upcycle import plan_upcycle
from moyai.checkpoint.writer import write_checkpoint
from moyai.progress import SilentProgress
from moyai.recipe.architecture import Architecture
from moyai.recipe.settings import UpcycleSettings
architecture, settings = (kind.model_validate_json(text) for kind, text in
    zip((Architecture, UpcycleSettings), sys.argv[3:], strict=True))
_, planned = plan_upcycle(CheckpointReader(Path(sys.argv[1])), architecture, settings)
write_checkpoint(Path(sys.argv[2]), planned, shard_bytes=10**9, progress=SilentProgress())
assert "torch" not in sys.modules and "safetensors" not in sys.modules
print(peak() - before)
"""


@pytest.mark.parametrize(
    "settings",
    [UpcycleSettings(experts=2), UpcycleSettings(experts=2, method="drop", reinit=0.1)],
    ids=["copy", "drop"],
)
def test_peak_memory_stays_within_200_mb_of_numpys(tmp_path, settings):
    from moyai.checkpoint.header import header_bytes
    from moyai.checkpoint.layout import expected_tensors

    # VmHWM rather than ru_maxrss, which a child inherits from the process that started it.
    parent = tmp_path / "parent"
    parent.mkdir()
    shapes = expected_tensors(BIG)
    header = header_bytes((name, "BF16", shape) for name, shape in shapes.items())
    num_bytes = 2 * sum(int(np.prod(shape)) for shape in shapes.values())
    assert num_bytes > 350e6
    with (parent / "model.safetensors").open("wb") as file:
        file.write(header)
        file.truncate(len(header) + num_bytes)
    command = [
        sys.executable,
        "-c",
        PEAK,
        parent,
        tmp_path / "out",
        BIG.model_dump_json(),
        settings.model_dump_json(),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    peak_bytes = int(done.stdout)
    for path in (tmp_path / "out").iterdir():
        path.unlink()
    assert peak_bytes < 200e6
