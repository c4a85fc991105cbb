import json

import pytest

from moyai.checkpoint.compatibility import require_compatible
from moyai.errors import InputFileError


def tokenizer(directory, vocabulary, added=()):
    data = {"model": {"type": "BPE", "vocab": vocabulary, "merges": []}, "added_tokens": list(added)}
    (directory / "tokenizer.json").write_text(json.dumps(data))


def change(directory, **changes):
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_models_of_one_shape_fit(make_parent):
    assert require_compatible(make_parent(name="a"), {"b": make_parent(name="b")}) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "mistral"}, "family is mistral, not llama"),
        ({"intermediate_size": 44}, "intermediate_size is 44, not 40"),
        ({"num_hidden_layers": 3}, "num_hidden_layers is 3, not 2"),
        ({"vocab_size": 50}, "the vocabulary has 50 rows, not 48"),
        ({"rope_theta": 1e6}, "rope_theta is 1000000.0, not 10000.0"),
        ({"rms_norm_eps": 1e-3}, "rms_norm_eps is 0.001"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu', not 'silu'"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope scaling is .*linear.*, not none"),
    ],
)
def test_every_difference_is_named(make_parent, changes, said):
    base, other = make_parent(name="a"), make_parent(name="b")
    change(other, **changes)
    with pytest.raises(InputFileError, match=f"b: {said}"):
        require_compatible(base, {"b": other})


def test_all_differences_of_all_models_are_told_at_once(make_parent):
    base, second, third = (make_parent(name=name) for name in "abc")
    change(second, rope_theta=5e5, head_dim=8)
    change(third, hidden_size=32)
    with pytest.raises(InputFileError) as caught:
        require_compatible(base, {"b": second, "c": third})
    for said in ("rope_theta is 500000.0", "head_dim is 8", "c: hidden_size is 32"):
        assert said in str(caught.value)


def test_vocabularies_are_compared_piece_by_piece(make_parent):
    base, other = make_parent(name="a"), make_parent(name="b")
    tokenizer(base, {"a": 0, "b": 1}, [{"id": 2, "content": "<end>"}])
    tokenizer(other, {"b": 1, "a": 0}, [{"id": 2, "content": "<end>"}])
    assert require_compatible(base, {"b": other}) == []
    tokenizer(other, {"a": 0, "c": 1}, [{"id": 3, "content": "<end>"}])
    with pytest.raises(InputFileError, match=r"3 pieces of the vocabulary .*'<end>', 'b', 'c'"):
        require_compatible(base, {"b": other})
    assert require_compatible(base, {"b": other}, same_vocabulary=False) == []


def test_a_shorter_context_is_worth_a_note(make_parent):
    base, other = make_parent(name="a"), make_parent(name="b")
    change(other, max_position_embeddings=128)
    (note,) = require_compatible(base, {"b": other})
    assert "b was made for 128 positions, the base for 4096" in note


def test_vocabularies_that_cannot_be_compared_are_worth_a_note(make_parent):
    base, other = make_parent(name="a"), make_parent(name="b")
    tokenizer(base, {"a": 0, "b": 1})
    (note,) = require_compatible(base, {"b": other})
    assert note == "the vocabularies of b and the base were not compared, they are in files of other kinds"
    (other / "tokenizer.model").write_bytes(b"pieces")
    assert require_compatible(base, {"b": other}) == [note]
    (base / "tokenizer.model").write_bytes(b"pieces")
    assert require_compatible(base, {"b": other}) == []
