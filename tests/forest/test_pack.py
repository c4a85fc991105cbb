"""Rows are full, nothing is cut that must not be, and every target counts once."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.corpus.mixing.mixture import Mixture
from moyai.forest.head import target_log_probs
from moyai.forest.pack import fill_rows, pack_whole
from moyai.forest.tree import sequence_tree


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(2, 40), min_size=1, max_size=6), row_tokens=st.integers(2, 16))
def test_every_token_but_a_documents_first_is_a_target_once(lengths: list[int], row_tokens: int) -> None:
    documents, token = [], 0
    for length in lengths:
        documents.append(list(range(token, token + length)))
        token += length
    total = sum(lengths)
    mixture = Mixture({"only": documents}, {"only": 1.0}, seed=0)
    rows = fill_rows(mixture, row_tokens=row_tokens, num_rows=total // row_tokens + 1)
    assert all(sum(tree.num_tokens for tree in row) == row_tokens for row in rows)
    seen = Counter(want.target for row in rows for tree in row for want in tree.wanted)
    firsts = {ids[0] for ids in documents}
    assert not firsts & set(seen)
    # every epoch makes each other token a target once; the last epoch may be cut short
    counts = {seen[token] for token in range(total) if token not in firsts}
    assert max(counts) - min(counts) <= 1
    assert mixture.use["only"].tokens == len(rows) * row_tokens


@given(lengths=st.lists(st.integers(2, 16), min_size=1, max_size=40))
def test_whole_trees_are_kept_whole(lengths: list[int]) -> None:
    trees = [sequence_tree([number] * length) for number, length in enumerate(lengths)]
    rows = list(pack_whole(trees, row_tokens=16))
    assert Counter(id(tree) for row in rows for tree in row) == Counter(id(tree) for tree in trees)
    assert all(0 < sum(tree.num_tokens for tree in row) <= 16 for row in rows)


@pytest.mark.parametrize("num_blocks", [1, 2])
def test_head_equals_log_softmax_and_its_gradient_over_many_slices(
    num_blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moyai.forest.head._SLICE_VALUES", 1)  # slices of the smallest width, 256
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(7, 16, generator=generator).requires_grad_()
    weight = torch.randn(1000, 16, generator=generator).requires_grad_()
    targets = torch.tensor([0, 255, 256, 699, 700, 999, 5])
    weights = torch.rand(7, generator=generator)
    reference = (hidden @ weight.T).log_softmax(-1)[range(7), targets]
    expected = torch.autograd.grad((reference * weights).sum(), [hidden, weight])
    blocks = [weight] if num_blocks == 1 else [weight[:700], weight[700:]]
    ours = target_log_probs(hidden, blocks, targets)
    torch.testing.assert_close(ours, reference, rtol=0, atol=1e-5)
    found = torch.autograd.grad((ours * weights).sum(), [hidden, weight])
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_a_frozen_head_gets_no_gradient() -> None:
    hidden = torch.randn(2, 8).requires_grad_()
    target_log_probs(hidden, [torch.randn(300, 8)], torch.tensor([1, 299])).sum().backward()
    assert hidden.grad is not None
