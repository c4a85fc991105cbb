"""Logits of a checkpoint by whichever transformers this Python has; moyai is not needed.

    python reference_logits.py MODEL_DIR OUT.npy

Writes float32 [tokens, vocabulary] of fixed token ids; prints JSON: the version, and the weights that the checkpoint lacked
or that found no place.
"""

from __future__ import annotations

import json
import sys


def token_ids(vocab_size: int) -> list[int]:
    """Some tokens, the same in every process."""
    return [(number * 7919 + 5) % vocab_size for number in range(64)]


def main() -> None:
    """Run the program."""
    import numpy as np
    import torch
    import transformers

    model, loading = transformers.AutoModelForCausalLM.from_pretrained(
        sys.argv[1], dtype=torch.float32, output_loading_info=True
    )
    with torch.no_grad():
        logits = model.eval()(torch.tensor([token_ids(model.config.vocab_size)])).logits[0]
    np.save(sys.argv[2], logits.numpy())
    counts = {"missing": len(loading["missing_keys"]), "unexpected": len(loading["unexpected_keys"])}
    print(json.dumps({"transformers": transformers.__version__, "torch": torch.__version__} | counts))


if __name__ == "__main__":
    main()
