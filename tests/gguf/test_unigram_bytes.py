from gguf.constants import TokenType
from hypothesis import given
from hypothesis import strategies as st

from moyai.gguf.unigram_bytes import byte_tokens_folded, byte_tokens_spelled, characters_without_token
from moyai.tokenizer.token_bytes import byte_piece_value

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def vocabulary(pieces: list[str]) -> tuple[list[str], list[TokenType], list[float]]:
    tokens = ["<unk>", *BYTES, *pieces]
    types = [TokenType.UNKNOWN] + [TokenType.BYTE] * 256 + [TokenType.NORMAL] * len(pieces)
    return tokens, types, [0.0] * 257 + [-1.5 * i for i in range(len(pieces))]


@given(st.lists(st.text(min_size=1, max_size=3).filter(lambda piece: byte_piece_value(piece) is None), unique=True))
def test_there_and_back(pieces: list[str]) -> None:
    before = vocabulary(["▁", *(piece for piece in pieces if piece not in ("▁", "<unk>"))])
    after = byte_tokens_folded(*byte_tokens_spelled(*before))
    assert after == tuple(map(tuple, before))


def test_ascii_without_a_piece_becomes_ordinary_and_dear() -> None:
    before = vocabulary(["▁", "a", "あ"])
    tokens, types, scores = byte_tokens_spelled(*before)
    assert tokens[1 + 0x0A] == "\n"
    assert types[1 + 0x0A] == TokenType.NORMAL
    assert scores[1 + 0x0A] == -3.0 - 10.0
    changed = [i for i, token in enumerate(tokens) if token != before[0][i]]
    # Neither byte 0, nor the space, nor what is a piece, nor a byte that begins or goes on with a character.
    assert [i - 1 for i in changed] == [byte for byte in range(1, 128) if chr(byte) not in " a"]


def test_bytes_that_do_not_stand_in_a_row_are_left_alone() -> None:
    tokens, types = ("<0x01>", "a", "<0x09>"), (TokenType.BYTE, TokenType.NORMAL, TokenType.BYTE)
    assert byte_tokens_folded(tokens, types, (0.0, 0.0, 0.0)) == (tokens, types, (0.0, 0.0, 0.0))


def test_characters_without_token() -> None:
    assert characters_without_token("鱻あ\n🛶🛶\0 a", ["あ"]) == "鱻🛶\0"
