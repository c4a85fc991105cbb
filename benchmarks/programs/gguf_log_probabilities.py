"""How far llama.cpp's log-probabilities are from transformers' on the same token ids; prints JSON.

    python -m benchmarks.programs.gguf_log_probabilities MODEL.gguf LOGITS.npy

LOGITS.npy is from `reference_logits.py`; the distribution after its last token is compared.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.programs.reference_logits import token_ids
from moyai.generation.llama_cpp import LlamaCpp


def main() -> None:
    """Run the program."""
    last = np.load(sys.argv[2])[-1].astype(np.float64)
    wanted = last - last.max() - np.log(np.exp(last - last.max()).sum())
    with LlamaCpp(Path(sys.argv[1]), num_context=512, num_threads=1, exact_cache=True) as model:
        found = model.next_log_probabilities(token_ids(len(wanted)), top=len(wanted))
    difference = max(abs(value - wanted[token]) for token, value in found.items())
    print(json.dumps({"difference": difference, "tokens": len(found)}))


if __name__ == "__main__":
    main()
