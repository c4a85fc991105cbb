"""Pieces that nothing is ever cut into are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from moyai.tokenizer.extension.extended_vocabulary import extended_vocabulary
from moyai.tokenizer.extension.reachable import unreachable
from moyai.tokenizer.token_bytes import byte_to_char
from moyai.tokenizer.vocabulary import read_vocabulary
from tokenizer.conftest import write_family


def spelled(content: bytes) -> str:
    return "".join(byte_to_char()[byte] for byte in content)


@pytest.mark.parametrize("family", ["smollm2", "llama3"])
def test_a_piece_that_no_merges_lead_to(tmp_path: Path, family: str) -> None:
    """Also where the word alone would be taken whole, without merges."""
    base = read_vocabulary(write_family(tmp_path, family))
    two, three = spelled("舟".encode()[:2]), spelled("舟".encode())
    assert unreachable(extended_vocabulary(base, [two, three]), [two, three]) == []
    assert unreachable(extended_vocabulary(base, [three]), [three]) == [three], "its first step is missing"


def test_a_part_of_a_character_that_longer_pieces_always_swallow(tmp_path: Path) -> None:
    base = read_vocabulary(write_family(tmp_path, "smollm2"))
    two = spelled("舟".encode()[:2])
    whole = [spelled("舟".encode()[:2] + bytes([end])) for end in range(0x80, 0xC0)]
    assert unreachable(extended_vocabulary(base, [two, *whole]), [two, *whole]) == [two]


def test_a_sentencepiece_piece_needs_its_halves(tmp_path: Path) -> None:
    base = read_vocabulary(write_family(tmp_path, "mistral"))
    assert unreachable(extended_vocabulary(base, ["漣", "漪", "漣漪"]), ["漣", "漪", "漣漪"]) == []
    assert unreachable(extended_vocabulary(base, ["漣", "漣漪"]), ["漣", "漣漪"]) == ["漣漪"]


def test_a_unigram_piece_needs_a_score(tmp_path: Path) -> None:
    base = read_vocabulary(write_family(tmp_path, "llm-jp"))
    first, second = (piece for piece in base.ids if piece in ("の", "は"))
    joined = first + second
    assert unreachable(extended_vocabulary(base, [joined], [-0.1]), [joined]) == []
    assert unreachable(extended_vocabulary(base, [joined], [-99.0]), [joined]) == [joined]
