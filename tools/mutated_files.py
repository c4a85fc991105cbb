"""What a seeded generator makes of valid weight files: damaged, contradictory, hostile ones."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from valid_files import packed_anew

Mutation = Callable[[bytes, random.Random], bytes]

_SIZES = (0, 1, 7, 8, 255, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
def mutate(kind: str, directory: Path, main: Path, rng: random.Random) -> None:
    """Change the files in `directory` in one to four places, most often `main`, and knowing its format."""
    if kind == "index" and rng.random() < 0.15:
        _change_directory(directory, rng)
        return
    path = main
    if rng.random() < 0.2:
        path = rng.choice(sorted(path for path in directory.iterdir() if path.is_file()))
    content = path.read_bytes()
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        known = _MUTATIONS[kind] if path == main else ()
        content = rng.choice((*known, *known, *_ANY_MUTATIONS))(content, rng)
    path.write_bytes(content)


# ---- mutations of any bytes


def _flip_bits(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _flip_early_bits(content: bytes, rng: random.Random) -> bytes:
    end = rng.choice((16, 64, 512, 2048))
    return _flip_bits(content[:end], rng) + content[end:]


def _splice(content: bytes, rng: random.Random) -> bytes:
    """A piece of the file once more, elsewhere: put in between or over what is there."""
    start, end = sorted(rng.choices(range(len(content) + 1), k=2))
    to = rng.randrange(len(content) + 1)
    piece = content[start:end][: rng.choice((4, 64, 4096))]
    return content[:to] + piece + content[to + rng.choice((0, len(piece))) :]


def _cut_out(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    return content[:start] + content[start + rng.choice((1, 8, 100)) :]


def _truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.choice((0, 4, 8, rng.randrange(len(content) + 1), max(0, len(content) - 1)))]


def _extend(content: bytes, rng: random.Random) -> bytes:
    return content + rng.randbytes(rng.choice((1, 8, 1000)))


def _set_length(content: bytes, rng: random.Random) -> bytes:
    """A number of 2, 4 or 8 bytes somewhere, or at the very front, as lengths are written."""
    width = rng.choice((2, 4, 8, 8))
    place = rng.choice((0, 8, 16, rng.randrange(len(content) + 1), 4 * rng.randrange(len(content) // 4 + 1)))
    value = rng.choice((*_SIZES, len(content), len(content) - 8, rng.randrange(1000))) % 2 ** (8 * width)
    return content[:place] + value.to_bytes(width, "little") + content[place + width :]


_ANY_MUTATIONS: tuple[Mutation, ...] = (
    _flip_bits,
    _flip_early_bits,
    _splice,
    _cut_out,
    _truncate,
    _extend,
    _set_length,
)


# ---- mutations that know the format


def _odd_value(rng: random.Random) -> Any:
    """Something that JSON can hold and a header should not; `@…@` is written as it stands."""
    number = rng.choice(_SIZES) * rng.choice((1, 1, -1))
    return rng.choice(
        (
            number,
            [number, number],
            [number] * rng.choice((1, 3, 40, 100)),
            [1] * rng.choice((60, 65, 500)),
            [0, 2**62],
            [0, 0],
            [8, 0],
            [0, 8, 16],
            number / 3,
            float("nan"),
            float("inf"),
            "@1e999@",
            "@" + "9" * rng.choice((30, 4000, 5000)) + "@",
            ["@" + "9" * 4299 + "@"] * 3,
            "@" + "[" * rng.choice((50, 2000)) + "]" * 50 + "@",
            '@{"a":1,"a":2}@',
            None,
            True,
            [True, 4],
            "",
            "F32",
            "BF16",
            "F4",
            "\ud800",
            "\0",
            "x" * rng.choice((300, 5000)),
            rng.choice(("..", "../x", "/etc/passwd", "sub/x.safetensors", "x.safetensors", "a\\b.safetensors", "é" * 200)),
            "\ud800.safetensors",
            "n" * 300 + ".safetensors",
            {},
            [],
            {"a": 1},
            [[]],
        )
    )


def _change_json(value: Any, rng: random.Random) -> Any:
    """One node of the tree replaced, removed, doubled or renamed."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15:
        return _odd_value(rng)
    if isinstance(value, list):
        place = rng.randrange(len(value))
        return rng.choice(
            (
                [*value[:place], _change_json(value[place], rng), *value[place + 1 :]],
                value + value,
                value[:place],
                [*value, 1],
                value[::-1],
            )
        )
    key = rng.choice(list(value))
    others = {name: item for name, item in value.items() if name != key}
    renamed = rng.choice(("", "\ud800", "__metadata__", "x" * 3000, "dtype", *others))
    choices = [value | {key: _change_json(value[key], rng)}] * 4
    return rng.choice([*choices, others, others | {renamed: value[key]}, value | {renamed: value[key]}])


