"""How much text a corpus is taken to hold, and what a plan makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moyai.corpus.packing.indexed_file import token_dtype
from moyai.errors import InputFileError
from moyai.plan.plan import Plan, plan_recipe
from moyai.plan.prepared_size import measure_source, stored_token_bytes
from moyai.recipe.corpus_settings import CorpusSource
from moyai.recipe.load import parse_recipe

JAPANESE, ENGLISH = "潮が満ちると舟は浮く。", "The tide lifts the boat."


def write(path: Path, texts: list[str]) -> str:
    path.write_text("".join(json.dumps({"body": text}, ensure_ascii=False) + "\n" for text in texts), encoding="utf-8")
    return str(path)


def source(files: str | list[str], **more: object) -> CorpusSource:
    return CorpusSource.model_validate({"files": files, "text": "body", **more})


def test_a_small_source_is_counted(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [JAPANESE] * 3)
    write(tmp_path / "b.jsonl", [ENGLISH] * 2)
    size = measure_source(source(str(tmp_path / "*.jsonl")))
    assert (size.documents, size.japanese_characters, size.estimated) == (5, 3 * len(JAPANESE), False)
    assert size.other_characters == 2 * len(ENGLISH)
    assert measure_source(source(str(tmp_path / "*.jsonl"), max_documents=1)).documents == 2


def test_a_large_source_is_judged_by_its_first_files_and_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moyai.plan.prepared_size._SAMPLED_DOCUMENTS", 10)
    for number in range(6):
        write(tmp_path / f"{number}.jsonl", [JAPANESE] * 40)
    size = measure_source(source(str(tmp_path)))
    assert (size.documents, size.japanese_characters) == (240, 240 * len(JAPANESE))
    assert size.estimated


def test_what_is_not_here_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="does not exist"):
        measure_source(source(str(tmp_path / "none.jsonl")))
    with pytest.raises(InputFileError, match="is not known beforehand"):
        measure_source(source("hub:owner/books:train"))
    write(tmp_path / "other.jsonl", [JAPANESE])
    with pytest.raises(InputFileError, match="has no document that can be read"):
        measure_source(CorpusSource.model_validate({"files": str(tmp_path / "other.jsonl")}))


def test_a_token_takes_as_many_bytes_as_in_the_shards() -> None:
    for num_ids in (1, 65_536, 65_537, 200_000):
        assert stored_token_bytes(num_ids) == token_dtype(num_ids).itemsize


def plan(tmp_path: Path, corpus: str, *, sources: str = "{ja: ja.jsonl, en: en.jsonl}") -> Plan:
    architecture = (
        "{family: llama, vocab_size: 320, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2,"
        " num_attention_heads: 4, num_key_value_heads: 2, head_dim: 8, max_position_embeddings: 512,"
        " tie_word_embeddings: true}"
    )
    text = (
        f"moyai: 1\nname: small\nbase: {tmp_path}\narchitecture: {architecture}\nstages:\n"
        f"  - prepare: {{sources: {sources}}}\n"
        f"  - pretrain: {{corpus: {corpus}, tokens: 10_000}}\n"
    )
    return plan_recipe(parse_recipe(text, where="small.yaml"))


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text, count in (("ja", JAPANESE, 300), ("en", ENGLISH, 100)):
        rows = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for _ in range(count))
        (tmp_path / f"{name}.jsonl").write_text(rows, encoding="utf-8")
    return tmp_path


def test_preparing_and_training_on_it_are_planned(texts: Path) -> None:
    prepare, pretrain = plan(texts, "{'stage:prepare/ja': 3, 'stage:prepare/en': 1}").stages[1:]
    assert [use.documents for use in prepare.sources] == [300, 100]
    assert not prepare.makes_checkpoint
    assert prepare.tokens == sum(use.source_tokens or 0 for use in prepare.sources)
    assert prepare.written_bytes == 2 * prepare.tokens + 20 * 400
    assert [use.tokens for use in pretrain.sources] == [7_500, 2_500]
    for packed, used in zip(prepare.sources, pretrain.sources, strict=True):
        assert used.source_tokens == packed.source_tokens
        assert used.epochs == pytest.approx((used.tokens or 0) / (packed.source_tokens or 1))


def test_a_whole_corpus_is_one_entry_of_the_mixture(texts: Path) -> None:
    prepare, pretrain = plan(texts, "stage:prepare").stages[1:]
    (use,) = pretrain.sources
    assert (use.source, use.tokens, use.documents) == ("stage:prepare", 10_000, 400)
    assert use.source_tokens == prepare.tokens


def test_epochs_and_temperature_are_planned_from_the_sizes(texts: Path) -> None:
    _, english = plan(texts, "stage:prepare").stages[1].sources
    assert english.source_tokens is not None
    by_epochs = plan(texts, "{'stage:prepare/ja': 1, 'stage:prepare/en': {epochs: 2}}").stages[2]
    assert by_epochs.sources[1].tokens == 2 * english.source_tokens
    assert sum(use.tokens or 0 for use in by_epochs.sources) == 10_000
    too_many = plan(texts, "{'stage:prepare/ja': 1, 'stage:prepare/en': {epochs: 100}}")
    assert any("if the estimates are right" in warning for warning in too_many.warnings)


def test_a_plan_can_be_made_before_the_data_is_fetched(texts: Path) -> None:
    made = plan(texts, "{'stage:prepare/ja': 3, 'stage:prepare/en': 1}", sources="{ja: ja.jsonl, en: later.jsonl}")
    assert any("later.jsonl does not exist" in warning for warning in made.warnings)
    prepare, pretrain = made.stages[1:]
    assert prepare.tokens is None
    assert [use.tokens for use in pretrain.sources] == [7_500, 2_500]
