import json

import pytest

from plan.small_recipe import SMALL_RECIPE


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL_RECIPE, encoding="utf-8")
    return path


def test_table(moyai, recipe_file):
    outcome = moyai("plan", recipe_file)
    assert (outcome.code, outcome.err) == (0, "")
    assert "134,515,008" in outcome.out
    assert "\x1b" not in outcome.out


def test_json_mini_and_set(moyai, recipe_file):
    words = ("plan", recipe_file, "--mini", "--json", "--set", "stages.sft.epochs=3", "--set", "name=other")
    data = json.loads(moyai(*words).out)
    stages = {stage["name"]: stage for stage in data["stages"]}
    assert data["recipe"] == "other"
    assert stages["pretrain"]["tokens"] == 2048
    assert stages["sft"]["sources"][0]["epochs"] == 3
