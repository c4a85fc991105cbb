"""The order of rows in query and key matrices: Hugging Face's and llama.cpp's.

Source: `LlamaModel.permute` in `conversion/llama.py` of llama.cpp.

Shape letters: R rows, C columns; D is the size of a head.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def permuted(rows_RC: NDArray[np.float32], head_dim: int) -> NDArray[np.float32]:
    """Rows in the order of llama.cpp: within each head, the two halves of the rotary pairs side by side.

    Hugging Face keeps the pair (i, i + D/2) of a head apart; llama.cpp rotates neighbours in architecture
    `llama`.

    Args:
        rows_RC: rows of whole heads.
        head_dim: D, the rows of one head.

    >>> permuted(np.arange(8, dtype=np.float32)[:, None], 4).ravel().tolist()
    [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]
    """
    num_columns = rows_RC.shape[1]
    return rows_RC.reshape(-1, 2, head_dim // 2, num_columns).swapaxes(1, 2).reshape(-1, num_columns)


def unpermuted(rows_RC: NDArray[np.float32], head_dim: int) -> NDArray[np.float32]:
    """The inverse of `permuted`.

    >>> unpermuted(permuted(np.arange(8, dtype=np.float32)[:, None], 4), 4).ravel().tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    """
    num_columns = rows_RC.shape[1]
    return rows_RC.reshape(-1, head_dim // 2, 2, num_columns).swapaxes(1, 2).reshape(-1, num_columns)
