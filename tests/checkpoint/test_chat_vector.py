import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from moyai.checkpoint.chat_vector import plan_chat_vector
from moyai.checkpoint.chat_vector_models import Vector, VectorModel
from moyai.checkpoint.compose import ExpertModel, Gates, plan_compose
from moyai.checkpoint.config import write_config
from moyai.checkpoint.header import header_bytes
from moyai.checkpoint.layout import expected_tensors
from moyai.checkpoint.model_directory import write_model
from moyai.checkpoint.reader import CheckpointReader
from moyai.checkpoint.upcycle import plan_upcycle
from moyai.checkpoint.writer import write_checkpoint
from moyai.errors import FailedError, InputFileError
from moyai.progress import SilentProgress
from moyai.recipe.architecture import Architecture, read_config
from moyai.recipe.settings import UpcycleSettings

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
GATE = "model.layers.0.mlp.gate_proj.weight"
HALF = 2.0**-24
TORCH = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@pytest.fixture
def make(tmp_path, tiny):
    """Writes a random model and returns it; its values are those of `like` and, times `scale`, of the seed."""

    def made(name, architecture=tiny, *, seed, like=None, scale=0.3, dtype="F32"):
        rng = np.random.default_rng(seed)
        start = {} if like is None else weights(like)
        tensors = {
            tensor: start.get(tensor, np.float32(0)) + rng.standard_normal(shape, np.float32) * np.float32(scale)
            for tensor, shape in expected_tensors(architecture).items()
        }
        return write(tmp_path / name, architecture, tensors, dtype)

    return made


def write(directory, architecture, tensors, dtype="F32"):
    directory.mkdir()
    tensors = {name: torch.as_tensor(value).to(TORCH[dtype]) for name, value in tensors.items()}
    save_file(tensors, directory / "model.safetensors")
    write_config(directory, architecture, dtype=dtype, like=None)
    return model(directory)


def model(directory):
    return VectorModel.read(directory.name, CheckpointReader(directory))


def stored(directory):
    return {name: value for path in directory.glob("*.safetensors") for name, value in load_file(path).items()}


def float32(values):
    return {name: value.float().numpy() for name, value in values.items()}


def weights(made):
    return float32(stored(made.reader.directory))


def rounded(values, dtype):
    """As torch rounds them."""
    return torch.as_tensor(values).to(TORCH[dtype]).float().numpy()


def bytes_of(directory):
    """The bytes of each tensor."""
    return {name: value.view(torch.uint8).numpy().tobytes() for name, value in stored(directory).items()}


def added(out_dir, base, *vectors, **options):
    plan = plan_chat_vector(base, vectors, **options)
    write_checkpoint(out_dir, plan.planned, shard_bytes=10**9, progress=SilentProgress())
    return float32(stored(out_dir)), plan


@pytest.mark.parametrize("ratio", [1.0, 0.3, -0.7, 0.0])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_equal_models_change_no_bit(tmp_path, make, dtype, ratio):
    base, chat = make("base", seed=0, dtype=dtype), make("chat", seed=1, dtype=dtype)
    again = make("again", seed=1, dtype=dtype)
    values = weights(base)
    values[GATE].flat[:2] = -0.0, 0.0
    base = write(tmp_path / "zeros", base.architecture, values, dtype)
    for number, vector in enumerate((Vector(chat, again, ratio), Vector(chat, chat, ratio))):
        added(tmp_path / f"out{number}", base, vector)
        assert bytes_of(tmp_path / f"out{number}") == bytes_of(tmp_path / "zeros")


