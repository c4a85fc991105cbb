import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moyai.checkpoint.dtypes import STORAGE_DTYPES, from_float32, to_float32
from moyai.errors import FailedError, InputFileError

bits = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=64)


@given(bits)
def test_bfloat16_rounds_as_torch_does(patterns):
    values = np.array(patterns, np.uint32).view(np.float32)
    ours = from_float32(values, "BF16")
    theirs = torch.from_numpy(values.copy()).to(torch.bfloat16)
    nan = np.isnan(values)
    assert (ours[~nan] == theirs.view(torch.uint16).numpy()[~nan]).all()
    assert np.isnan(to_float32(ours, "BF16")[nan]).all()


def test_every_bfloat16_survives_the_way_through_float32():
    every = np.arange(1 << 16, dtype=np.uint16)
    values = to_float32(every, "BF16")
    whole = ~np.isnan(values)
    assert (from_float32(values, "BF16")[whole] == every[whole]).all()


def test_ties_go_to_the_even_neighbour():
    ties = np.array([0x3F808000, 0x3F818000, 0x7F7FFFFF], np.uint32).view(np.float32)
    assert from_float32(ties, "BF16").tolist() == [0x3F80, 0x3F82, 0x7F80]


def test_float16_and_float32():
    values = np.array([[1.5, -2.0]], np.float32)
    assert (to_float32(from_float32(values, "F16"), "F16") == values).all()
    assert from_float32(values, "F32") is values


def test_what_float16_cannot_hold_is_refused():
    with pytest.raises(FailedError, match="65504"):
        from_float32(np.array([1e6], np.float32), "F16")


def test_other_dtypes_are_no_weights():
    with pytest.raises(InputFileError, match="F8_E4M3"):
        to_float32(np.zeros(1, STORAGE_DTYPES["F8_E4M3"]), "F8_E4M3")
