import json

import pytest

from moyai.errors import InputFileError, RecipeError
from moyai.plan.gguf_size import TOKENIZER_BYTES
from moyai.plan.machine import CPU, CPU_BFLOAT16, H100, MACHINES, Machine, cpu_of_this_machine
from moyai.plan.plan import physical_memory_bytes, plan_recipe
from moyai.recipe.load import parse_recipe
from plan.small_recipe import small_recipe


def stages_of(plan):
    return {stage.name: stage for stage in plan.stages}


def test_parameters_after_every_stage():
    stages = stages_of(plan_recipe(small_recipe()))
    assert stages["init"].total_parameters == 134_515_008
    grown = 134_515_008 + 1008 * 576
    assert stages["extend"].vocab_size == 49152 + 1008  # 1001 pieces, padded to a multiple of 8
    assert stages["extend"].total_parameters == stages["warm"].total_parameters == grown
    ffn = 30 * 3 * 576 * 1536
    router = 30 * 4 * 576
    assert stages["upcycle"].total_parameters == grown + 3 * ffn + router
    assert stages["upcycle"].active_parameters == grown + ffn + router
    assert not stages["evaluate"].makes_checkpoint


def test_tokens_steps_and_epochs():
    stages = stages_of(plan_recipe(small_recipe()))
    pretrain = stages["pretrain"]
    assert (pretrain.tokens, pretrain.steps) == (100_000, 49)
    japanese, english = pretrain.sources
    assert (japanese.tokens, english.tokens) == (75_000, 25_000)
    assert japanese.documents == 240
    assert japanese.epochs == pytest.approx(75_000 / japanese.source_tokens)
    (chat,) = stages["sft"].sources
    assert stages["sft"].tokens == chat.tokens == 2 * chat.source_tokens
    assert chat.epochs == 2


def test_new_embeddings_cost_little_disk_and_memory():
    stages = stages_of(plan_recipe(small_recipe()))
    state = 1008 * 576 * 12
    assert stages["warm"].in_flight_bytes == 2 * state
    assert stages["warm"].memory_bytes < stages["pretrain"].memory_bytes
    assert stages["pretrain"].memory_bytes < stages["sft"].memory_bytes  # adafactor against adamw


def test_disk():
    plan = plan_recipe(small_recipe())
    stages = stages_of(plan)
    # the base is a GGUF file: float32
    assert stages["init"].written_bytes == 4 * 134_515_008 + TOKENIZER_BYTES
    q8_0 = stages["pretrain"].total_parameters * 34 / 32 + TOKENIZER_BYTES
    assert stages["export"].written_bytes == pytest.approx(q8_0, rel=0.002)
    most = max(stage.in_flight_bytes for stage in plan.stages)
    assert plan.totals.disk_bytes == sum(stage.written_bytes for stage in plan.stages) + most


def test_times_follow_the_machine():
    fast = plan_recipe(small_recipe(), machine=CPU_BFLOAT16)
    slow = plan_recipe(small_recipe(), machine=CPU)
    assert stages_of(slow)["pretrain"].seconds > 2 * stages_of(fast)["pretrain"].seconds
    # scoring is float32 on both
    assert stages_of(slow)["evaluate"].seconds == stages_of(fast)["evaluate"].seconds
    assert fast.totals.seconds == pytest.approx(fast.totals.seconds_on[CPU_BFLOAT16.name])
    assert set(fast.totals.seconds_on) == {machine.name for machine in MACHINES}
    assert fast.totals.seconds_on[H100.name] < fast.totals.seconds / 10
    assert any(CPU_BFLOAT16.name in assumption for assumption in fast.assumptions)


def test_auto_precision_is_what_the_machine_multiplies_natively():
    machine = Machine("m", 1.0, 2.0, 1.0)
    assert machine.flops_per_second("auto") == machine.flops_per_second("bfloat16") == 2.0
    assert machine.flops_per_second("float32") == 1.0
    assert CPU.flops_per_second("auto") == CPU.flops_per_second("float32")
    assert cpu_of_this_machine() in MACHINES


