"""`tokenizer.json` of a byte-level BPE tokenizer: reading it, adding merges, writing it back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from moyai.errors import InputFileError


@dataclass(frozen=True)
class BpeFile:
    """A byte-level BPE `tokenizer.json`, as data."""

    data: dict[str, Any]

    @classmethod
    def read(cls, checkpoint_dir: Path) -> Self:
        """The tokenizer of a checkpoint directory.

        Raises:
            InputFileError: there is none, or it is not byte-level BPE.
        """
        path = checkpoint_dir / "tokenizer.json"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputFileError(f"{checkpoint_dir} has no tokenizer.json") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputFileError(f"{path} is not JSON: {error}") from None
        model = data.get("model", {})
        if model.get("type") != "BPE" or model.get("byte_fallback") or "ByteLevel" not in json.dumps(data.get("decoder")):
            raise InputFileError(
                f"{path} is not a byte-level BPE tokenizer", hint="extending other families is not there yet"
            )
        return cls(data)

    @property
    def vocab(self) -> dict[str, int]:
        """Token spelling to id, without tokens that were only added."""
        vocab: dict[str, int] = self.data["model"]["vocab"]
        return vocab

    @property
    def merges(self) -> list[tuple[str, str]]:
        """The merges in order of rank."""
        return [tuple(m.split(" ", 1)) if isinstance(m, str) else tuple(m) for m in self.data["model"]["merges"]]  # type: ignore[misc]

    @property
    def num_ids(self) -> int:
        """One more than the largest id, added tokens counted."""
        added: list[int] = [token["id"] for token in self.data.get("added_tokens", [])]
        return max([*self.vocab.values(), *added]) + 1

    def extended(self, merges: list[tuple[str, str]]) -> BpeFile:
        """The same tokenizer with `merges` ranked after its own, new pieces numbered from `num_ids` up."""
        vocab, next_id = dict(self.vocab), self.num_ids
        for left, right in merges:
            if left + right not in vocab:
                vocab[left + right] = next_id
                next_id += 1
        model = {**self.data["model"], "vocab": vocab, "merges": [list(m) for m in [*self.merges, *merges]]}
        return BpeFile({**self.data, "model": model})

    def write(self, checkpoint_dir: Path) -> None:
        """Write `tokenizer.json` whole or not at all."""
        partial = checkpoint_dir / "tokenizer.json.partial"
        partial.write_text(json.dumps(self.data, ensure_ascii=False), encoding="utf-8")
        partial.replace(checkpoint_dir / "tokenizer.json")
