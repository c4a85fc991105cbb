import gzip
import json

import pytest

from moyai.errors import InputFileError
from moyai.plan import corpus_size
from moyai.plan.corpus_size import BASE_RATES, CorpusSize, TokenRates, measure_corpus


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_counts_only_the_wanted_split(tmp_path):
    rows = [
        {"text": "海とsea", "split": "train"},
        {"text": "山", "split": "heldout"},
        {"text": "川川", "split": "train"},
    ]
    source = write_rows(tmp_path / "a.jsonl", rows)
    assert measure_corpus(source, "train documents") == CorpusSize(2, 4, 3, estimated=False)
    assert measure_corpus(source, "held-out documents") == CorpusSize(1, 1, 0, estimated=False)


def test_limits(tmp_path):
    rows = [{"text": "あいうえお", "split": "heldout"}] * 3
    source = write_rows(tmp_path / "a.jsonl", rows)
    found = measure_corpus(source, "held-out documents", limit=2, max_characters=3)
    assert (found.documents, found.characters) == (2, 6)


def test_conversations_count_every_message(tmp_path):
    messages = [{"role": "user", "content": "やあ"}, {"role": "assistant", "content": "Hi"}]
    source = write_rows(tmp_path / "a.jsonl", [{"messages": messages}])
    assert measure_corpus(source, "conversations") == CorpusSize(1, 2, 2, estimated=False)


def test_starter_pack():
    assert measure_corpus("starter:ja_text", "train documents").documents == 240
    assert measure_corpus("starter:quiz_ja", "quiz questions").documents == 140


@pytest.mark.parametrize("name", ["big.jsonl", "big.jsonl.gz"])
def test_a_large_file_is_scaled_from_its_first_rows(tmp_path, monkeypatch, name):
    monkeypatch.setattr(corpus_size, "_MAX_ROWS", 10)
    text = "".join(json.dumps({"text": "abcd", "split": "train"}) + "\n" for _ in range(55))
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    assert measure_corpus(str(path), "train documents") == CorpusSize(55, 0, 220, estimated=True)


def test_a_changed_file_is_counted_anew(tmp_path):
    path = tmp_path / "a.jsonl"
    assert (
        measure_corpus(write_rows(path, [{"text": "a", "split": "train"}]), "train documents").documents == 1
    )
    write_rows(path, [{"text": "a", "split": "train"}] * 2)
    assert measure_corpus(str(path), "train documents").documents == 2


def test_a_missing_file_is_named():
    with pytest.raises(InputFileError, match=r"no/such\.jsonl does not exist"):
        measure_corpus("no/such.jsonl", "train documents")


def test_rates():
    assert TokenRates(japanese=2.0, other=4.0).tokens(CorpusSize(1, 100, 40, estimated=False)) == 60
    assert BASE_RATES.tokens(CorpusSize(1, 6, 44, estimated=False)) == 20
