"""Groups of documents: which first document each one belongs to, as pairs become known."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray


class Groups:
    """Documents 0 … n − 1 in groups; a group is known by its first document.  4 bytes a document."""

    def __init__(self, leaders: NDArray[np.uint32]) -> None:
        self._leaders = leaders

    @classmethod
    def alone(cls, num_documents: int) -> Self:
        """Every document in a group of its own."""
        assert num_documents < 1 << 32
        return cls(np.arange(num_documents, dtype=np.uint32))

    def __len__(self) -> int:
        return len(self._leaders)

    def first(self, documents: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """The first document of the group of each of `documents`.

        The ways there are shortened, so that each is gone once: of what is passed every second place is left out, and
        `documents` themselves lead to the first one afterwards.
        """
        at = documents
        while True:
            found = self._leaders[at]
            further = self._leaders[found]
            if np.array_equal(further, found):
                self._leaders[documents] = found
                return found
            self._leaders[at] = further
            at = further

    def join(self, one: NDArray[np.uint32], other: NDArray[np.uint32]) -> None:
        """The groups of `one[i]` and `other[i]` become one.

        The result does not depend on the order of the pairs.

        >>> groups = Groups.alone(5)
        >>> groups.join(np.array([4, 2], np.uint32), np.array([2, 1], np.uint32))
        >>> groups.all_first().tolist()
        [0, 1, 1, 3, 1]
        """
        while True:
            first, second = self.first(one), self.first(other)
            apart = first != second
            if not apart.any():
                return
            # from here on the pairs are of the groups' first documents, whose ways the next round shortens
            one, other = first[apart], second[apart]
            # of several pairs that would move the same group one wins; the others meet it in the next round
            np.minimum.at(self._leaders, np.maximum(one, other), np.minimum(one, other))

    def all_first(self) -> NDArray[np.uint32]:
        """The first document of every document's group, uint32 [documents]."""
        return self.first(np.arange(len(self), dtype=np.uint32))
