"""Rows: trees laid side by side in one tensor, with the positions and the mask that keep them apart.

Shape letters: B rows (always 1 here), L tokens of a row, W wanted targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from moyai.forest.tree import Tree


@dataclass(frozen=True)
class Row:
    """One row of packed trees."""

    ids_BL: torch.Tensor
    """int64; padding is token 0 and is seen by nobody."""
    positions_BL: torch.Tensor
    """int64; depth of each token in its own sequence, so every document starts at 0."""
    mask_BHLL: torch.Tensor
    """bool, H = 1; True where the row's token may see the column's: its ancestors, itself included."""
    owners_per_token_BL: torch.Tensor
    """float32; how many of the trees' sequences a token belongs to; 0 for padding."""
    wanted_W: torch.Tensor
    """int64; index into L of the hidden state that predicts."""
    targets_W: torch.Tensor
    """int64."""
    weights_W: torch.Tensor
    """float32."""
    owners_W: torch.Tensor
    """int64; tree number times `OWNER_STRIDE` plus the owner within the tree."""
    num_tokens: int
    """Tokens of the row, padding not counted."""


OWNER_STRIDE = 1 << 20


def pack_row(trees: Sequence[Tree], num_slots: int | None = None) -> Row:
    """Lay `trees` side by side in a row of `num_slots` tokens (default: as many as they have).

    >>> from moyai.forest.tree import sequence_tree
    >>> row = pack_row([sequence_tree([5, 6]), sequence_tree([7])], 4)
    >>> row.positions_BL.tolist(), row.mask_BHLL[0, 0, 2].tolist()
    ([[0, 1, 0, 0]], [False, False, True, False])
    """
    total = sum(tree.num_tokens for tree in trees)
    slots = total if num_slots is None else num_slots
    assert 0 < total <= slots
    ids, positions, node_of_token, owners = ([0] * slots for _ in range(4))
    ancestors: list[set[int]] = []
    wanted: list[tuple[int, int, float, int]] = []
    place = 0
    for tree_number, tree in enumerate(trees):
        first_node, first_place = len(ancestors), place
        depth_after: list[int] = []
        num_leaves = _leaves_below(tree)
        for number, node in enumerate(tree.nodes):
            above = ancestors[first_node + node.parent] if node.parent >= 0 else set()
            ancestors.append(above | {first_node + number})
            depth = depth_after[node.parent] if node.parent >= 0 else 0
            end = place + len(node.ids)
            ids[place:end] = node.ids
            positions[place:end] = range(depth, depth + len(node.ids))
            node_of_token[place:end] = [first_node + number] * len(node.ids)
            owners[place:end] = [num_leaves[number]] * len(node.ids)
            depth_after.append(depth + len(node.ids))
            place = end
        wanted.extend(
            (first_place + want.index, want.target, want.weight, tree_number * OWNER_STRIDE + want.owner)
            for want in tree.wanted
        )
    return Row(
        ids_BL=torch.tensor([ids]),
        positions_BL=torch.tensor([positions]),
        mask_BHLL=_mask(ancestors, node_of_token, total)[None, None],
        owners_per_token_BL=torch.tensor([owners], dtype=torch.float32),
        wanted_W=torch.tensor([want[0] for want in wanted], dtype=torch.int64),
        targets_W=torch.tensor([want[1] for want in wanted], dtype=torch.int64),
        weights_W=torch.tensor([want[2] for want in wanted], dtype=torch.float32),
        owners_W=torch.tensor([want[3] for want in wanted], dtype=torch.int64),
        num_tokens=total,
    )


def _leaves_below(tree: Tree) -> list[int]:
    children = [0] * len(tree.nodes)
    for node in tree.nodes:
        if node.parent >= 0:
            children[node.parent] += 1
    leaves = [int(count == 0) for count in children]
    for number in range(len(tree.nodes) - 1, -1, -1):
        parent = tree.nodes[number].parent
        if parent >= 0:
            leaves[parent] += leaves[number]
    return leaves


def _mask(ancestors: list[set[int]], node_of_token: list[int], total: int) -> torch.Tensor:
    """Bool [L, L]; padding sees only itself, so that its softmax is defined."""
    num_nodes, slots = len(ancestors), len(node_of_token)
    sees_NN = torch.zeros(num_nodes, num_nodes, dtype=torch.bool)
    for number, above in enumerate(ancestors):
        sees_NN[number, list(above)] = True
    nodes_L = torch.tensor(node_of_token)
    mask_LL = sees_NN[nodes_L][:, nodes_L].tril_()
    mask_LL[total:] = False
    mask_LL[:, total:] = False
    mask_LL[range(total, slots), range(total, slots)] = True
    return mask_LL
