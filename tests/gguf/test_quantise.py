import hashlib
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType
from gguf.quants import dequantize, quantize
from numpy.typing import NDArray

from moyai.errors import FailedError
from moyai.gguf import quantise
from moyai.gguf.quantise import quantised
from moyai.gguf.tensor_types import BLOCKS, TensorType

QUANTISED: list[TensorType] = ["Q8_0", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"]


def spread(num_rows: int, num_columns: int) -> NDArray[np.float32]:
    """Numbers spread like weights, the same with every version of numpy."""
    counter = np.arange(1, num_rows * num_columns * 4 + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    uniform = ((counter ^ (counter >> np.uint64(29))) >> np.uint64(40)).astype(np.float64) / 2**24
    values = uniform.reshape(4, num_rows, num_columns).sum(axis=0) - 2
    return (values * 0.02).astype(np.float32)


def restored(blocks: NDArray[np.uint8], kind: TensorType) -> NDArray[np.float32]:
    values: NDArray[np.float32] = dequantize(blocks, GGMLQuantizationType[kind])
    return values


@pytest.mark.parametrize("kind", ["Q8_0", "Q5_0", "Q5_1"])
def test_bytes_are_those_of_the_gguf_library_where_it_has_the_type(kind: TensorType) -> None:
    rows = np.concatenate(
        [
            spread(64, 256),
            np.zeros((1, 256), np.float32),
            np.full((1, 256), -0.25, np.float32),
            spread(8, 256) * np.float32(1e-30),
            spread(8, 256) * np.float32(1e5),
            np.sign(spread(4, 256)),
        ]
    )
    assert quantised(rows, kind).tobytes() == quantize(rows, GGMLQuantizationType[kind]).tobytes()


# sha256 of these blocks, the same as llama-quantize of llama.cpp (vendored by llama-cpp-python 0.3.36) writes.
GOLDEN = {
    "Q8_0": "819af7eabbcc548c4e8904a49de8b32b3e3462227bf7a99c8ac7f05bd3c3c038",
    "Q5_0": "dfbbcac93a0d2c4cec34cae9768be4b826eb702a828d0f467ef8007c699bf60c",
    "Q5_1": "839a39d3fddf01f7c4671d9869582807ef6cf73a04d7898507f4439847639e32",
    "Q4_K": "564979434f1c3fb380d4d6ac6624fd56fc7fa4d934404132ac7e5b839289f9f1",
    "Q5_K": "9101fcc9555f55e3dd33d5803fc43a2e64a2b3360f5a9399aad4d5fcc88d901a",
    "Q6_K": "989d1fa4b3cbda36d6cbb7de1cafef5f2d0e7c82e9be98c50ccf5164aa9425e1",
}


@pytest.mark.parametrize("kind", QUANTISED)
def test_bytes_are_those_of_llama_cpps_quantiser(kind: TensorType) -> None:
    assert hashlib.sha256(quantised(spread(16, 512), kind).tobytes()).hexdigest() == GOLDEN[kind]


@pytest.mark.parametrize(
    ("kind", "bits"), [("Q8_0", 8), ("Q6_K", 6), ("Q5_K", 5), ("Q5_1", 5), ("Q5_0", 5), ("Q4_K", 4)]
)
def test_the_error_is_what_the_bits_allow(kind: TensorType, bits: int) -> None:
    rows = spread(64, 512)
    error = restored(quantised(rows, kind), kind) - rows
    # Blocks of these rows reach about 4.5 standard deviations from end to end.
    step = 4.5 * rows.std() / 2**bits
    assert 0.5 * step / math.sqrt(12) < error.std() < 1.3 * step / math.sqrt(12)
    assert abs(error.mean()) < step / 20


@pytest.mark.parametrize("kind", QUANTISED)
def test_a_row_has_the_same_bytes_however_the_tensor_is_cut(kind: TensorType) -> None:
    rows = spread(48, 512)
    whole = quantised(rows, kind)
    assert whole.shape == (48, 512 // BLOCKS[kind][0] * BLOCKS[kind][1])
    with ThreadPoolExecutor(8) as pool:
        pieces = list(pool.map(lambda start: quantised(rows[start : start + 3], kind), range(0, 48, 3)))
    assert np.concatenate(pieces).tobytes() == whole.tobytes()
    assert quantised(np.asfortranarray(rows), kind).tobytes() == whole.tobytes()


@pytest.mark.parametrize(("kind", "limit"), [("Q8_0", 65504 * 127), ("Q6_K", 65504 * 32), ("Q4_K", 65504 * 63)])
def test_a_weight_beyond_the_range_is_refused(kind: TensorType, limit: float) -> None:
    rows = np.ones((2, 256), np.float32)
    rows[1, 7] = 0.9 * limit
    assert np.isfinite(restored(quantised(rows, kind), kind)).all()
    rows[1, 7] = 1000 * limit
    with pytest.raises(FailedError, match=f"beyond the range of {kind}"):
        quantised(rows, kind)


def test_a_library_that_cannot_quantise_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import _ctypes

    quantise._library.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(quantise, "_library_path", lambda: _ctypes.__file__)
        with pytest.raises(FailedError, match=r"cannot quantise: .*ggml_row_size") as caught:
            quantised(np.zeros((1, 32), np.float32), "Q8_0")
        assert "xllamacpp" in caught.value.hint
        patched.setattr(quantise, "_library_path", lambda: __file__)
        with pytest.raises(FailedError, match=r"test_quantise.py cannot be loaded"):
            quantised(np.zeros((1, 32), np.float32), "Q8_0")
    with monkeypatch.context() as patched:
        patched.setattr(quantise, "find_spec", lambda _: None)
        with pytest.raises(FailedError, match="needs the package xllamacpp"):
            quantised(np.zeros((1, 32), np.float32), "Q8_0")


def test_blocks_of_another_size_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BLOCKS, "Q8_0", (32, 36))
    with pytest.raises(FailedError, match="stores Q8_0 otherwise"):
        quantised(np.zeros((1, 32), np.float32), "Q8_0")
