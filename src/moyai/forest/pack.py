"""Filling rows: documents cut at the end of a row, or whole trees where none may be cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from moyai.corpus.mixture import Mixture
from moyai.forest.tree import Tree, sequence_tree


def fill_rows(mixture: Mixture, *, row_tokens: int, num_rows: int) -> list[list[Tree]]:
    """`num_rows` rows, each full to the last token; a document that does not fit goes on in the next row.

    A piece that goes on starts its own sequence: it sees nothing of the row before.  A piece that is cut still predicts
    the token after the cut, so every token of a document but its first is a target exactly once.
    """
    rows: list[list[Tree]] = []
    row: list[Tree] = []
    room = row_tokens
    for name, ids in mixture.documents():
        start = 0
        while start < len(ids) - 1:
            piece = ids[start : start + room]
            following = ids[start : start + room + 1]
            row.append(_piece(piece, following))
            mixture.take(name, len(piece), starts_document=start == 0)
            room -= len(piece)
            start += len(piece)
            if room == 0:
                rows.append(row)
                if len(rows) == num_rows:
                    return rows
                row, room = [], row_tokens
    raise AssertionError("a mixture never ends")


def _piece(piece: Sequence[int], following: Sequence[int]) -> Tree:
    """`piece` as a tree that also predicts the token after it, where there is one."""
    longer = sequence_tree(following)
    return Tree(sequence_tree(piece).nodes, longer.wanted)


def pack_whole(trees: Sequence[Tree], *, row_tokens: int) -> Iterator[list[Tree]]:
    """Rows of whole trees, none cut: each tree goes into the fullest open row that still has room for it.

    The order of the trees is kept roughly: a row is given out when it is full or when eight rows are open.
    All trees must fit a row.
    """
    open_rows: list[tuple[int, list[Tree]]] = []
    for tree in trees:
        assert tree.num_tokens <= row_tokens
        fits = [(used, row) for used, row in open_rows if used + tree.num_tokens <= row_tokens]
        if fits:
            used, row = max(fits, key=lambda item: item[0])
            open_rows = [item for item in open_rows if item[1] is not row]
        else:
            used, row = 0, []
        row.append(tree)
        used += tree.num_tokens
        if used == row_tokens:
            yield row
            continue
        open_rows.append((used, row))
        if len(open_rows) > 8:
            fullest = max(open_rows, key=lambda item: item[0])
            open_rows.remove(fullest)
            yield fullest[1]
    for _, row in open_rows:
        yield row
