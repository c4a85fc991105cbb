"""From YAML, a name and overrides to a checked recipe; every problem is told, all at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from moyai.errors import InputFileError, RecipeError
from moyai.recipe.corpus_settings import PrepareSettings
from moyai.recipe.load import load_recipe, parse_recipe, shipped_recipes
from moyai.recipe.recipe import Recipe

HEAD = "moyai: 1\nname: small\nbase: owner/model\nstages:\n"
STAGES = (
    "  - extend: {corpus: starter:ja_text, pieces: 1e3}\n"
    "  - pretrain: {name: warm-up, corpus: {a.txt: 0.7, b.txt: 0.3}, tokens: 61_440}\n"
    "  - upcycle: {experts: 4}\n"
    "  - pretrain: {corpus: a.txt, tokens: 1.5e6, learning_rate: 3e-4}\n"
)


def parse(stages: str = STAGES, *overrides: str, mini: bool = False, tail: str = "") -> Recipe:
    return parse_recipe(HEAD + stages + tail, where="small.yaml", overrides=overrides, mini=mini)


def fault(stages: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        parse(stages, *overrides)
    assert caught.value.exit_code == 2
    return f"{caught.value} / {caught.value.hint}"


def test_numbers_as_people_write_them() -> None:
    recipe = parse()
    extend, warm_up, _, pretrain = (settings for _, settings in recipe.stages)
    assert (extend.pieces, warm_up.tokens, pretrain.tokens) == (1000, 61_440, 1_500_000)
    assert pretrain.learning_rate == 3e-4
    assert extend.corpus == ("starter:ja_text",), "one file is a list of one"


def test_every_shipped_recipe_and_its_mini_are_sound() -> None:
    assert "quickstart" in shipped_recipes()
    for name in shipped_recipes():
        full = load_recipe(name)
        if "\nmini:" in shipped_recipes()[name]:
            mini = load_recipe(name, mini=True)
            assert [step.kind for step in full.steps()] == [step.kind for step in mini.steps()]
        assert full.architecture is not None, "a plan of a shipped recipe needs no download"
        assert full.name == name


def test_a_recipe_file_is_read_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(HEAD + STAGES, encoding="utf-8")
    assert load_recipe(str(path)) == parse()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("quickstrat", None, "did you mean quickstart?"),
        ("missing.yaml", None, "missing.yaml does not exist"),
        ("broken.yaml", "name: café".encode("latin-1"), "is not UTF-8 (byte 9)"),
    ],
)
def test_a_recipe_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes | None, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputFileError) as caught:
        load_recipe(name)
    assert said in f"{caught.value} {caught.value.hint}"
    assert caught.value.exit_code == 2


def shares(settings: Any) -> dict[str, float]:
    return {source: amount.share for source, amount in settings.corpus.items()}


def test_overrides_reach_stages_by_name_and_nested_keys() -> None:
    recipe = parse(
        STAGES,
        "stages.warm-up.tokens=1e6",
        "stages.warm-up.corpus.extra=2",
        "stages.pretrain.optimizer=adafactor",
        "card.title=舫い",
        "base=other/model",
    )
    warm_up, pretrain = recipe.stages[1][1], recipe.stages[3][1]
    assert warm_up.tokens == 1_000_000
    assert shares(warm_up) == {"a.txt": 0.7, "b.txt": 0.3, "extra": 2.0}
    assert (pretrain.optimizer, warm_up.optimizer) == ("adafactor", "adamw")
    assert recipe.card.title == "舫い"
    assert recipe.base == "other/model"


SOURCES = "sources: {ours: mine.jsonl, talk: chat.jsonl}\n"


def test_named_sources_stand_for_their_files_in_every_stage() -> None:
    stages = (
        "  - extend: {corpus: ours, pieces: 5}\n"
        "  - pretrain: {corpus: {ours: 0.7, other.txt: 0.3}, tokens: 10}\n"
        "  - sft: {data: [talk, other.jsonl]}\n"
        "  - verify: {against: extend, text: ours}\n"
        "  - evaluate: {texts: {ja: ours}}\n"
    )
    extend, pretrain, sft, verify, evaluate = (settings for _, settings in parse(stages, tail=SOURCES).stages)
    assert extend.corpus == ("mine.jsonl",)
    assert shares(pretrain) == {"mine.jsonl": 0.7, "other.txt": 0.3}
    assert sft.data == ("chat.jsonl", "other.jsonl")
    assert (verify.text, evaluate.texts) == ("mine.jsonl", {"ja": "mine.jsonl"})
    changed = parse(stages, "sources.ours=yours.jsonl", tail=SOURCES)
    assert changed.stages[0][1].corpus == ("yours.jsonl",)


def test_sources_that_name_no_file() -> None:
    assert "'sources.ours' is [1]" in fault("  - pretrain: {corpus: {ours: 1}, tokens: 5}\nsources: {ours: [1]}\n")


def test_a_later_override_wins() -> None:
    assert parse(STAGES, "stages.upcycle.experts=8", "stages.upcycle.experts=2").stages[2][1].experts == 2


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("stages.pretran.tokens=1", "no stage 'pretran' / did you mean pretrain?"),
        ("stages.pretrain.token=1", "unknown key 'pretrain.token' (did you mean 'tokens'?)"),
        ("stages.pretrain=1", "names no setting"),
        ("stages.pretrain.tokens", "is not PATH=VALUE"),
        ("stages.pretrain.tokens=[", "--set stages.pretrain.tokens is not valid YAML"),
        ("stages.pretrain.tokens.deep=1", "tokens has no settings inside it"),
        ("stages.pretrain.tokens=1.5", "'pretrain.tokens' is 1.5"),
        ("card.titel=x", "unknown key 'card.titel' (did you mean 'title'?)"),
        ("nme=x", "unknown key 'nme' (did you mean 'name'?)"),
    ],
)
def test_an_override_that_does_not_fit(override: str, said: str) -> None:
    assert said in fault(STAGES, override)


def test_all_problems_are_told_at_once_and_name_their_stage() -> None:
    said = fault(
        "  - extend: {corpus: a.txt, peices: 5}\n"
        "  - pretrain: {name: warm-up, corpus: a.txt, tokens: many}\n"
        "  - upcycle: {experts: 2, active: 4}\n",
        "moyai=2",
    )
    assert "unknown key 'extend.peices' (did you mean 'pieces'?)" in said
    assert "'extend.pieces' is missing" in said
    assert "'warm-up.tokens' is 'many'" in said
    assert "upcycle: active is 4, more than the 2 experts there are" in said
    assert "'moyai' is 2" in said


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ("  - upcycle: {experts: 4, experts: 2}\n", "the key 'experts' stands twice"),
        ("  - extnd: {pieces: 1}\n", "there is no stage 'extnd'; the stages are train_tokenizer,"),
        ("  - init: {base: x}\n", "there is no stage 'init'"),
        ("  - extend\n", "a stage is one key with its settings"),
        ("  - extend: 5\n", "'extend' is 5"),
        ("  extend: {pieces: 5}\n", "stages is a list of one-key mappings"),
        ("  []\n", "stages"),
        ("  - upcycle: {experts: 1, active: 1}\n", "a mixture has at least 2"),
        ("  - sft: {data: []}\n", "'sft.data' is []"),
        ("  - pretrain: {tokens: 1, corpus: {}}\n", "'pretrain.corpus' is {}"),
        ("  - pretrain: {tokens: 1, corpus: {a: -1}}\n", "'pretrain.corpus.a.share' is -1.0"),
        ("  - pretrain: {tokens: 1, corpus: {a: {epochs: 0}}}\n", "'pretrain.corpus.a.epochs' is 0"),
        ("  - pretrain: {tokens: 1, corpus: {a: {share: 1, tokens: 5}}}\n", "is one of share, tokens and epochs, not share"),
        ("  - pretrain: {tokens: 1, corpus: {a: {}}}\n", "is one of share, tokens and epochs, not none"),
        ("  - pretrain: {tokens: 9, corpus: {a: {tokens: 5}}}\n", "ask for 5 tokens together, and tokens is 9"),
        ("  - pretrain: {tokens: 9, corpus: {a: 1, b: {tokens: 10}}}\n", "ask for 10 tokens, more than the 9"),
        ("  - pretrain: {tokens: 9, corpus: {'stage:p': 1, 'stage:p/a': 1}}\n", "'stage:p' and 'stage:p/a'"),
        ("  - pretrain: {tokens: 9, corpus: stage:p}\n", "the stages before it that pack text are none"),
        ("  - prepare: {sources: {../a: x.txt}}\n", "is '../a': string should match"),
        ("  - prepare: {sources: {a: {files: x.txt, filters: web}}}\n", "say language: ja or en"),
        ("  - sft: {data: a, learning_rate: .inf}\n", "'sft.learning_rate' is inf"),
        ("  - sft: {data: a, router_balance: .nan}\n", "'sft.router_balance' is nan"),
        ("  - sft: {data: a, batch_tokens: 100, row_tokens: 64}\n", "not a multiple of row_tokens"),
        ("  - 5: {}\n", "the key 5 is not a word"),
        ("  - sft: {data: [a}\n", "is not valid YAML"),
    ],
)
def test_a_stage_that_does_not_fit(stages: str, said: str) -> None:
    assert said in fault(stages)


@pytest.mark.parametrize("text", ["", "just words", "- a list"])
def test_what_is_no_recipe_at_all(text: str) -> None:
    with pytest.raises(RecipeError, match=r"x\.yaml is not a recipe"):
        parse_recipe(text, where="x.yaml")


def test_the_yaml_cannot_make_objects() -> None:
    with pytest.raises(RecipeError, match="not valid YAML"):
        parse_recipe("name: !!python/object/apply:os.getcwd []", where="x.yaml")


MINI = "mini:\n  description: tiny\n  stages:\n    warm-up: {tokens: 512}\n    pretrain: {tokens: 1024}\n"


def test_the_mini_block_changes_only_what_it_names() -> None:
    full, mini = parse(tail=MINI), parse(tail=MINI, mini=True)
    assert full == parse(), "without --mini it counts for nothing"
    assert mini.description == "tiny"
    assert [mini.stages[n][1].tokens for n in (1, 3)] == [512, 1024]
    assert mini.stages[1][1].corpus == full.stages[1][1].corpus
    assert mini.stages[2] == full.stages[2]
    assert parse(STAGES, "stages.pretrain.tokens=2048", tail=MINI, mini=True).stages[3][1].tokens == 2048


def test_a_mini_block_that_is_missing_or_names_no_stage() -> None:
    with pytest.raises(RecipeError, match="has no mini: block"):
        parse(mini=True)
    with pytest.raises(RecipeError) as caught:
        parse(tail="mini: {stages: {warmup: {tokens: 1}}}\n", mini=True)
    assert caught.value.hint == "did you mean warm-up?"


def steps(stages: str) -> dict[str, tuple[str, ...]]:
    return {step.name: step.inputs for step in parse(stages).steps()}


def test_each_stage_takes_its_model_from_the_checkpoint_before_it() -> None:
    assert steps(STAGES + "  - evaluate:\n  - export: {}\n") == {
        "init": (),
        "extend": ("init",),
        "warm-up": ("extend",),
        "upcycle": ("warm-up",),
        "pretrain": ("upcycle",),
        "evaluate": ("init", "extend", "warm-up", "upcycle", "pretrain"),
        "export": ("pretrain",),
    }


def test_from_of_and_against_name_other_stages() -> None:
    named = steps(
        STAGES
        + "  - verify: {from: upcycle, against: warm-up}\n"
        + "  - evaluate: {of: [init, pretrain]}\n"
        + "  - export: {from: warm-up}\n"
    )
    assert named["verify"] == ("upcycle", "warm-up")
    assert named["evaluate"] == ("init", "pretrain")
    assert named["export"] == ("warm-up",)


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("export: {from: nowhere}", "stage 'export' takes its model from 'nowhere', but the checkpoints before it are init"),
        ("verify: {against: export}", "'verify' takes its model from 'export'"),
        ("evaluate: {of: [init, evaluate]}", "'evaluate' takes its model from 'evaluate'"),
        ("verify: {against: pretrain}", "stage 'verify' compares 'pretrain' with itself"),
        ("upcycle: {experts: 2}", "two stages are called 'upcycle'"),
        ("sft: {data: a, name: init}", "two stages are called 'init'"),
        ("sft: {data: a, name: ../up}", "'../up.name' is '../up'"),
    ],
)
def test_a_name_that_leads_nowhere(stage: str, said: str) -> None:
    assert said in fault(f"{STAGES}  - {stage}\n")


def test_named_sources_stand_for_the_files_of_what_is_prepared() -> None:
    text = (
        "moyai: 1\nname: small\nbase: ./m\nsources: {web: crawl/*.parquet, books: books.jsonl}\nstages:\n"
        "  - prepare: {sources: {a: web, b: {files: [books, other.txt], language: ja}, c: {files: web}}}\n"
    )
    settings = parse_recipe(text, where="small.yaml").stages[0][1]
    assert isinstance(settings, PrepareSettings)
    assert [settings.sources[name].files for name in "abc"] == [
        ("crawl/*.parquet",), ("books.jsonl", "other.txt"), ("crawl/*.parquet",)
    ]  # fmt: skip


def test_text_that_was_packed_before_the_vocabulary_grew_is_refused_when_the_recipe_is_read() -> None:
    stages = "  - prepare: {sources: {a: a.txt}}\n  - extend: {corpus: a.txt, pieces: 5}\n"
    said = fault(stages + "  - pretrain: {corpus: stage:prepare, tokens: 1}\n")
    assert "'pretrain' has the vocabulary of 'extend', but 'prepare' packs text with that of 'init'" in said
    assert "`from: extend`" in said
    fine = "  - extend: {corpus: a.txt, pieces: 5}\n  - prepare: {sources: {a: a.txt}}\n"
    text = "moyai: 1\nname: small\nbase: ./m\nstages:\n" + fine + "  - pretrain: {corpus: stage:prepare, tokens: 1}\n"
    assert parse_recipe(text, where="small.yaml").steps()[-1].inputs == ("extend", "prepare")
