"""What `benchmarks.packing` measures, each in a process of its own: `python -m benchmarks.programs.packing MODE ...`.

- `text SOURCES OUT MEGABYTES`: a file of so much text, taken from the sources again and again.
- `clean FILE DIRECTORY`: the file as the stage `prepare` leaves it before it packs.
- `alone FILE TOKENIZER`: every text is read, then `encode_batch` is timed.
- `pack DIRECTORY TOKENIZER OUT`: packing is timed as the stage does it, reading and writing included.
"""

from __future__ import annotations

import itertools
import json
import resource
import sys
import time
from pathlib import Path

_TEXTS_AT_A_TIME = 1000


def text(sources: str, out: str, megabytes: str) -> dict[str, float]:
    """Make the text."""
    from moyai.corpus.reading.documents import read_documents

    documents = itertools.cycle([document.text for path in sources.split(",") for document in read_documents(Path(path))])
    num_bytes = 0
    with Path(out).open("w", encoding="utf-8") as file:
        while num_bytes < float(megabytes) * 1e6:
            document = next(documents)
            num_bytes += len(document.encode("utf-8"))
            file.write(json.dumps({"text": document, "split": "train"}, ensure_ascii=False) + "\n")
    return {"bytes": num_bytes}


def clean(file: str, directory: str) -> dict[str, float]:
    """Clean the text and mark nothing of it as a duplicate."""
    from moyai.corpus.duplicates.find import find_duplicates
    from moyai.corpus.packing.clean import CleanJob, clean_file
    from moyai.corpus.packing.parts import SavedDuplicates, cleaned_file
    from moyai.recipe.corpus_settings import DuplicateSettings, PrepareSettings

    root = Path(directory)
    root.mkdir(parents=True)
    nothing = DuplicateSettings(exact=False, near=None)
    settings = PrepareSettings.model_validate({"sources": {"text": file}, "duplicates": nothing})
    kept = clean_file(CleanJob("text", file, settings, cleaned_file(root, 0).directory)).kept
    SavedDuplicates(root / "duplicates").save(find_duplicates([cleaned_file(root, 0).signed], nothing, root))
    return {"documents": kept}


def alone(file: str, tokenizer_dir: str) -> dict[str, float]:
    """The tokenizer alone: nothing is read or written while it works, and what it gives is thrown away."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(tokenizer_dir) / "tokenizer.json"))
    with Path(file).open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    started, cpu = time.perf_counter(), time.process_time()
    for first in range(0, len(texts), _TEXTS_AT_A_TIME):
        tokenizer.encode_batch(texts[first : first + _TEXTS_AT_A_TIME], add_special_tokens=False)
    return {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}


def pack(directory: str, tokenizer_dir: str, out: str) -> dict[str, float]:
    """Packing, from the cleaned text to shards on the disk."""
    from moyai.corpus.packing.packed import PackedBy
    from moyai.corpus.packing.parts import PackJob, cleaned_file, pack_part
    from moyai.tokenizer.text import TextTokenizer

    counts = cleaned_file(Path(directory), 0).counts()
    assert counts is not None
    job = PackJob(
        source="text",
        files=(0,),
        cleaned=Path(directory),
        duplicates=Path(directory) / "duplicates",
        starts=(0, counts.kept),
        tokenizer_dir=Path(tokenizer_dir),
        packed_by=PackedBy.of(TextTokenizer(Path(tokenizer_dir))),
        shard_bytes=2_000_000_000,
        dropped_samples=0,
        seed=0,
        directory=Path(out),
    )
    started, cpu = time.perf_counter(), time.process_time()
    packed = pack_part(job)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "tokens": packed.tokens, "peak_bytes": peak}


if __name__ == "__main__":
    print(json.dumps({"text": text, "clean": clean, "alone": alone, "pack": pack}[sys.argv[1]](*sys.argv[2:])))
