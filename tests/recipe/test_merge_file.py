from pathlib import Path
from typing import Any

import pytest

from moyai.errors import InputFileError, RecipeError
from moyai.recipe.merge_file import read_merge_file, recipe_of

ELYZA = """\
base_model: ./ELYZA-japanese-Llama-2-13b-instruct
gate_mode: random
dtype: bfloat16
experts:
  - source_model: ./ELYZA-japanese-Llama-2-13b-instruct
    positive_prompts: []
  - source_model: ./ELYZA-japanese-Llama-2-13b
    positive_prompts: []
tokenizer_source: model:./ELYZA-japanese-Llama-2-13b-instruct
"""
TWO = "base_model: a/b\nexperts: [{source_model: a/b, positive_prompts: [x]}, {source_model: a/c, positive_prompts: [y]}]\n"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "merge.yml"
    path.write_text(text, encoding="utf-8")
    return path


def settings_of(path: Path) -> Any:
    return recipe_of(read_merge_file(path)).steps()[1].settings


def test_the_file_of_the_elyza_card_is_read_as_it_is(tmp_path: Path) -> None:
    file = read_merge_file(write(tmp_path, ELYZA))
    settings = settings_of(file.path)
    assert (file.kind, file.text) == ("compose", ELYZA)
    assert file.base == "./ELYZA-japanese-Llama-2-13b-instruct"
    assert [expert.source_model for expert in settings.experts] == [
        "./ELYZA-japanese-Llama-2-13b-instruct",
        "./ELYZA-japanese-Llama-2-13b",
    ]
    assert (settings.gate_mode, settings.dtype, settings.experts_per_token) == ("random", "bfloat16", 2)
    assert settings.tokenizer_source == "model:./ELYZA-japanese-Llama-2-13b-instruct"


def test_paths_count_from_here_and_then_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, beside = tmp_path / "here", tmp_path / "beside"
    for directory in (here / "one", beside / "one", beside / "two"):
        directory.mkdir(parents=True)
    monkeypatch.chdir(here)
    text = "base_model: one\nexperts: [{source_model: one}, {source_model: ./two}]\ngate_mode: random\n"
    file = read_merge_file(write(beside, text))
    assert file.base == str(here / "one")
    assert [expert["source_model"] for expert in file.settings["experts"]] == [str(here / "one"), str(beside / "two")]
    assert file.notes == (f"./two is {beside / 'two'}, beside the merge file",)
    monkeypatch.chdir(beside)
    assert read_merge_file(beside / "merge.yml").notes == ()


def test_torchs_names_of_dtypes_are_taken(tmp_path: Path) -> None:
    assert settings_of(write(tmp_path, TWO + "dtype: torch.float16\n")).dtype == "float16"


def test_keys_without_a_value_are_as_if_they_were_not_there(tmp_path: Path) -> None:
    text = "base_model: a/b\ndtype:\ngate_mode: uniform_random\nexperts:\n"
    text += 2 * "  - {source_model: a/b, noise_scale: null}\n"
    settings = settings_of(write(tmp_path, text))
    assert settings.dtype is None
    assert settings.experts[0].noise_scale is None


def test_chat_vectors_are_told_apart(tmp_path: Path) -> None:
    text = "base_model: a/b\nchat_vectors: [{chat: a/c, base: a/b}]\n"
    assert read_merge_file(write(tmp_path, text)).kind == "chat_vector"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("merge_method: slerp\nbase_model: a/b\n", "merge method 'slerp', which moyai does not do"),
        ("merge_method: ties\nmodels: []\n", "merge method 'ties'"),
        ("slices: []\n", "a merge of whole models or slices"),
        ("base_model: a/b\n", "neither of 'experts' and 'chat_vectors'"),
        (TWO + "chat_vectors: []\n", "both of 'experts' and 'chat_vectors'"),
        (TWO.replace("base_model: a/b\n", ""), "'base_model' is missing"),
        (TWO + "architecture: DeepSeek\n", "come with code of their own"),
        (TWO.replace("a/c", "a/c+some/lora"), "with an adapter"),
        ("- a\n", "not a mapping"),
        (TWO + "seed: 1\nfrom: init\n", "the keys 'from', 'seed', which are none of a merge file"),
        (TWO.replace("base_model: a/b", "base_model: ''"), "a model without a name"),
    ],
)
def test_other_files_are_refused_in_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputFileError, match=said):
        read_merge_file(write(tmp_path, text))


def test_a_misspelt_key_of_an_expert_is_told_with_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean 'noise_scale'"):
        recipe_of(read_merge_file(write(tmp_path, TWO.replace("a/c,", "a/c, noise_scal: 1,"))))


def test_what_to_use_instead_is_said(tmp_path: Path) -> None:
    for method, hint in (("slerp", "mergekit-yaml does that"), ("task_arithmetic", "write it as chat_vectors")):
        with pytest.raises(InputFileError) as caught:
            read_merge_file(write(tmp_path, f"merge_method: {method}\n"))
        assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("experts_per_tokens: 2\n", "unknown key 'compose.experts_per_tokens' .did you mean 'experts_per_token'"),
        ("tokenizer_source: union\n", "tokenizer_source is 'union'; experts share one vocabulary"),
        ("experts_per_token: 3\n", "experts_per_token is 3, more than the 2 experts"),
        ("experts_per_token: 0\n", "experts_per_token' is 0"),
        ("gate_mode: hiden\n", "gate_mode' is 'hiden'"),
        ("dtype: int8\n", "dtype' is 'int8'"),
        ("base_model: a/c\n", "base_model"),
        ("a: [\n", "not valid YAML"),
    ],
)
def test_wrong_keys_and_values_are_told_with_the_file(tmp_path: Path, change: str, said: str) -> None:
    path = write(tmp_path, TWO + change)
    with pytest.raises(RecipeError, match=said) as caught:
        recipe_of(read_merge_file(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("mode", ["hidden", "hidden_avg", "cheap_embed"])
def test_gates_from_prompts_want_prompts_that_differ(tmp_path: Path, mode: str) -> None:
    head = f"gate_mode: {mode}\n"
    with pytest.raises(RecipeError, match="no positive_prompts: a/c"):
        recipe_of(read_merge_file(write(tmp_path, head + TWO.replace("a/c, positive_prompts: [y]", "a/c"))))
    with pytest.raises(RecipeError, match="the same prompts"):
        recipe_of(read_merge_file(write(tmp_path, head + TWO.replace("[y]", "[x]"))))


@pytest.mark.parametrize("mode", ["random", "uniform_random"])
def test_drawn_gates_want_no_prompts(tmp_path: Path, mode: str) -> None:
    text = f"base_model: a/b\ngate_mode: {mode}\nexperts: [{{source_model: a/b}}, {{source_model: a/b}}]\n"
    assert settings_of(write(tmp_path, text)).gate_mode == mode


def test_several_faults_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe_of(read_merge_file(write(tmp_path, TWO + "dtype: int8\nunknown: 1\n")))
    assert "dtype" in str(caught.value)
    assert "'compose.unknown'" in str(caught.value)


def test_several_faults_of_the_experts_are_told_at_once(tmp_path: Path) -> None:
    text = TWO.replace("a/c, positive_prompts: [y]", "a/c") + "experts_per_token: 3\ntokenizer_source: union\n"
    with pytest.raises(RecipeError) as caught:
        recipe_of(read_merge_file(write(tmp_path, text)))
    for said in ("experts_per_token is 3", "tokenizer_source is 'union'", "no positive_prompts: a/c"):
        assert said in str(caught.value)