@pytest.mark.parametrize("scale", [1e-3, 0.3, 50.0])
def test_ratio_1_on_its_own_base_is_the_chat_model_but_for_two_roundings(tmp_path, make, scale):
    base = make("base", seed=0)
    chat = make("chat", seed=1, scale=scale)
    made, plan = added(tmp_path / "out", base, Vector(chat, base))
    assert plan.num_changed == len(made)
    assert not plan.num_skipped
    first, second = weights(base), weights(chat)
    worst = 0.0
    for name, value in made.items():
        error = np.abs(value.astype(np.float64) - second[name])
        change = np.abs(second[name].astype(np.float64) - first[name])
        bound = HALF * (change + np.abs(second[name])) * (1 + HALF)
        assert (error <= bound).all()
        worst = max(worst, error.max())
    assert worst > 0, "the bound was not put to the test"


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
def test_two_vectors_are_what_numpy_says(tmp_path, make, tiny, dtype):
    base = make("base", seed=0, dtype=dtype)
    dtypes = ("F32", "BF16", dtype, dtype)
    models = [make(f"m{seed}", seed=seed, like=base, dtype=kind) for seed, kind in enumerate(dtypes, 1)]
    vectors = Vector(models[0], models[1], 0.5), Vector(models[2], models[3], -0.3)
    made, plan = added(tmp_path / "out", base, *vectors)
    a, b, c, d, e = map(weights, (base, *models))
    for name, value in made.items():
        wanted = a[name] + np.float32(0.5) * (b[name] - c[name]) + np.float32(-0.3) * (d[name] - e[name])
        assert (value == rounded(wanted, dtype)).all(), name
    origin = next(tensor.origin for tensor in plan.planned if tensor.name == GATE)
    assert origin == f"{GATE} + 0.5 · (m1 − m2) of {GATE} + -0.3 · (m3 − m4) of {GATE}"


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_the_dtype_is_rounded_to_once(tmp_path, make, dtype):
    base, chat, other = (make(name, seed=seed, dtype="F32") for seed, name in enumerate(("base", "chat", "other")))
    made, _ = added(tmp_path / "out", base, Vector(chat, other, 0.25), dtype=dtype, skip=["norms"])
    a, b, c = map(weights, (base, chat, other))
    for name, value in made.items():
        wanted = a[name] if "norm" in name else a[name] + np.float32(0.25) * (b[name] - c[name])
        assert (value == rounded(wanted, dtype)).all(), name
    assert {value.dtype for value in stored(tmp_path / "out").values()} == {TORCH[dtype]}


def test_a_result_beyond_float16_is_refused(tmp_path, make):
    base, chat, other = (make(name, seed=seed, scale=6e4 * seed) for seed, name in enumerate(("base", "chat", "other")))
    with pytest.raises(FailedError, match="beyond the range of float16"):
        added(tmp_path / "out", base, Vector(chat, other), dtype="F16")


SMALL = Architecture(
    family="llama",
    vocab_size=3,
    hidden_size=4,
    intermediate_size=3,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=2,
    tie_word_embeddings=True,
)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    first=st.integers(-16, 16).map(lambda n: n / 8),
    second=st.integers(-16, 16).map(lambda n: n / 8),
)
def test_vectors_add_up(tmp_path_factory, seed, first, second):
    """Of small whole numbers all sums are exact, so linearity holds to the last bit."""
    root = tmp_path_factory.mktemp("linear")
    rng = np.random.default_rng(seed)

    def drawn(name):
        tensors = {n: rng.integers(-99, 99, shape).astype(np.float32) for n, shape in expected_tensors(SMALL).items()}
        return write(root / name, SMALL, tensors)

    base, chat, other = drawn("base"), drawn("chat"), drawn("other")
    at_once, _ = added(root / "sum", base, Vector(chat, other, first + second))
    both, _ = added(root / "both", base, Vector(chat, other, first), Vector(chat, other, second))
    swapped, _ = added(root / "swapped", base, Vector(other, chat, -second), Vector(chat, other, first))
    step, _ = added(root / "step", base, Vector(chat, other, first))
    then, _ = added(root / "then", write(root / "stepped", SMALL, step), Vector(chat, other, second))
    for name in at_once:
        for made in (both, swapped, then):
            assert (at_once[name] == made[name]).all()


def test_rules_leave_tensors_as_they_are(tmp_path, make, tiny):
    base, chat = make("base", seed=0), make("chat", seed=1)
    made, plan = added(tmp_path / "out", base, Vector(chat, base, 0.5), skip=["embeddings", "head", "norms"])
    before = weights(base)
    same = {name for name in made if made[name].tobytes() == before[name].tobytes()}
    norms = {name for name in made if "norm" in name}
    assert same == {EMBEDDING, HEAD} | norms
    assert plan.num_skipped == {"embeddings": 1, "head": 1, "norms": len(norms)}
    assert plan.num_changed == len(made) - len(same)
    _, plan = added(tmp_path / "nothing", base, Vector(chat, base, 0.0), skip=["head"])
    assert plan.num_skipped == {"head": 1, "no difference": len(made) - 1}


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("skip", [["embeddings", "head"], []])
def test_rows_of_special_tokens_are_the_chat_models(tmp_path, make, tiny, monkeypatch, skip, tied):
    monkeypatch.setattr("moyai.checkpoint.reader.PIECE_ELEMENTS", 100)  # several pieces a tensor
    architecture = tiny.model_copy(update={"tie_word_embeddings": tied})
    base, first, chat, other = (make(f"m{seed}", architecture, seed=seed) for seed in range(4))
    ids = {6: 40, 47: 3, 3: 7}  # row 6 begins a piece
    vectors = Vector(first, other), Vector(chat, other, 0.5)
    made, plan = added(tmp_path / "out", base, *vectors, special_ids=ids, skip=skip)
    without, _ = added(tmp_path / "without", base, *vectors, skip=skip)
    names = [EMBEDDING] if tied else [EMBEDDING, HEAD]
    assert plan.num_special_rows == 3 * len(names)
    wanted = weights(chat)
    for name in made:
        others = np.ones(len(made[name]), bool)
        if name in names:
            others[[*ids]] = False
            assert (made[name][[*ids]] == wanted[name][[*ids.values()]]).all()
        assert (made[name][others] == without[name][others]).all()


