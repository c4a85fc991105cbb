"""Whether a pickle holds named tensors and nothing else: gone through by the kinds of its objects, never run.

torch's `weights_only` loader calls only functions from a list of its own.  That list has more in it than weights
need (classes that allocate what they are told to, any object as the key of a dictionary), so a pickle must be one
that `torch.save` writes of a dictionary of tensors before that loader sees it.

Source: `Lib/pickletools.py` of CPython for the opcodes, `torch/_utils.py` of torch 2.13 for what is called.
"""

from __future__ import annotations

import pickletools
import re
from pathlib import Path
from typing import Any

from moyai.checkpoint.input_file import shown
from moyai.errors import InputFileError

# An object is one of these kinds; a tuple is the tuple of its items' kinds, with tuples in it as SIZES or OTHER.
Kind = str | tuple[str, ...]
_TEXT, _NUMBER, _FLAG, _OTHER, _SIZES = "text", "number", "flag", "other", "sizes"
_DICTIONARY, _LIST, _STORAGE, _TENSOR = "dictionary", "list", "storage", "tensor"
_STORAGE_TYPE, _DTYPE = "storage type", "dtype"

_PUSHED: dict[str, Kind] = {
    "BINUNICODE": _TEXT,
    "BININT": _NUMBER,
    "BININT1": _NUMBER,
    "BININT2": _NUMBER,
    "LONG1": _NUMBER,
    "NEWTRUE": _FLAG,
    "NEWFALSE": _FLAG,
    "NONE": _OTHER,
    "BINFLOAT": _OTHER,
    "EMPTY_DICT": _DICTIONARY,
    "EMPTY_LIST": _LIST,
    "EMPTY_TUPLE": (),
}
_TUPLE_LENGTHS = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}

_STORAGE_GLOBAL = re.compile(r"torch(\.storage)? [A-Za-z0-9]+Storage")
_DTYPE_GLOBAL = re.compile(r"torch (bool|u?int\d+|b?float\d+(_e\dm\d(fn)?)?)")
_PERSISTENT_ID = (_TEXT, _STORAGE_TYPE, _TEXT, _TEXT, _NUMBER)
_VIEW = (_STORAGE, _NUMBER, _SIZES, _SIZES, _FLAG, _DICTIONARY)
# What may be called, with which arguments, and what it gives.
_CALLS: dict[str, tuple[tuple[Kind, ...], str]] = {
    "collections OrderedDict": (((),), _DICTIONARY),
    "torch._utils _rebuild_tensor_v2": ((_VIEW, (*_VIEW, _DICTIONARY)), _TENSOR),
    "torch._utils _rebuild_tensor_v3": (((*_VIEW, _DTYPE), (*_VIEW, _DTYPE, _DICTIONARY)), _TENSOR),
    "torch._utils _rebuild_parameter": (((_TENSOR, _FLAG, _DICTIONARY),), _TENSOR),
}

_PROTOCOL = 2
# pickle fills dictionaries a thousand items at a time.
_MAX_STACK = 10_000


def check_weights_pickle(path: Path, pickled: bytes) -> None:
    """Check that a pickle makes a dictionary of tensors, views of stored data, and calls nothing else.

    Args:
        path: the file it is from, for the messages.
        pickled: the pickle.

    Raises:
        InputFileError: it has an object that no dictionary of plain tensors needs, or is damaged.
    """
    machine = _Machine(path)
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            machine.step(opcode.name, argument)
    except (ValueError, LookupError) as error:
        raise InputFileError(
            f"{path} has a damaged list of tensors: {error}", hint="fetch or write the file again"
        ) from None