def _json_text(value: Any, rng: random.Random) -> bytes:
    text = json.dumps(value, ensure_ascii=rng.random() < 0.7 or "\\ud800" in json.dumps(value))
    text = text.replace('"@', "").replace('@"', "").replace('\\"', '"')
    if rng.random() < 0.05:
        text = text.replace(",", "," + rng.choice((" ", "\n", "\f", ",", '"a":1,')), 1)
    if rng.random() < 0.05:
        text = text[:-1] + "," + text[1:]  # every name twice
    return text.encode("utf-8", "surrogatepass") + b" " * rng.choice((0, 0, 5))


def _change_header(content: bytes, rng: random.Random) -> bytes:
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
    except (ValueError, RecursionError):
        return _flip_bits(content, rng)
    text = _json_text(_change_json(header, rng), rng)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def _change_index(content: bytes, rng: random.Random) -> bytes:
    try:
        return _json_text(_change_json(json.loads(content), rng), rng)
    except (ValueError, RecursionError):
        return _flip_bits(content, rng)


def _change_archive(content: bytes, rng: random.Random) -> bytes:
    """The pickle or another part changed, and packed so that the archive itself is sound."""
    part = rng.choice(("data.pkl", "data.pkl", "data.pkl", "data.pkl", "byteorder", "version", "data/0", ".format_version"))
    mutation = rng.choice((*_ANY_MUTATIONS, _change_opcode, _change_opcode, _change_opcode))
    method = zipfile.ZIP_DEFLATED if rng.random() < 0.03 else zipfile.ZIP_STORED

    def change(name: str, data: bytes) -> bytes | None:
        if not name.endswith("/" + part):
            return data
        return None if rng.random() < 0.03 else mutation(data, rng)

    try:
        return packed_anew(content, change, method)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError, RuntimeError, zlib.error):
        return _flip_bits(content, rng)


def _change_opcode(content: bytes, rng: random.Random) -> bytes:
    """One opcode, or the number behind it, put in the place of another."""
    import pickletools

    try:
        places = [position for *_, position in pickletools.genops(content) if position is not None]
    except (ValueError, LookupError):
        return _flip_bits(content, rng)
    spans = [*zip(places, [*places[1:], len(content)], strict=True)]
    (start, end), (first, last) = rng.choice(spans), rng.choice(spans)
    odd = (
        b"cposix\nsystem\n",
        b"ctorch\nFloatTensor\n",
        b"cbuiltins\nbytearray\n",
        b"J" + struct.pack("<i", rng.choice((-1, -(2**31), 2**31 - 1))),
        b"\x8a\x08" + rng.choice(_SIZES).to_bytes(9, "little")[:8],
        *(b"R", b"b", b"Q", b"\x85", b"\x86", b"\x87", b"t", b"u", b"s", b"(", b"}", b"]", b")", b"0", b"."),
    )
    new = rng.choice((content[first:last], rng.choice(odd), b""))
    return content[:start] + new + content[rng.choice((start, end, end, end)) :]


def _change_field(content: bytes, rng: random.Random) -> bytes:
    """A length, type or count of a GGUF file: a number that stands before, behind or in place of a text."""
    texts = [b"GGUF", b"general.", b"texts", b"numbers", b"reals", b"flag", b"u8", b"f32", b"f16", b"q8_0", b"text"]
    found = content.find(rng.choice(texts))
    if found < 0:
        return _set_length(content, rng)
    place = max(0, found + rng.choice((-8, -8, 0, 4, 5, 6, 8, 9, 12, 13, 16, 20, 24)))
    width = rng.choice((4, 8))
    value = rng.choice((*_SIZES, *range(16), len(content))) % 2 ** (8 * width)
    return content[:place] + value.to_bytes(width, "little") + content[place + width :]


_MUTATIONS: dict[str, tuple[Mutation, ...]] = {
    "safetensors": (_change_header,) * 6,
    "index": (_change_index,) * 8,
    "gguf": (_change_field,) * 5,
    "torch": (_change_archive,) * 5,
}


def _change_directory(directory: Path, rng: random.Random) -> None:
    """A file gone, or something else under its name."""
    path = rng.choice(sorted(directory.iterdir()))
    content = path.read_bytes()
    path.unlink()
    match rng.randrange(7):
        case 0:
            path.mkdir()
        case 1:
            path.symlink_to(path.name)
        case 2:
            path.symlink_to("/dev/zero")
        case 3:
            path.symlink_to("nowhere")
        case 4:
            os.mkfifo(path)
        case 5:
            path.with_name("elsewhere").write_bytes(content)
            path.symlink_to("elsewhere")
        case _:
            pass


def clear(directory: Path) -> None:
    """Remove all that is in a directory."""
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