def test_a_tied_chat_model_gives_an_untied_one_its_embedding_as_head(tmp_path, make, tiny):
    base, tied = make("base", seed=0), tiny.model_copy(update={"tie_word_embeddings": True})
    chat, other = make("chat", tied, seed=1), make("other", tied, seed=2)
    made, _ = added(tmp_path / "out", base, Vector(chat, other), special_ids={5: 6})
    wanted = weights(base)[HEAD] + (weights(chat)[EMBEDDING] - weights(other)[EMBEDDING])
    wanted[5] = weights(chat)[EMBEDDING][6]
    assert (made[HEAD] == wanted).all()
    with pytest.raises(InputFileError, match="untied: its head is a tensor of its own, the base's is its embedding"):
        plan_chat_vector(chat, [Vector(make("untied", seed=3), other)])
    plan = plan_chat_vector(chat, [Vector(model(tmp_path / "untied"), other)], skip=["head"])
    assert plan.num_skipped == {}


def test_an_untied_row_cannot_become_a_tied_one(make, tiny):
    tied = make("tied", tiny.model_copy(update={"tie_word_embeddings": True}), seed=0)
    chat, other = make("chat", seed=1), make("other", seed=2)
    with pytest.raises(InputFileError, match="special_tokens: chat has one row for a token in its embedding and one"):
        plan_chat_vector(tied, [Vector(chat, other)], skip=["embeddings", "head"], special_ids={1: 1})


def test_another_vocabulary_is_left_out_unless_the_user_says_otherwise(tmp_path, make, tiny):
    base = make("base", tiny.model_copy(update={"vocab_size": 56}), seed=0)
    chat, other = make("chat", seed=1), make("other", seed=2)
    made, plan = added(tmp_path / "out", base, Vector(chat, other), special_ids={50: 47})
    assert plan.skip == ("embeddings", "head")
    assert plan.num_skipped == {"embeddings": 1, "head": 1}
    assert (made[EMBEDDING][50] == weights(chat)[EMBEDDING][47]).all()
    assert (np.delete(made[HEAD], 50, 0) == np.delete(weights(base)[HEAD], 50, 0)).all()
    for skip in ([], ["norms"], ["embeddings"]):
        with pytest.raises(InputFileError, match="chat: the vocabulary has 48 rows, not 56; other: the vocabulary has 48"):
            plan_chat_vector(base, [Vector(chat, other)], skip=skip)
    for ids, said in (({56: 1}, "id 56 is beyond the 56 rows of base"), ({1: 48}, "id 48 is beyond the 48 rows of chat")):
        with pytest.raises(InputFileError, match=said):
            plan_chat_vector(base, [Vector(chat, other)], special_ids=ids)


def test_the_same_rows_with_other_pieces_are_left_out_as_well(make):
    base, chat = make("base", seed=0), make("chat", seed=1)
    for made, pieces in ((base, {"a": 0, "b": 1}), (chat, {"a": 1, "b": 0})):
        (made.reader.directory / "tokenizer.json").write_text(json.dumps({"model": {"vocab": pieces}}))
    assert plan_chat_vector(base, [Vector(chat, base)]).skip == ("embeddings", "head")
    assert plan_chat_vector(base, [Vector(chat, base)], skip=[]).skip == ()


def test_all_differences_are_told_at_once(make, tiny):
    base = make("base", seed=0)
    changed = tiny.model_copy(update={"family": "mistral", "hidden_size": 32, "rope_theta": 5e5})
    chat, other = make("chat", changed, seed=1), make("other", tiny.model_copy(update={"num_hidden_layers": 3}), seed=2)
    with pytest.raises(InputFileError) as told:
        plan_chat_vector(base, [Vector(chat, other)])
    for said in (
        "these models do not fit the base base",
        "chat: family is mistral, not llama, hidden_size is 32, not 16, rope_theta is 500000.0, not 10000.0",
        "other: num_hidden_layers is 3, not 2",
    ):
        assert said in str(told.value)


