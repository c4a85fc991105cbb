"""Which way of making rows for new pieces is taken: the one that is asked for, or the one that predicts text best."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moyai.checkpoint.disk import replace_file
from moyai.checkpoint.new_rows import NewRows, first_rows, mean_rows
from moyai.corpus.reading.sample import sample_texts
from moyai.errors import InputFileError, UserError
from moyai.progress import Progress
from moyai.recipe.architecture import read_architecture
from moyai.recipe.tokenizer_settings import RowInit
from moyai.tokenizer.text import TextTokenizer

if TYPE_CHECKING:
    from moyai.layerwise.row_trials import RowTrials

# All of these bound the work and are the same whatever the model's size.
_TRIAL_TEXTS = 32
_TRIAL_CHARACTERS = 400
_SAMPLED_CHARACTERS = 4_000_000
_CALIBRATION_TEXTS = 40
_CALIBRATION_CHARACTERS = 200
_CALIBRATION_TOKENS = 2000
_SEED = 0
# The head's rows of an untied model before they are calibrated: half EEVE's first part, half the mean.
_SHARE_OF_FIRST = 0.5


@dataclass(frozen=True)
class Rows:
    """The new rows of both tables; of a tied model they are the same."""

    way: RowInit
    embedding: NewRows
    head: NewRows


@dataclass(frozen=True)
class Choice:
    """What was taken, and what it was taken for."""

    rows: Rows
    results: dict[str, Any]


    def write(self, path: Path) -> None:
        """Keep it in a file, whole or not at all."""
        arrays = {
            f"{table}.{field.name}": getattr(rows, field.name)
            for table, rows in (("embedding", self.rows.embedding), ("head", self.rows.head))
            for field in fields(NewRows)
            if getattr(rows, field.name) is not None
        }
        content = BytesIO()
        np.savez(content, **arrays, told=np.array(json.dumps([self.rows.way, self.results])))
        replace_file(path, content.getvalue())

    @classmethod
    def read(cls, path: Path) -> Choice:
        """What `write` has kept."""
        with np.load(path) as kept:
            way, results = json.loads(str(kept["told"]))
            tables: dict[str, dict[str, Any]] = {"embedding": {}, "head": {}}
            for name in kept.files:
                if name != "told":
                    table, _, field = name.partition(".")
                    tables[table][field] = kept[name]
        return cls(Rows(way, NewRows(**tables["embedding"]), NewRows(**tables["head"])), results)


@dataclass(frozen=True)
class Extended:
    """A model that is being extended."""

    parent_dir: Path
    tokenizer: TextTokenizer
    """The extended one."""
    replaced: Sequence[Sequence[int]]
    """Of each new piece, the old ones that it replaces."""
    num_base_ids: int
    num_rows: int
    """Of the tables to come, padding counted."""

    @property
    def is_tied(self) -> bool:
        """Whether head and embedding are one table."""
        return read_architecture(self.parent_dir).tie_word_embeddings


def choose_rows(
    extended: Extended, init: RowInit, train: Iterator[str], heldout: Sequence[str], progress: Progress
) -> Choice:
    """Make the rows by `init`; `best` tries each way on held-out text and takes the one that needs the fewest bits.

    Args:
        extended: the model.
        init: the way.
        train: text of which surroundings and frequencies of the pieces are learnt; gone through at most once.
        heldout: text that was not learnt from; the beginnings of some of it are tried.
        progress: where to tell how far it is.

    Raises:
        UserError: the way does not fit the model.
        InputFileError: there is no held-out text to choose by.
    """
    if init == "mean":
        mean = mean_rows(extended.replaced)
        return Choice(Rows("mean", mean, mean), {})
    if init == "first":
        if extended.is_tied:
            raise UserError(
                f"init is first, but the head of {extended.parent_dir} is its embedding, so a piece has one row for both",
                hint="use mean, focus, calibrated or best",
            )
        return Choice(_first(extended, mean_rows(extended.replaced)), {})
    # torch is needed for these alone
    from moyai.layerwise.model import LayerwiseModel
    from moyai.layerwise.row_trials import RowTrials

    if init == "best" and not heldout:
        raise InputFileError(
            "the corpus has no held-out document to choose the rows by",
            hint='mark some with "split": "heldout", give more documents, or say how rows are made (init: mean)',
        )
    trials = RowTrials(
        LayerwiseModel(extended.parent_dir), num_base_rows=extended.num_base_ids, num_rows=extended.num_rows
    )
    sample = sample_texts(train, max_characters=_SAMPLED_CHARACTERS, seed=_SEED).texts
    ways = list(_ways(extended, init, sample, trials, progress))
    if init != "best":
        if not ways:
            raise UserError(
                f"init is {init}, but too few of the base's pieces occur in the corpus", hint="use mean, or give more text"
            )
        return Choice(ways[0], {})
    return _best(extended, ways, heldout, trials, progress)


def _first(extended: Extended, mean: NewRows) -> Rows:
    return Rows("first", mean, first_rows(extended.replaced))


def _ways(
    extended: Extended, init: RowInit, sample: Sequence[str], trials: RowTrials, progress: Progress
) -> Iterator[Rows]:
    """The ways that `init` asks for and that fit the model; those of one embedding share it, and are tried in one pass."""
    mean = mean_rows(extended.replaced)
    ids = [np.array(one, np.int64) for one in extended.tokenizer.encode_batch(sample)]
    if init == "best":
        yield Rows("mean", mean, mean)
        if not extended.is_tied:
            yield _first(extended, mean)
    if init in ("focus", "best"):
        from moyai.checkpoint.focus_rows import focus_rows

        found = focus_rows(ids, extended.replaced, num_base_rows=extended.num_base_ids)
        if found is not None:
            yield Rows("focus", found, found)
    if init in ("calibrated", "best"):
        yield _calibrated(extended, mean, ids, sample, trials, progress)


def _calibrated(
    extended: Extended,
    mean: NewRows,
    ids: Sequence[NDArray[np.int64]],
    sample: Sequence[str],
    trials: RowTrials,
    progress: Progress,
) -> Rows:
    from moyai.checkpoint.calibrated_rows import calibrated_rows

    num_ids = extended.num_base_ids + len(extended.replaced)
    counts = np.bincount(np.concatenate([*ids, np.empty(0, np.int64)]), minlength=num_ids)
    texts = _beginnings(extended, sample[:: max(1, len(sample) // _CALIBRATION_TEXTS)], _CALIBRATION_CHARACTERS)
    with progress.bar("calibrating rows", total=sum(map(len, texts)), unit="tokens") as bar:
        (hidden,) = trials.hidden_states([mean], texts, bar)
    known = np.concatenate([np.arange(1, len(text) + 1) < len(text) for text in texts])
    hidden = hidden[known]
    hidden = hidden[:: -(-len(hidden) // _CALIBRATION_TOKENS)]
    head = mean if extended.is_tied else first_rows(extended.replaced, share=_SHARE_OF_FIRST)
    head = calibrated_rows(head, trials.head, hidden, counts, num_base_rows=extended.num_base_ids)
    return Rows("calibrated", head if extended.is_tied else mean, head)


def _best(
    extended: Extended, ways: Sequence[Rows], heldout: Sequence[str], trials: RowTrials, progress: Progress
) -> Choice:
    from moyai.layerwise.row_trials import RowsPair

    tried = heldout[:: max(1, len(heldout) // _TRIAL_TEXTS)][:_TRIAL_TEXTS]
    texts = _beginnings(extended, tried, _TRIAL_CHARACTERS)
    num_bytes = sum(len(text[:_TRIAL_CHARACTERS].encode("utf-8")) for text in tried)
    pairs = [RowsPair(way.embedding, way.head) for way in ways]
    num_passes = len({id(way.embedding) for way in ways})
    with progress.bar("trying rows", total=num_passes * sum(map(len, texts)), unit="tokens") as bar:
        bits = trials.bits(pairs, texts, bar)
    found = {way.way: round(amount / num_bytes, 4) for way, amount in zip(ways, bits, strict=True)}
    best = min(ways, key=lambda way: found[way.way])
    table = ", ".join(f"{way} {figure:.3f}" for way, figure in found.items())
    progress.note(f"new rows by {best.way}; bits per byte of held-out text: {table}")
    results = {
        "bits_per_byte": found,
        "num_documents": len(texts),
        "num_bytes": num_bytes,
        "num_tokens": sum(map(len, texts)) - len(texts),
    }
    left_out = {"first": "head and embedding are one table"} if extended.is_tied else {}
    if "focus" not in found:
        left_out["focus"] = "too few of the base's pieces occur in the corpus"
    return Choice(best, results | {"left_out": left_out})


def _beginnings(extended: Extended, texts: Sequence[str], num_characters: int) -> list[list[int]]:
    start = extended.tokenizer.document_start
    return [[start, *extended.tokenizer.encode(text[:num_characters])] for text in texts]
