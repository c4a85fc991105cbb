from rich.console import Console

from moyai.plan.plan import plan_recipe
from moyai.plan.quantities import format_bytes, format_count, format_flops, format_seconds
from moyai.plan.table import plan_table
from plan.small_recipe import small_recipe


def shown(plan):
    console = Console(width=120, no_color=True, highlight=False)
    with console.capture() as capture:
        console.print(plan_table(plan))
    return capture.get()


def test_every_stage_text_total_and_assumption_is_shown():
    plan = plan_recipe(small_recipe())
    text = shown(plan)
    for stage in plan.stages:
        assert f"\n{stage.name} " in text
    assert "134,515,008" in text
    assert "starter:en_text" in text
    assert "\ntotal " in text
    assert "H100" in text
    for assumption in plan.assumptions:
        assert assumption.split(";")[0][:60] in text
    assert "warning" not in text


def test_what_is_unknown_is_a_question_mark():
    text = shown(plan_recipe(small_recipe("stages.sft.data=nowhere.jsonl")))
    (line,) = (line for line in text.splitlines() if line.startswith("sft "))
    assert line.split()[3:5] == ["?", "?"]
    assert "warning: sft: corpus file nowhere.jsonl does not exist" in text


def test_quantities():
    assert [format_count(n) for n in (0, 999, 1000, 999_600, 12_345)] == [
        "0",
        "999",
        "1.00k",
        "1.00M",
        "12.3k",
    ]
    assert [format_bytes(n) for n in (12, 9.996e9, 5e12)] == ["12 B", "10.0 GB", "5.00 TB"]
    assert [format_flops(n) for n in (0, 4.84e13)] == ["0", "4.8e13"]
    assert [format_seconds(n) for n in (0.2, 61, 7500, 9e6)] == ["< 1 s", "1 min 1 s", "2 h 5 min", "104 d"]
