"""What a corpus was made of, in a line."""

from __future__ import annotations

from moyai.report.lineage import StageReport


def prepared_line(stage: StageReport) -> str:
    """Documents kept, documents dropped for which reason, and what evaluation texts stand in them."""
    results = stage.results
    most_first = sorted(results["dropped"].items(), key=lambda item: (-item[1], item[0]))
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in most_first) or "none"
    line = (
        f"- `{stage.name}`: {results['num_documents']:,} of {results['num_read']:,} documents, "
        f"{results['num_tokens']:,} tokens; left out: {dropped}"
    )
    contamination = results["contamination"]
    if contamination is None:
        return f"{line}; evaluation texts were not looked for"
    hits = {name: found["documents"] for name, found in contamination["sets"].items()}
    told = ", ".join(f"{count:,} of {name}" for name, count in hits.items() if count) or "none"
    verb = "dropped" if contamination["action"] == "drop" else "left in"
    return f"{line}; documents with text of {len(hits)} evaluation sets, {verb}: {told}"
