import json

import pytest
from transformers import AutoConfig

from moyai.checkpoint.config import copy_tokenizer_files, write_config
from moyai.errors import InputFileError
from moyai.recipe.architecture import Architecture, read_architecture

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 2048,
}


@pytest.mark.parametrize("family", ["llama", "mistral", "mixtral"])
def test_moyai_and_transformers_read_what_is_written(tmp_path, tiny, family):
    experts = {"num_experts": 4, "num_active_experts": 2} if family == "mixtral" else {}
    architecture = Architecture.model_validate(
        tiny.model_dump() | {"family": family, "rope_theta": 5e5} | experts
    )
    write_config(tmp_path, architecture, dtype="BF16", like={"bos_token_id": 3, "eos_token_id": [4, 5]})
    assert read_architecture(tmp_path) == architecture
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config).__name__.lower() == f"{family}config"
    assert config.rope_parameters == {"rope_type": "default", "rope_theta": 5e5}
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (3, [4, 5], None)
    assert str(config.dtype) == "torch.bfloat16"
    assert config.head_dim == 4
    if family == "mixtral":
        assert (config.num_local_experts, config.num_experts_per_tok) == (4, 2)
        assert config.sliding_window is None
        assert config.output_router_logits is False
    if family == "mistral":
        assert config.sliding_window is None


def test_what_transformers_4_and_llama_cpp_read(tmp_path, tiny):
    write_config(tmp_path, tiny, dtype="F16", like={"rope_scaling": LLAMA3_ROPE})
    data = json.loads((tmp_path / "config.json").read_text())
    assert data["rope_theta"] == 10000.0
    assert data["rope_scaling"] == LLAMA3_ROPE
    assert data["rope_parameters"] == LLAMA3_ROPE | {"rope_theta": 10000.0}
    assert data["torch_dtype"] == data["dtype"] == "float16"
    assert data["architectures"] == ["LlamaForCausalLM"]
    assert AutoConfig.from_pretrained(tmp_path).rope_parameters == LLAMA3_ROPE | {"rope_theta": 10000.0}


def test_a_config_written_by_transformers_5_is_followed(tmp_path, tiny):
    like = {"rope_parameters": LLAMA3_ROPE | {"rope_theta": 1.0}, "sliding_window": 77, "pad_token_id": 9}
    mistral = tiny.model_copy(update={"family": "mistral"})
    write_config(tmp_path, mistral, dtype="F32", like=like)
    data = json.loads((tmp_path / "config.json").read_text())
    assert data["rope_parameters"] == LLAMA3_ROPE | {"rope_theta": 10000.0}
    assert (data["sliding_window"], data["pad_token_id"], data["bos_token_id"]) == (77, 9, None)


def test_what_cannot_be_said_is_refused(tmp_path, tiny):
    with pytest.raises(InputFileError, match="hidden_act is 'gelu'"):
        write_config(tmp_path, tiny, dtype="F32", like={"hidden_act": "gelu"})
    with pytest.raises(InputFileError, match="I8"):
        write_config(tmp_path, tiny, dtype="I8", like=None)
    assert list(tmp_path.iterdir()) == []


def test_tokenizer_files_are_copied_where_they_exist(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    for name in ("tokenizer.json", "chat_template.jinja", "model.safetensors"):
        (source / name).write_text(name)
    assert copy_tokenizer_files(source, out) == ["tokenizer.json", "chat_template.jinja"]
    assert {path.name for path in out.iterdir()} == {"tokenizer.json", "chat_template.jinja"}
    assert (out / "chat_template.jinja").read_text() == "chat_template.jinja"