def test_other_rope_scaling_is_told(make):
    base, chat = make("base", seed=0), make("chat", seed=1)
    path = chat.reader.directory / "config.json"
    config = read_config(chat.reader.directory)
    config["rope_parameters"] = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
    path.write_text(json.dumps(config))
    with pytest.raises(InputFileError, match=r"chat: rope scaling is .*linear.*, not none"):
        plan_chat_vector(base, [Vector(chat, base)])


def test_models_that_are_not_whole_or_in_another_dtype(tmp_path, make, tiny):
    base = make("base", seed=0)
    (tmp_path / "half").mkdir()
    save_file({EMBEDDING: stored(tmp_path / "base")[EMBEDDING]}, tmp_path / "half" / "model.safetensors")
    write_config(tmp_path / "half", tiny, dtype="F32", like=None)
    with pytest.raises(InputFileError, match="half do not fit its llama config"):
        model(tmp_path / "half")
    double = make("double", seed=0)
    wide = {name: value.double() for name, value in stored(tmp_path / "double").items()}
    save_file(wide, tmp_path / "double" / "model.safetensors")
    double = model(tmp_path / "double")
    with pytest.raises(InputFileError, match="is stored as F64; chat vectors want F32, F16, BF16"):
        plan_chat_vector(base, [Vector(double, base)])
    with pytest.raises(InputFileError, match="is stored as F64; chat vectors want"):
        plan_chat_vector(double, [Vector(base, base)], dtype="BF16")


def upcycled(tmp_path, dense, **options):
    reader = CheckpointReader(dense.reader.directory)
    mixture, planned = plan_upcycle(reader, dense.architecture, UpcycleSettings(**{"experts": 4} | options))
    write_model(
        tmp_path / "moe",
        mixture,
        planned,
        like=read_config(dense.reader.directory),
        tokenizer_dir=None,
        shard_bytes=10**9,
        progress=SilentProgress(),
    )
    return model(tmp_path / "moe")


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_a_dense_vector_on_a_mixture_of_copies_is_the_vector_on_its_parent(tmp_path, make, tiny, family):
    dense = tiny.model_copy(update={"family": family})
    base = make("base", dense, seed=0)
    chat = make("chat", dense, seed=1)
    other = make("other", dense, seed=2)
    mixture = upcycled(tmp_path, base)
    made, plan = added(tmp_path / "out", mixture, Vector(chat, other, 0.5))
    added(tmp_path / "dense", base, Vector(chat, other, 0.5))
    _, planned = plan_upcycle(CheckpointReader(tmp_path / "dense"), dense, UpcycleSettings(experts=4))
    write_checkpoint(tmp_path / "wanted", planned, shard_bytes=10**9, progress=SilentProgress())
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "wanted")
    routing = 2 * (2 if family == "qwen2" else 1)
    assert plan.num_skipped == {"router": routing}
    assert plan.num_changed == len(made) - routing


def test_a_dense_vector_is_added_to_each_expert_of_a_composed_mixture(tmp_path, make, tiny):
    base, chat, other = (make(name, seed=seed) for seed, name in enumerate(("base", "chat", "other")))
    experts = [ExpertModel(base.reader, "a, b"), ExpertModel(other.reader, "other", residual_scale=0.5)]
    gates = Gates("zeros", routers_LEH=np.zeros((2, 2, tiny.hidden_size), np.float32))
    mixture, planned = plan_compose(
        base.reader, tiny, experts, base_label="the base", shared=None, active=2, gates=gates, dtype="F32", seed=0
    )
    write_model(
        tmp_path / "moe", mixture, planned, like={}, tokenizer_dir=None, shard_bytes=10**9, progress=SilentProgress()
    )
    composed = model(tmp_path / "moe")
    made, _ = added(tmp_path / "out", composed, Vector(chat, base, 0.5))
    before, first, second = (weights(one) for one in (composed, base, chat))
    for expert, factors in enumerate(({}, {"w2": np.float32(0.5)})):
        for part, name in (("w1", "gate"), ("w3", "up"), ("w2", "down")):
            target = f"model.layers.1.block_sparse_moe.experts.{expert}.{part}.weight"
            source = f"model.layers.1.mlp.{name}_proj.weight"
            change = np.float32(0.5) * factors.get(part, np.float32(1)) * (second[source] - first[source])
            assert (made[target] == before[target] + change).all()