class _Machine:
    """The stack and the memo of a pickle, with kinds in place of objects."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stack: list[Kind] = []
        self.marks: list[int] = []
        self.memo: dict[int, Kind] = {}

    def fault(self, what: str) -> InputFileError:
        return InputFileError(
            f"{self.path} holds more than named tensors: {what}",
            hint="take only safetensors, or a file that torch.save wrote of a state dict",
        )

    def step(self, opcode: str, argument: Any) -> None:
        if opcode in _PUSHED:
            self.stack.append(_PUSHED[opcode])
        elif opcode in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif opcode in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif opcode == "MARK":
            self.marks.append(len(self.stack))
        elif opcode == "GLOBAL":
            self.stack.append(self.named(argument))
        elif opcode == "TUPLE":
            self.stack.append(_tuple(self.pop_to_mark()))
        elif opcode in _TUPLE_LENGTHS:
            self.stack.append(_tuple(self.pop(_TUPLE_LENGTHS[opcode])))
        elif opcode in ("PROTO", "STOP"):
            self.begin_or_end(opcode, argument)
        else:
            self.fill_or_call(opcode)
        if len(self.stack) + len(self.marks) > _MAX_STACK:
            raise self.fault(f"its pickle has more than {_MAX_STACK} unused objects")

    def begin_or_end(self, opcode: str, argument: Any) -> None:
        if opcode == "PROTO" and argument != _PROTOCOL:
            raise self.fault(f"its pickle has protocol {argument}, where torch.save writes protocol {_PROTOCOL}")
        if opcode == "STOP" and self.stack != [_DICTIONARY]:
            raise self.fault("it is no dictionary")

    def fill_or_call(self, opcode: str) -> None:
        if opcode in ("SETITEM", "SETITEMS"):
            items = self.pop(2) if opcode == "SETITEM" else self.pop_to_mark()
            if len(items) % 2 or any(key != _TEXT for key in items[::2]):
                raise self.fault("a dictionary in it has keys that are not text")
            self.expect(_DICTIONARY)
        elif opcode in ("APPEND", "APPENDS"):
            self.pop(1) if opcode == "APPEND" else self.pop_to_mark()
            self.expect(_LIST)
        elif opcode == "BUILD":
            if self.pop(1) != [_DICTIONARY]:
                raise self.fault("an object in it has attributes that are no dictionary")
            self.expect(_DICTIONARY)
        elif opcode == "BINPERSID":
            if self.pop(1) != [_PERSISTENT_ID]:
                raise self.fault("something other than a storage stands outside its pickle")
            self.stack.append(_STORAGE)
        elif opcode == "REDUCE":
            function, arguments = self.pop(2)
            if not isinstance(function, str) or function not in _CALLS or arguments not in _CALLS[function][0]:
                raise self.fault(f"it calls {shown(function)} on {shown(arguments)}")
            self.stack.append(_CALLS[function][1])
        else:
            raise self.fault(f"its pickle has the opcode {opcode}")

    def named(self, name: str) -> str:
        if name in _CALLS:
            return name
        if _STORAGE_GLOBAL.fullmatch(name):
            return _STORAGE_TYPE
        if _DTYPE_GLOBAL.fullmatch(name):
            return _DTYPE
        raise self.fault(f"it names {shown('.'.join(name.split()))}")

    def pop(self, count: int) -> list[Kind]:
        if len(self.stack) - (self.marks[-1] if self.marks else 0) < count:
            raise LookupError("its pickle takes more objects than it has made")
        taken = self.stack[-count:]
        del self.stack[-count:]
        return taken

    def pop_to_mark(self) -> list[Kind]:
        mark = self.marks.pop()
        taken = self.stack[mark:]
        del self.stack[mark:]
        return taken

    def expect(self, kind: Kind) -> None:
        if self.stack[-1] != kind:
            raise self.fault(f"something that is no {kind} is filled like one")


def _tuple(items: list[Kind]) -> Kind:
    return tuple(item if isinstance(item, str) else _nested(item) for item in items)


def _nested(items: tuple[str, ...]) -> str:
    return _SIZES if all(item == _NUMBER for item in items) else _OTHER
