"""Data sets on the hub: which commit they are at, and their rows as they come over the line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from moyai.checkpoint.sources import hub_errors_told
from moyai.corpus.extras import need
from moyai.errors import SourceError
from moyai.recipe.sources import HubCorpus

_INSTEAD = "the data set's files"


def hub_commit(source: HubCorpus) -> str:
    """The commit that the data set is at when it is first asked for; what is read later is that very commit.

    `HF_ENDPOINT` and `HF_TOKEN` apply.

    Raises:
        SourceError: the hub has no such data set or revision, or does not answer.
    """
    return _commit(source.repo, source.revision)


@cache
def _commit(repo: str, revision: str | None) -> str:
    from huggingface_hub import HfApi

    with hub_errors_told(repo, revision, instead=_INSTEAD):
        commit = HfApi().dataset_info(repo, revision=revision).sha
    if commit is None:
        raise SourceError(f"the hub does not say which commit {repo} is at")
    return commit


@dataclass
class HubSplit:
    """A split that is streamed."""

    source: HubCorpus
    commit: str
    _rows: Any

    @property
    def columns(self) -> list[str] | None:
        """The names of its columns; None where the first row has to be read to know."""
        return None if self._rows.column_names is None else list(self._rows.column_names)

    def rows(self, columns: Collection[str] | None) -> Iterator[dict[str, Any]]:
        """The rows in order; of their columns only these, where it is known beforehand which there are.

        Raises:
            SourceError: the hub breaks off, or sends what is no data.
        """
        rows = self._rows
        if columns is not None and self.columns is not None:
            rows = rows.select_columns([name for name in self.columns if name in columns])
        number = 0
        with _errors_told(self.source, self.commit, lambda: f"breaks off after row {number}"):
            for number, row in enumerate(rows, start=1):  # noqa: B007 - named in the message above
                yield row


def open_split(source: HubCorpus) -> HubSplit:
    """The split at the data set's commit; no code of the data set is run.

    Raises:
        SourceError: the hub has no such data set, configuration or split, or does not answer.
        UserError: datasets is not installed.
    """
    datasets = need("datasets", "Data sets on the hub")
    datasets.disable_progress_bars()
    commit = hub_commit(source)
    with _errors_told(source, commit, lambda: "cannot be read"):
        rows = datasets.load_dataset(
            source.repo, source.config, split=source.split, revision=commit, streaming=True
        )
    return HubSplit(source, commit, rows)


@contextmanager
def _errors_told(source: HubCorpus, commit: str, what: Callable[[], str]) -> Iterator[None]:
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # httpx's or httpx2's

    library = need("datasets.exceptions", "Data sets on the hub")
    try:
        yield
    except (HTTPError, OSError, ValueError, RuntimeError, library.DatasetsError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise SourceError(
            f"the data set {source.repo} at {commit[:12]} {what()}: {first_line}",
            hint="check the configuration, the split and the connection",
        ) from None
