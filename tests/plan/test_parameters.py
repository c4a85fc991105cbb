import pytest

from moyai.plan.parameters import (
    count_as_on_card,
    count_multiplied,
    count_parameters,
    weight_groups,
)
from moyai.recipe.architecture import Architecture


def made(**changes):
    values = {"head_dim": 128, "tie_word_embeddings": False, **changes}
    if values.get("num_experts", 1) > 1:
        values |= {"family": "mixtral", "num_active_experts": 2}
    return Architecture(**{"family": "llama", **values})


def llm_jp_13b(**changes):
    shape = {"hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40}
    heads = {"num_attention_heads": 40, "num_key_value_heads": 40}
    return made(vocab_size=99584, **shape, **heads, **changes)


def llm_jp_1_8b(**changes):
    shape = {"hidden_size": 2048, "intermediate_size": 7168, "num_hidden_layers": 24}
    heads = {"num_attention_heads": 16, "num_key_value_heads": 16}
    return made(vocab_size=99584, **shape, **heads, **changes)


def seven_b(**changes):
    shape = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32}
    heads = {"num_attention_heads": 32, "num_key_value_heads": 8}
    return made(**{**shape, **heads, "vocab_size": 48000, **changes})


SMOLLM2 = made(
    vocab_size=49152,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    head_dim=64,
    tie_word_embeddings=True,
)


@pytest.mark.parametrize(
    ("architecture", "total"),
    [
        pytest.param(SMOLLM2, 134_515_008, id="SmolLM2-135M"),
        pytest.param(seven_b(), 7_372_804_096, id="RakutenAI-7B"),
        pytest.param(seven_b(num_experts=8), 46_833_864_704, id="RakutenAI-2.0-8x7B"),
        pytest.param(seven_b(vocab_size=128256), 8_030_261_248, id="Llama-3-8B"),
        pytest.param(
            llm_jp_13b(num_experts=2).model_copy(update={"vocab_size": 32000}),
            21_509_739_520,
            id="ELYZA-Llama-2-MoE-2x13B",
        ),
    ],
)
def test_totals_are_those_of_the_checkpoints(architecture, total):
    assert count_parameters(architecture).total == total


def test_active_parameters_of_8x7b():
    assert count_parameters(seven_b(num_experts=8)).active == 13_010_997_248


@pytest.mark.parametrize(
    ("architecture", "embedding", "non_embedding"),
    [
        pytest.param(llm_jp_13b(), 1_018_746_880, 12_688_184_320, id="13b"),
        pytest.param(llm_jp_13b(num_experts=8), 1_018_746_880, 72_144_081_920, id="8x13b"),
        pytest.param(llm_jp_1_8b(), 407_498_752, 1_459_718_144, id="1.8b"),
    ],
)
def test_llm_jp_cards_to_the_digit(architecture, embedding, non_embedding):
    count = count_as_on_card(architecture, vocab_size=99_487)
    assert (count.embedding, count.non_embedding) == (embedding, non_embedding)


@pytest.mark.parametrize(
    ("architecture", "total", "active"),
    [
        pytest.param(llm_jp_13b(num_experts=8), 73_162_828_800, 22_200_806_400, id="8x13b"),
        pytest.param(llm_jp_1_8b(num_experts=8), 9_266_362_368, 2_924_279_808, id="8x1.8b"),
    ],
)
def test_llm_jp_mixtures_to_the_digit(architecture, total, active):
    count = count_as_on_card(architecture, vocab_size=99_487)
    assert (count.total, count.active) == (total, active)


def test_the_plain_count_has_the_whole_router():
    on_card = count_as_on_card(llm_jp_13b(num_experts=8), vocab_size=99_487)
    plain = count_parameters(llm_jp_13b(num_experts=8).model_copy(update={"vocab_size": 99_487}))
    assert plain.active == 22_202_035_200
    assert plain.active - on_card.active == 6 * 5120 * 40


def test_a_tied_head_is_stored_once_but_multiplied():
    roles = {group.role for group in weight_groups(SMOLLM2)}
    assert "head" not in roles
    norms = 61 * 576
    assert count_multiplied(SMOLLM2) == 134_515_008 - norms


def test_a_dense_model_is_wholly_active():
    count = count_parameters(seven_b())
    assert count.active == count.total
    assert count.embedding == 2 * 48000 * 4096