def test_models_of_one_name_are_both_checked(tmp_path, make, tiny):
    base, chat = make("base", seed=0), make("chat", seed=1)
    thin = make("thin", tiny.model_copy(update={"intermediate_size": 20}), seed=2)
    same = [VectorModel("tuned", one.reader, one.architecture) for one in (thin, chat)]
    with pytest.raises(InputFileError, match="tuned: intermediate_size is 20, not 40"):
        plan_chat_vector(base, [Vector(same[0], base), Vector(same[1], base)])


def test_a_dense_vector_has_no_place_in_other_mixtures(tmp_path, make, tiny):
    base, chat = make("base", seed=0), make("chat", seed=1)
    mixture = upcycled(tmp_path, base, method="drop")
    with pytest.raises(InputFileError, match=r"mixture moe: tensor 'model\.layers.*w1.* is not a plain copy of .*drop of"):
        plan_chat_vector(mixture, [Vector(chat, base)])
    (tmp_path / "moe" / "tensor_origins.json").unlink()
    with pytest.raises(InputFileError, match=r"tensor_origins\.json does not say what it is"):
        plan_chat_vector(mixture, [Vector(chat, base)])
    qwen = make("qwen", tiny.model_copy(update={"family": "qwen3"}), seed=2)
    with pytest.raises(InputFileError, match="qwen: family is qwen3, not mixtral"):
        plan_chat_vector(mixture, [Vector(qwen, qwen)])
    with pytest.raises(InputFileError, match="of moe and base one is a mixture, the other is not"):
        plan_chat_vector(mixture, [Vector(mixture, base)])


def test_a_vector_between_mixtures(tmp_path, make, tiny):
    base = upcycled(tmp_path, make("base", seed=0), method="drop")
    chat = make("chat", base.architecture, seed=1)
    made, plan = added(tmp_path / "out", base, Vector(chat, base))
    assert plan.num_changed == len(made)
    wanted = weights(base)
    for name, value in made.items():
        assert (value == wanted[name] + (weights(chat)[name] - wanted[name])).all()


@pytest.mark.parametrize("num_threads", [1, 5])
def test_the_bytes_depend_on_neither_threads_nor_pieces(tmp_path, make, monkeypatch, num_threads):
    base, chat, other = (make(f"m{seed}", seed=seed) for seed in range(3))
    _, plan = added(tmp_path / "out", base, Vector(chat, other, 0.3), special_ids={1: 2})
    monkeypatch.setattr("moyai.checkpoint.reader.PIECE_ELEMENTS", 50)
    write_checkpoint(
        tmp_path / "again", plan.planned, shard_bytes=3000, progress=SilentProgress(), num_threads=num_threads
    )
    assert bytes_of(tmp_path / "again") == bytes_of(tmp_path / "out")


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
from moyai.checkpoint.chat_vector import plan_chat_vector
from moyai.checkpoint.chat_vector_models import Vector, VectorModel
from moyai.checkpoint.reader import CheckpointReader
from moyai.checkpoint.writer import write_checkpoint
from moyai.progress import SilentProgress
base, chat, other = (VectorModel.read(path, CheckpointReader(Path(path))) for path in sys.argv[1:4])
plan = plan_chat_vector(base, [Vector(chat, other, 0.5), Vector(other, chat, 0.3)], special_ids={1: 2})
assert plan.num_changed == len(plan.planned)
write_checkpoint(Path(sys.argv[4]), plan.planned, shard_bytes=10**9, progress=SilentProgress(), num_threads=8)
assert "torch" not in sys.modules and "safetensors" not in sys.modules
print(peak() - before)
"""


@pytest.mark.parametrize("dtype", ["BF16", "F32"])
def test_peak_memory_stays_within_200_mb_of_numpys(tmp_path, dtype):
    # VmHWM rather than ru_maxrss, which a child inherits from the process that started it.
    shapes = expected_tensors(BIG)
    header = header_bytes((name, dtype, shape) for name, shape in shapes.items())
    num_bytes = {"BF16": 2, "F32": 4}[dtype] * sum(int(np.prod(shape)) for shape in shapes.values())
    assert num_bytes > 350e6
    directories = [tmp_path / name for name in ("base", "chat", "other")]
    for directory in directories:
        directory.mkdir()
        write_config(directory, BIG, dtype=dtype, like=None)
        with (directory / "model.safetensors").open("wb") as file:
            file.write(header)
            file.truncate(len(header) + num_bytes)
    command = [sys.executable, "-c", PEAK, *directories, tmp_path / "out"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    peak_bytes = int(done.stdout)
    for path in (tmp_path / "out").iterdir():
        path.unlink()
    assert peak_bytes < 200e6
