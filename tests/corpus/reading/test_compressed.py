"""Lines of packed files; a file that is cut short or damaged is told, never taken for whole."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from moyai.corpus.reading.compressed import read_lines
from moyai.errors import InputFileError

NUM_LINES = 20_000
CONTENT = "".join(f"{number} 舟を岸に寄せる {number * 2654435761 % 2**32}\n" for number in range(NUM_LINES)).encode()


def zstd(data: bytes, *, size_known: bool = True) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=size_known, write_checksum=True).compress(data)


PACK: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "zst": zstd}


def lines(path: Path, content: bytes) -> list[bytes]:
    path.write_bytes(content)
    return list(read_lines(path))


def fault(path: Path, content: bytes) -> str:
    with pytest.raises(InputFileError) as caught:
        lines(path, content)
    assert str(caught.value).startswith(f"{path} is not a whole ")
    return str(caught.value).removeprefix(f"{path} is not a whole ")


@pytest.mark.parametrize("kind", PACK)
def test_a_packed_file_has_the_lines_of_the_plain_one(tmp_path: Path, kind: str) -> None:
    plain = lines(tmp_path / "a.txt", CONTENT)
    assert len(plain) == NUM_LINES
    assert b"".join(plain) == CONTENT
    assert lines(tmp_path / f"a.txt.{kind}", PACK[kind](CONTENT)) == plain


@pytest.mark.parametrize("kind", PACK)
def test_members_and_frames_follow_each_other(tmp_path: Path, kind: str) -> None:
    parts = CONTENT[:70_000], b"", CONTENT[70_000:]
    packed = b"".join(map(PACK[kind], parts))
    assert b"".join(lines(tmp_path / f"a.txt.{kind}", packed)) == CONTENT
    one_byte_off = packed[:-1]
    assert "it breaks after line " in fault(tmp_path / f"a.txt.{kind}", one_byte_off)


def test_padding_after_the_last_member(tmp_path: Path) -> None:
    padded = gzip.compress(CONTENT[:50_000]) + bytes(600) + gzip.compress(CONTENT[50_000:]) + bytes(10_000)
    assert b"".join(lines(tmp_path / "a.gz", padded)) == CONTENT
    assert f"it breaks after line {NUM_LINES}:" in fault(tmp_path / "a.gz", padded + b"more")


def test_frames_that_are_to_be_skipped(tmp_path: Path) -> None:
    skipped = struct.pack("<II", 0x184D2A5E, 5) + b"index"
    assert b"".join(lines(tmp_path / "a.zst", skipped + zstd(CONTENT) + skipped)) == CONTENT


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("part", [0.01, 0.5, 0.999])
def test_a_file_that_is_cut_short(tmp_path: Path, kind: str, part: float) -> None:
    packed = PACK[kind](CONTENT)
    said = fault(tmp_path / f"a.txt.{kind}", packed[: int(part * len(packed))])
    assert "it ends too early" in said
    place = int(said.split("after line ")[1].split(":")[0])
    assert place <= NUM_LINES * min(1.0, part + 0.2), "the place is about where the file ends"
    assert place > 0 or part < 0.5


def test_a_frame_that_does_not_say_its_size_is_cut_short_just_before_its_end(tmp_path: Path) -> None:
    packed = zstd(CONTENT, size_known=False)
    assert b"".join(lines(tmp_path / "a.zst", packed)) == CONTENT
    assert "it ends too early" in fault(tmp_path / "a.zst", packed[:-3])


@pytest.mark.parametrize(("kind", "called"), [("gz", "gzip"), ("zst", "zstd")])
@pytest.mark.parametrize("content", [b"", b"not packed at all", b"\x00" * 64])
def test_something_else_under_that_name(tmp_path: Path, kind: str, called: str, content: bytes) -> None:
    assert fault(tmp_path / f"a.{kind}", content).startswith(f"{called} file: it breaks after line 0: ")


@pytest.mark.parametrize("kind", PACK)
def test_damage_in_the_middle(tmp_path: Path, kind: str) -> None:
    packed = bytearray(PACK[kind](CONTENT))
    packed[len(packed) // 2 : len(packed) // 2 + 40] = b"\xff" * 40
    try:
        read = b"".join(lines(tmp_path / f"a.{kind}", bytes(packed)))
    except InputFileError:
        return
    pytest.fail(f"{len(read)} bytes were read of a damaged file")


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    assert lines(tmp_path / "a.txt", mark + b"one\n" + mark + b"two") == [b"one\n", mark + b"two"]


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="does not exist"):
        list(read_lines(tmp_path / "none.txt.gz"))
    with pytest.raises(InputFileError, match="is a directory"):
        list(read_lines(tmp_path))
