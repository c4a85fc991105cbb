"""Filling rows: documents cut at the end of a row, or whole trees where none may be cut."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import overload

from moyai.corpus.mixing.mixture import Documents, Mixture, Piece, document_part
from moyai.forest.tree import Tree, sequence_tree


class FilledRows(Sequence[list[Tree]]):
    """Rows of pieces of documents; only places are kept, 22 bytes a piece, and the trees are made when asked for."""

    def __init__(self, sources: Mapping[str, Documents]) -> None:
        self._sources = list(sources.values())
        self._number = {name: number for number, name in enumerate(sources)}
        self._source, self._document, self._start, self._length = array("H"), array("q"), array("q"), array("i")
        self._row_ends = array("q")

    def add(self, piece: Piece) -> None:
        """Put a piece into the open row."""
        self._source.append(self._number[piece.source])
        self._document.append(piece.document)
        self._start.append(piece.start)
        self._length.append(piece.length)

    def close_row(self) -> None:
        """The open row is full."""
        self._row_ends.append(len(self._source))

    def __len__(self) -> int:
        return len(self._row_ends)

    @overload
    def __getitem__(self, row: int) -> list[Tree]: ...

    @overload
    def __getitem__(self, row: slice) -> list[list[Tree]]: ...

    def __getitem__(self, row: int | slice) -> list[Tree] | list[list[Tree]]:
        if isinstance(row, slice):
            return [self[number] for number in range(*row.indices(len(self)))]
        number = range(len(self))[row]
        first = self._row_ends[number - 1] if number else 0
        return [self._tree(piece) for piece in range(first, self._row_ends[number])]

    def _tree(self, piece: int) -> Tree:
        """The piece as a tree that also predicts the token after it, where there is one."""
        start, length = self._start[piece], self._length[piece]
        documents, document = self._sources[self._source[piece]], self._document[piece]
        longer = [int(id_) for id_ in document_part(documents, document, start, start + length + 1)]
        return Tree(sequence_tree(longer[:length]).nodes, sequence_tree(longer).wanted)


def fill_rows(mixture: Mixture, *, row_tokens: int, num_rows: int) -> FilledRows:
    """`num_rows` rows, each full to the last token; a document that does not fit goes on in the next row.

    A piece that goes on starts its own sequence: it sees nothing of the row before.  A piece that is cut still predicts
    the token after the cut, so every token of a document but its first is a target exactly once.
    """
    rows = FilledRows(mixture.sources)
    for _ in range(num_rows):
        room = row_tokens
        while room:
            piece = mixture.piece(room)
            rows.add(piece)
            room -= piece.length
        rows.close_row()
    return rows


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
