"""What a packed corpus holds."""

from __future__ import annotations

from pathlib import Path

from moyai.cli.description import Description
from moyai.corpus.packing.packed import PackedCorpus


def describe_packed(directory: Path) -> Description:
    """Sources, tokens, and what was dropped for which reason; the sizes of the shards are checked, their hashes are not.

    Raises:
        InputFileError: the manifest is not true.
    """
    manifest = PackedCorpus.open(directory).manifest
    sources = manifest.sources
    facts = {
        "path": str(directory),
        "documents": sum(counts.documents for counts in sources.values()),
        "tokens": sum(counts.tokens for counts in sources.values()),
        "shard_bytes": sum(shard.bin_bytes for counts in sources.values() for shard in counts.shards),
        "tokenizer_sha256": manifest.tokenizer.sha256,
        "num_ids": manifest.tokenizer.num_ids,
        "document_start": manifest.tokenizer.document_start,
        "document_end": manifest.tokenizer.document_end,
    }
    rows = [
        {
            "source": name,
            "read": counts.read,
            "documents": counts.documents,
            "tokens": counts.tokens,
            "characters": counts.characters,
            "bytes": counts.bytes,
            "shards": len(counts.shards),
        }
        for name, counts in sources.items()
    ]
    dropped = [
        {"source": name, "reason": reason, "documents": documents}
        for name, counts in sources.items()
        for reason, documents in counts.dropped.items()
    ]
    return Description("packed corpus", facts, {"sources": rows, "dropped": dropped})