def test_json():
    plan = plan_recipe(small_recipe())
    data = json.loads(json.dumps(plan.to_dict()))
    assert data["totals"]["flops"] == sum(stage["flops"] for stage in data["stages"])
    assert data["stages"][0]["name"] == "init"


def test_overrides_and_mini():
    assert stages_of(plan_recipe(small_recipe(mini=True)))["pretrain"].tokens == 2048
    assert stages_of(plan_recipe(small_recipe("stages.upcycle.experts=8")))["upcycle"].num_experts == 8


def test_the_evaluation_reads_every_checkpoint():
    whole = stages_of(plan_recipe(small_recipe()))["evaluate"]
    one = stages_of(plan_recipe(small_recipe("stages.evaluate.of=[sft]")))["evaluate"]
    more = stages_of(plan_recipe(small_recipe("stages.evaluate.of=[sft]", "stages.evaluate.limit=10")))[
        "evaluate"
    ]
    assert len(whole.inputs) == 6
    assert one.tokens < more.tokens
    assert one.flops < whole.flops


def test_a_missing_text_is_a_warning():
    plan = plan_recipe(small_recipe("stages.sft.data=nowhere.jsonl"))
    assert any("nowhere.jsonl" in warning for warning in plan.warnings)
    assert stages_of(plan)["sft"].tokens is None
    plan = plan_recipe(small_recipe("stages.evaluate.texts={ja: nowhere.jsonl}"))
    assert stages_of(plan)["evaluate"].tokens is None


def test_many_epochs_and_little_memory_are_warnings():
    warnings = plan_recipe(small_recipe("stages.pretrain.tokens=1e7"), memory_bytes=10**9).warnings
    assert any("starter:ja_text" in warning and "times through" in warning for warning in warnings)
    assert any("this machine has 1.00 GB" in warning for warning in warnings)


def test_pieces_that_nobody_trains_are_a_warning():
    recipe = small_recipe("stages.warm.from=init", "stages.upcycle.from=init", "stages.verify.against=init")
    assert any("extend adds vocabulary pieces" in warning for warning in plan_recipe(recipe).warnings)
    assert any("trains only new embedding rows" in warning for warning in plan_recipe(recipe).warnings)
    assert plan_recipe(small_recipe()).warnings == ()


def test_experts_of_experts_are_refused():
    text = (
        "{moyai: 1, name: a, base: o/n, stages: [{upcycle: {experts: 4}}], architecture: {family: mixtral,"
        " vocab_size: 8, hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1, num_attention_heads: 1,"
        " num_key_value_heads: 1, head_dim: 8, tie_word_embeddings: true, num_experts: 2,"
        " num_active_experts: 1}}"
    )
    with pytest.raises(RecipeError, match="has 2 experts already"):
        plan_recipe(parse_recipe(text, where="a"))


def test_a_base_without_dimensions_is_named():
    recipe = parse_recipe("{moyai: 1, name: a, base: o/n, stages: [{upcycle: {experts: 4}}]}", where="a")
    with pytest.raises(RecipeError, match=r"dimensions of o/n are not known.*config\.json"):
        plan_recipe(recipe)


def test_a_local_base_is_read(tmp_path):
    text = f"{{moyai: 1, name: a, base: {tmp_path}, stages: [{{upcycle: {{experts: 4}}}}]}}"
    with pytest.raises(InputFileError, match=r"has no config\.json"):
        plan_recipe(parse_recipe(text, where="a"))
    config = {"model_type": "llama", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 16}
    config |= {"num_hidden_layers": 1, "num_attention_heads": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert plan_recipe(parse_recipe(text, where="a")).stages[0].total_parameters == 792


def test_memory_of_this_machine():
    found = physical_memory_bytes()
    assert found is None or found > 10**8
