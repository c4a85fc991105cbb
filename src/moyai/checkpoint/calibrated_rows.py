"""New rows that are as probable as their pieces are frequent, before any training.

A row made of others gives its piece some probability, on average far from the piece's frequency: thousands of pieces
begin with the same byte, and each of them would be as probable as that byte.  The hidden states that a head sees have
a common part, so there is a direction u with u · h ≈ 1 for nearly all of them; a row that is moved by b · u has all its
logits raised by about b, as by a bias.  b is chosen such that the mean probability of the piece over some text is its
frequency in the corpus.

At the likelihood's optimum a log-linear model's expected count of each outcome equals its count in the data; here that
holds for the biases alone, by one step of iterative scaling.

Source: Darroch and Ratcliff 1972, "Generalized iterative scaling for log-linear models", Annals of Mathematical
Statistics 43(5), for the step; that it is done for new rows of a vocabulary, and along a direction of the hidden states
since heads have no bias, is ours.

Shape letters: T positions, N new rows, V vocabulary of the base, C a slice of rows, H hidden size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moyai.checkpoint.copying import rows_of
from moyai.checkpoint.dtypes import to_float32
from moyai.checkpoint.header import TensorInfo
from moyai.checkpoint.new_rows import NewRows, row_ranges
from moyai.checkpoint.reader import row_length, row_pieces

# Of the mean eigenvalue of the hidden states' second moments; keeps the direction short.
_RIDGE = 1e-3
# A piece that the counted text happens to lack is taken to occur half a time.
_UNSEEN = 0.5


def calibrated_rows(
    rows: NewRows, head: TensorInfo, hidden_TH: NDArray[np.float32], counts_V: NDArray[np.int64], *, num_base_rows: int
) -> NewRows:
    """`rows` moved so that each piece's mean probability after `hidden_TH` is its share of `counts_V`.

    The base's own rows stay, and so does their sum in the softmax's denominator Z.  For new pieces to come to their
    share s of all tokens beside it, they have to be 1 / (1 - s) times as probable as Z alone would ask for.

    Args:
        rows: what is moved.
        head: the table that they are rows of.
        hidden_TH: what the head sees, in front of tokens of the extended vocabulary, float32.
        counts_V: how often each id, new ones included, occurs in text.
        num_base_rows: rows of the table that the base uses.
    """
    direction_H = common_direction(hidden_TH)
    log_z_T = log_normalisers(rows_of(head, 0, num_base_rows), hidden_TH)
    wanted_N = (counts_V[num_base_rows:] + _UNSEEN) / (counts_V[:num_base_rows].sum() + _UNSEEN)
    steps_N = np.empty(len(rows), np.float32)
    for numbers in row_ranges(len(rows), max(row_length(head), len(hidden_TH))):
        log_probs_TC = hidden_TH @ rows.values(head, numbers).T - log_z_T[:, None]
        largest_C = log_probs_TC.max(0)
        log_mean_C = np.log(np.exp(log_probs_TC - largest_C).mean(0)) + largest_C
        steps_N[numbers] = np.log(wanted_N[numbers]) - log_mean_C
    return rows.moved(steps_N, direction_H)


def common_direction(hidden_TH: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vector u, [H], whose product with the hidden states is as near 1 as can be, by ridge regression."""
    moments_HH = hidden_TH.T.astype(np.float64) @ hidden_TH
    moments_HH[np.diag_indices_from(moments_HH)] += _RIDGE * np.trace(moments_HH) / len(moments_HH)
    direction: NDArray[np.float32] = np.linalg.solve(moments_HH, hidden_TH.sum(0, dtype=np.float64)).astype(np.float32)
    return direction


def log_normalisers(head: TensorInfo, hidden_TH: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logarithm of the softmax's denominator over all rows of `head`, [T], the rows read a piece at a time."""
    log_z_T = np.full(len(hidden_TH), -np.inf, np.float32)
    for _, stored in row_pieces(head):
        logits_TC = hidden_TH @ to_float32(stored, head.dtype).T
        largest_T = logits_TC.max(1)
        log_z_T = np.logaddexp(log_z_T, np.log(np.exp(logits_TC - largest_T[:, None]).sum(1)) + largest_T)
    return log_z_T
