"""A row of a forest gives what one sequence at a time gives: log-probabilities, gradients, balancing loss."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from moyai.forest.model import ForestModel
from moyai.forest.row import OWNER_STRIDE, pack_row
from moyai.forest.tree import Node, Tree, Wanted, choice_tree, sequence_tree
from moyai.training.balance import balance_loss
from tiny import tiny_model

FAMILIES = ["llama", "mistral", "mixtral"]


def forest_model(family: str, *, num_base_rows: int | None = None, tied: bool = True) -> ForestModel:
    model = tiny_model(family, tied=tied)
    if family == "mixtral":
        model.set_experts_implementation("one_by_one")
    return ForestModel(model, precision=torch.float32, num_base_rows=num_base_rows)


def paths(tree: Tree) -> list[tuple[list[int], dict[int, int]]]:
    """Every root-to-leaf sequence, and for each index in the tree its place in that sequence."""
    starts, place = [], 0
    for node in tree.nodes:
        starts.append(place)
        place += len(node.ids)
    parents = {node.parent for node in tree.nodes}
    found = []
    for number in range(len(tree.nodes)):
        if number in parents:
            continue
        chain = []
        here = number
        while here >= 0:
            chain.append(here)
            here = tree.nodes[here].parent
        ids: list[int] = []
        where: dict[int, int] = {}
        for member in reversed(chain):
            for step in range(len(tree.nodes[member].ids)):
                where[starts[member] + step] = len(ids) + step
            ids.extend(tree.nodes[member].ids)
        found.append((ids, where))
    return found


def assert_same_gradient(ours: torch.Tensor, reference: torch.Tensor) -> None:
    """Within 1e-4 of the tensor's largest gradient: float32 sums in another order."""
    assert (ours - reference).abs().max() <= 1e-4 * reference.abs().max()


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    token = st.integers(0, 319)
    nodes: list[Node] = []
    for number in range(draw(st.integers(1, 4))):
        parent = draw(st.integers(0, number - 1)) if number else -1
        nodes.append(Node(tuple(draw(st.lists(token, min_size=1, max_size=5))), parent))
    total = sum(len(node.ids) for node in nodes)
    wants = draw(st.lists(st.tuples(st.integers(0, total - 1), token), min_size=1, max_size=6))
    return Tree(tuple(nodes), tuple(Wanted(index, target, owner) for owner, (index, target) in enumerate(wants)))


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=25, deadline=None)
@given(forest=st.lists(trees(), min_size=1, max_size=3), padding=st.integers(0, 5))
def test_a_row_equals_one_sequence_at_a_time(family: str, forest: list[Tree], padding: int) -> None:
    model = forest_model(family)
    row = pack_row(forest, sum(tree.num_tokens for tree in forest) + padding)
    log_probs_W = model(row).log_probs_W.tolist()
    for owner, log_prob in zip(row.owners_W.tolist(), log_probs_W, strict=True):
        tree = forest[owner // OWNER_STRIDE]
        want = tree.wanted[owner % OWNER_STRIDE]
        ids, where = next((ids, where) for ids, where in paths(tree) if want.index in where)
        hidden = model.backbone(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0, where[want.index]]
        logits = torch.cat([hidden @ block.T for block in model.head.blocks])
        assert log_prob == pytest.approx(logits.log_softmax(-1)[want.target].item(), abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
def test_gradients_equal_transformers_own_loss(family: str, tied: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    documents = [torch.randint(0, 320, (length,), generator=generator).tolist() for length in (9, 5, 14)]
    reference = tiny_model(family, tied=tied)
    total = sum(len(ids) - 1 for ids in documents)
    for ids in documents:
        batch = torch.tensor([ids])
        (reference(input_ids=batch, labels=batch).loss * (len(ids) - 1) / total).backward()
    model = forest_model(family, num_base_rows=300, tied=tied)
    row = pack_row([sequence_tree(ids) for ids in documents], 40)
    (-model(row).log_probs_W.sum() / total).backward()
    embedding = torch.cat([model.embedding.base_VD.grad, model.embedding.new_VD.grad])
    assert_same_gradient(embedding, reference.get_input_embeddings().weight.grad)
    if not tied:
        head = torch.cat([model.head.base_VD.grad, model.head.new_VD.grad])
        assert_same_gradient(head, reference.get_output_embeddings().weight.grad)
    theirs = dict(reference.model.named_parameters())
    for name, parameter in model.backbone.named_parameters():
        if not name.startswith("embed_tokens"):
            assert_same_gradient(parameter.grad, theirs[name].grad)


def test_no_token_sees_another_document() -> None:
    model = forest_model("llama")
    first, second = sequence_tree([5, 6, 7, 8]), sequence_tree([9, 10, 11])
    before = model(pack_row([first, second])).log_probs_W[3:]
    other = model(pack_row([sequence_tree([100, 101, 102, 103]), second])).log_probs_W[3:]
    torch.testing.assert_close(before, other, rtol=0, atol=0)


def test_balance_loss_of_a_shared_prefix_equals_the_naive_one() -> None:
    model = forest_model("mixtral")
    context, choices = [5, 6, 7, 8, 9], [[10, 11, 12], [13, 14], [15, 16, 17, 18]]
    row = pack_row([choice_tree(context, choices)], 20)
    ours = balance_loss(model(row).router_logits_LE, row.owners_per_token_BL[0], num_active=2)
    sequences = [context + choice[:-1] for choice in choices]
    logits = []
    for layer in range(2):
        per_sequence = [
            model.backbone(input_ids=torch.tensor([ids]), use_cache=False, output_router_logits=True).router_logits[layer]
            for ids in sequences
        ]
        logits.append(torch.cat(per_sequence))
    naive = torch.stack([load_balancing_loss_func((layer,), 4, 2) for layer in logits]).mean()
    torch.testing.assert_close(ours, naive, rtol=1e-5, atol=1e-5)


def test_choice_with_one_token_costs_nothing() -> None:
    assert choice_tree([1, 2, 3], [[4], [5]]).num_tokens == 3
