import json

from moyai.recipe.load import load_recipe, shipped_recipes


def test_list(moyai):
    outcome = moyai("recipes")
    assert outcome.code == 0
    for name, text in shipped_recipes().items():
        assert name in outcome.out
        assert text


def test_schema(moyai):
    schema = json.loads(moyai("recipes", "--schema").out)
    assert schema["title"] == "moyai recipe"


def test_copy(moyai, tmp_path):
    outcome = moyai("recipes", "copy", "quickstart", tmp_path / "mine")
    target = tmp_path / "mine" / "quickstart.yaml"
    assert outcome.out == f"{target}\n"
    assert target.read_text(encoding="utf-8") == shipped_recipes()["quickstart"]
    assert load_recipe(str(target)).name == "quickstart"


def test_copy_goes_here_and_never_over_a_file(moyai):
    assert moyai("recipes", "copy", "quickstart").out == "quickstart.yaml\n"
    outcome = moyai("recipes", "copy", "quickstart")
    assert outcome.code == 2
    assert "quickstart.yaml exists already" in outcome.err
    assert moyai("recipes", "copy", "quickstart", "quickstart.yaml").code == 2
