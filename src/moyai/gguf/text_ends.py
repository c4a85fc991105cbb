"""Whether a tokenizer puts bos and eos around a text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moyai.errors import InputFileError


def text_ends(
    path: Path, processor: Any, config: Mapping[str, Any], special_ids: Mapping[str, int]
) -> tuple[bool, bool]:
    """Whether bos and eos are put around a text; an explicit setting goes first, as in transformers 5.

    Args:
        path: the `tokenizer.json`, for messages.
        processor: its `post_processor`.
        config: the content of `tokenizer_config.json`.
        special_ids: role -> id.

    Raises:
        InputFileError: something else is put around a text.
    """
    bos, eos = special_ids.get("bos"), special_ids.get("eos")
    around = _around(path, processor)
    adds_bos, adds_eos = around[0] == [bos], around[1] == [eos]
    if around != ([bos] * adds_bos, [eos] * adds_eos):
        raise InputFileError(
            f"{path} puts the ids {around[0]} and {around[1]} around a text,"
            f" which are not its bos ({bos}) and eos ({eos})"
        )
    said_bos, said_eos = config.get("add_bos_token"), config.get("add_eos_token")
    return adds_bos if said_bos is None else bool(said_bos), adds_eos if said_eos is None else bool(said_eos)


def _around(path: Path, processor: Any) -> tuple[list[int], list[int]]:
    """The ids that a post-processor puts before and after a text."""
    kind = processor.get("type") if isinstance(processor, dict) else None
    before: list[int] = []
    after: list[int] = []
    if processor is None or kind == "ByteLevel":
        return before, after
    if kind == "Sequence":
        for part in processor["processors"]:
            outer = _around(path, part)
            before, after = outer[0] + before, after + outer[1]
        return before, after
    if kind != "TemplateProcessing":
        raise InputFileError(f"{path} has the post-processor {kind!r}, which a GGUF cannot say")
    side = before
    for part in processor["single"]:
        if "Sequence" in part:
            side = after
        else:
            side.extend(processor["special_tokens"][part["SpecialToken"]["id"]]["ids"])
    return before, after
