"""Optional libraries: imported where they are used, asked for in one sentence where they are missing."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from moyai.errors import UserError


def need(module: str, what: str, *, extra: str = "corpus") -> ModuleType:
    """The optional library `module`.

    Args:
        module: its import name.
        what: what needs it, as the subject of a sentence ("Parquet files").
        extra: the extra of this package that brings it.

    Raises:
        UserError: it is not installed.

    >>> need("json", "An example").dumps([1])
    '[1]'
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise UserError(f"{what} need {module.partition('.')[0]}", hint=f"pip install 'moyai[{extra}]'") from None
