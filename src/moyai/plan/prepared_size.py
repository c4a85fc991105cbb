"""How much text the sources of a corpus hold, judged by the beginning of their first files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path

from moyai.corpus.reading.broken import Broken
from moyai.corpus.reading.rows import count_rows
from moyai.errors import InputFileError
from moyai.plan.corpus_size import CorpusSize, count_japanese
from moyai.recipe.corpus_settings import CorpusSource
from moyai.recipe.sources import corpus_file

_SAMPLED_FILES, _SAMPLED_DOCUMENTS = 3, 5_000


def stored_token_bytes(num_ids: int) -> int:
    """Of one token in a shard, as `moyai.corpus.packing.indexed_file` writes it; a plan needs no arrays."""
    return 2 if num_ids <= 1 << 16 else 4


def measure_source(source: CorpusSource) -> CorpusSize:
    """Documents and characters of all files of a source, before anything is dropped.

    Raises:
        InputFileError: there is no such file, none of its documents can be read, or it is on the hub, which is not asked.
    """
    from moyai.corpus.reading.read import input_files  # it loads the hub's libraries, which most plans do without

    files = input_files(source)
    if any(file.startswith("hub:") for file in files):
        raise InputFileError("how much text is in a data set on the hub is not known beforehand")
    sizes = tuple((file, corpus_file(file).stat().st_size, corpus_file(file).stat().st_mtime_ns) for file in files)
    return _measure(source.model_dump_json(), sizes)


@lru_cache(maxsize=64)
def _measure(source_json: str, sizes: Sequence[tuple[str, int, int]]) -> CorpusSize:
    from moyai.corpus.reading.read import read_source

    source = CorpusSource.model_validate_json(source_json)
    documents = japanese = characters = 0.0
    sampled = sizes[:_SAMPLED_FILES]
    scale = sum(size for _, size, _ in sizes) / max(1, sum(size for _, size, _ in sampled))
    estimated = len(sampled) < len(sizes)
    for file, _, _ in sampled:
        texts = [document.text for document in islice(read_source(file, source, Broken("drop")), _SAMPLED_DOCUMENTS)]
        if not texts:
            continue
        rows = count_rows(Path(corpus_file(file))) if len(texts) == _SAMPLED_DOCUMENTS else len(texts)
        estimated |= rows > len(texts)
        of_file = scale * min(rows, source.max_documents or rows) / len(texts)
        documents += of_file * len(texts)
        characters += of_file * sum(map(len, texts))
        japanese += of_file * sum(map(count_japanese, texts))
    if not documents:
        raise InputFileError(f"{sizes[0][0]} has no document that can be read")
    return CorpusSize(round(documents), round(japanese), round(characters - japanese), estimated)
