"""A shuffled order that is computed and not stored: item by item, in any place, whatever its length."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar, overload

_Item = TypeVar("_Item")

_ROUNDS = 6
_MASK = (1 << 64) - 1


class Permutation(Sequence[int]):
    """The numbers 0 to `size` - 1 in an order that `key` decides; memory does not grow with `size`.

    A Feistel network over as many bits as `size` needs; a number that falls outside is sent through again until it
    falls inside, which takes less than two rounds on average.

    Source: Black and Rogaway, Ciphers with Arbitrary Finite Domains (CT-RSA 2002), cycle walking.

    >>> order = Permutation(10**12, key="a")
    >>> len({order[place] for place in range(1000)})
    1000
    """

    def __init__(self, size: int, *, key: str) -> None:
        assert size >= 0
        bits = max(size - 1, 0).bit_length()
        self._size = size
        self._low_bits = bits - bits // 2
        self._low_mask = (1 << self._low_bits) - 1
        self._high_mask = (1 << (bits // 2)) - 1
        digest = hashlib.shake_256(key.encode("utf-8")).digest(8 * _ROUNDS)
        self._keys = [int.from_bytes(digest[start : start + 8], "little") for start in range(0, len(digest), 8)]

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, place: int) -> int: ...

    @overload
    def __getitem__(self, place: slice) -> list[int]: ...

    def __getitem__(self, place: int | slice) -> int | list[int]:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(self._size))]
        if not -self._size <= place < self._size:
            raise IndexError(place)
        value = self._once(place % self._size)
        while value >= self._size:
            value = self._once(value)
        return value

    def _once(self, value: int) -> int:
        high, low = value >> self._low_bits, value & self._low_mask
        for number, key in enumerate(self._keys):
            if number % 2:
                low ^= _mixed(high ^ key) & self._low_mask
            else:
                high ^= _mixed(low ^ key) & self._high_mask
        return high << self._low_bits | low


def _mixed(value: int) -> int:
    """64 bits of which each depends on all of `value` (the finaliser of SplitMix64)."""
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31


class Shuffled(Sequence[_Item]):
    """Items in the order that `key` decides; each is asked for only when its turn comes.

    >>> sorted(Shuffled("abc", key="k"))
    ['a', 'b', 'c']
    """

    def __init__(self, items: Sequence[_Item], *, key: str) -> None:
        self._items = items
        self._order = Permutation(len(items), key=key)

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, place: int) -> _Item: ...

    @overload
    def __getitem__(self, place: slice) -> list[_Item]: ...

    def __getitem__(self, place: int | slice) -> _Item | list[_Item]:
        if isinstance(place, slice):
            return [self._items[number] for number in self._order[place]]
        return self._items[self._order[place]]
