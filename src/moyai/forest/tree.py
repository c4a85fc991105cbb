"""Token trees: sequences that share a prefix share its tokens.

A tree is a list of nodes in topological order (a parent stands before its children); a sequence is the path from
the root to a node.  A document or a conversation is a tree of one node; a question with its choices is a trunk with
leaves.  `wanted` says which next-token log-probabilities are to be computed, and for whom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Wanted:
    """The log-probability of token `target` after the token at `index` (in the tree's own order of tokens)."""

    index: int
    target: int
    owner: int = 0
    """Which of the caller's sequences it belongs to."""
    weight: float = 1.0


@dataclass(frozen=True)
class Node:
    """A run of tokens that follows its parent's."""

    ids: tuple[int, ...]
    parent: int = -1


@dataclass(frozen=True)
class Tree:
    """Nodes in topological order, and what is wanted of them."""

    nodes: tuple[Node, ...]
    wanted: tuple[Wanted, ...]

    def __post_init__(self) -> None:
        assert all(node.parent < index for index, node in enumerate(self.nodes)), "a parent stands before its children"

    @property
    def num_tokens(self) -> int:
        """Tokens of all nodes: what the model has to run through."""
        return sum(len(node.ids) for node in self.nodes)


def sequence_tree(ids: Sequence[int], weights: Sequence[float] | None = None, *, owner: int = 0) -> Tree:
    """One sequence: every token but the first is wanted, each with the weight at its own place (default 1).

    >>> tree = sequence_tree([5, 6, 7], [0.0, 0.0, 1.0])
    >>> [(want.index, want.target) for want in tree.wanted]
    [(1, 7)]
    """
    weights = [1.0] * len(ids) if weights is None else weights
    assert len(weights) == len(ids)
    wanted = tuple(
        Wanted(place - 1, ids[place], owner, weights[place]) for place in range(1, len(ids)) if weights[place]
    )
    return Tree((Node(tuple(ids)),), wanted)


def choice_tree(context: Sequence[int], choices: Sequence[Sequence[int]]) -> Tree:
    """A context as trunk and each choice as a leaf; choice `k`'s tokens are wanted with owner `k`.

    The last token of a choice only has to be predicted, so it is not run through the model.

    >>> choice_tree([1, 2], [[3], [4, 5]]).num_tokens
    3
    """
    assert context
    assert all(choices)
    nodes, wanted, place = [Node(tuple(context))], [], len(context)
    for owner, choice in enumerate(choices):
        wanted.append(Wanted(len(context) - 1, choice[0], owner))
        if len(choice) > 1:
            nodes.append(Node(tuple(choice[:-1]), parent=0))
            wanted.extend(Wanted(place + step, choice[step + 1], owner) for step in range(len(choice) - 1))
            place += len(choice) - 1
    return Tree(tuple(nodes), tuple(wanted))
