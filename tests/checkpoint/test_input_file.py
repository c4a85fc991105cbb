import os

import pytest

from moyai.checkpoint.input_file import open_input, shown
from moyai.errors import InputFileError


def test_a_file_and_a_link_to_it(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"content")
    (tmp_path / "link").symlink_to("a")
    for name in ("a", "link"):
        with open_input(tmp_path / name) as file:
            assert file.read() == b"content"
    with pytest.raises(ValueError, match="closed file"):
        file.read()


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null"])
def test_devices_are_no_files(tmp_path, path):
    with pytest.raises(InputFileError, match="is a pipe, a socket or a device"), open_input(tmp_path / path):
        pass


def test_no_handle_stays_open(tmp_path):
    first = os.dup(0)
    os.close(first)
    (tmp_path / "a").write_bytes(b"x")
    for name in ("a", "none", "."):
        for _ in range(3):
            with pytest.raises((InputFileError, KeyError)), open_input(tmp_path / name):
                raise KeyError
    # The lowest number that is free is what it was.
    again = os.dup(0)
    os.close(again)
    assert again == first


def test_a_fault_while_reading_is_told(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(InputFileError, match=r"a cannot be read: Input/output error"), open_input(tmp_path / "a"):
        raise OSError(5, "Input/output error")


def test_values_are_shown_in_short():
    name = "model.layers.10.block_sparse_moe.experts.3.w1.weight"
    assert shown(name) == f"'{name}'"
    for value in ("x" * 10_000, [10**4000] * 99, [[[[[[1]]]]]], {str(number): number for number in range(99)}, "\n"):
        text = shown(value)
        assert len(text) < 1000
        assert "..." in text or "\\n" in text
