import pytest
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig

from moyai.checkpoint.layout import check_complete, expected_tensors
from moyai.errors import InputFileError
from moyai.recipe.architecture import Architecture


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_names_and_shapes_are_those_of_transformers(tiny, family, tied):
    architecture = tiny.model_copy(update={"family": family, "tie_word_embeddings": tied})
    config = {"llama": LlamaConfig, "mistral": MistralConfig}[family](
        **architecture.model_dump(exclude={"family", "num_experts", "num_active_experts", "rope_theta"})
    )
    model = AutoModelForCausalLM.from_config(config)
    found = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if tied:
        del found["lm_head.weight"]
    assert expected_tensors(architecture) == found


def test_experts_are_stored_one_by_one(tiny):
    mixture = Architecture.model_validate(tiny.model_dump() | {"family": "mixtral", "num_experts": 3})
    tensors = expected_tensors(mixture)
    assert tensors["model.layers.1.block_sparse_moe.gate.weight"] == (3, 16)
    assert tensors["model.layers.1.block_sparse_moe.experts.2.w2.weight"] == (16, 40)
    assert len(tensors) == 3 + 2 * (6 + 1 + 3 * 3)


def test_all_that_is_wrong_is_told_at_once(tiny):
    found = expected_tensors(tiny)
    check_complete(found | {"model.layers.0.self_attn.rotary_emb.inv_freq": (2,)}, tiny, "there")
    del found["model.norm.weight"]
    found["lm_head.weight"] = (49, 16)
    for i in range(6):
        found[f"adapter.{i}"] = (1,)
    with pytest.raises(InputFileError) as caught:
        check_complete(found, tiny, "there")
    assert str(caught.value) == (
        "the tensors of there do not fit its llama config: 1 are missing (model.norm.weight), "
        "6 are left over (adapter.0, adapter.1, adapter.2, adapter.3, and 2 more), "
        "1 have another shape (lm_head.weight is [49, 16] instead of [48, 16])"
    )
