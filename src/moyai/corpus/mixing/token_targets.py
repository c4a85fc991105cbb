"""How many tokens each source of a mixture gives: shares, tokens, epochs and temperature come to whole numbers."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from moyai.errors import UserError
from moyai.recipe.corpus_settings import SourceAmount


def token_targets(
    amounts: Mapping[str, SourceAmount], sizes: Mapping[str, int], *, total: int, temperature: float | None = None
) -> dict[str, int]:
    """How many tokens are taken of each source; together exactly `total`.

    Args:
        amounts: what is asked of each source.
        sizes: tokens of each source, gone through once.
        total: tokens in all.
        temperature: shares are multiplied by size ** (1 / temperature).

    Raises:
        UserError: the fixed amounts do not fit into `total`.

    >>> asked = {"ja": SourceAmount(share=3.0), "en": SourceAmount(share=1.0), "code": SourceAmount(tokens=20)}
    >>> token_targets(asked, {"ja": 50, "en": 50, "code": 100}, total=100)
    {'ja': 60, 'en': 20, 'code': 20}
    """
    fixed = {
        name: amount.tokens or round((amount.epochs or 0) * sizes[name])
        for name, amount in amounts.items()
        if amount.share is None
    }
    rest = total - sum(fixed.values())
    largest = max((sizes[name] for name, amount in amounts.items() if amount.share is not None), default=1)
    weights = {
        # the power of a size itself can be too large for a number
        name: amount.share * ((sizes[name] / largest) ** (1 / temperature) if temperature else 1.0)
        for name, amount in amounts.items()
        if amount.share is not None
    }
    if rest < 0 or (rest > 0 and not weights):
        raise UserError(
            f"the sources' tokens and epochs come to {sum(fixed.values())} tokens, and tokens is {total}",
            hint="change tokens, or give a source a share of what is left",
        )
    shared = divide(rest, weights) if weights else {}
    return {name: fixed[name] if name in fixed else shared[name] for name in amounts}


def divide(total: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Whole parts of `total` in proportion to `weights`, together exactly `total`; the largest remainders round up.

    >>> divide(10, {"a": 1.0, "b": 1.0, "c": 1.0})
    {'a': 4, 'b': 3, 'c': 3}
    """
    whole = sum(map(Fraction, weights.values()))
    exact = {name: total * Fraction(weight) / whole for name, weight in weights.items()}
    parts = {name: int(part) for name, part in exact.items()}
    by_remainder = sorted(parts, key=lambda name: (parts[name] - exact[name], name))
    for name in by_remainder[: total - sum(parts.values())]:
        parts[name] += 1
    return parts
