from pathlib import Path
from typing import get_args

import pytest

from moyai.gguf.header import read_header
from moyai.gguf.tensor_types import GgufType
from moyai.gguf.write import checkpoint_to_gguf
from moyai.plan.gguf_size import TOKENIZER_BYTES, gguf_bytes
from moyai.progress import SilentProgress
from moyai.recipe.architecture import read_architecture
from tiny import FAMILIES, write_tiny_checkpoint


@pytest.mark.parametrize("family", FAMILIES)
def test_tensors_take_the_bytes_that_were_planned(family: str, tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "m", family, tied=family == "llama")
    for kind in get_args(GgufType):
        path = tmp_path / f"{kind}.gguf"
        checkpoint_to_gguf(checkpoint, path, type=kind, progress=SilentProgress())
        start = min(tensor.start for tensor in read_header(path).tensors.values())
        planned = gguf_bytes(read_architecture(checkpoint), kind) - TOKENIZER_BYTES
        assert path.stat().st_size - start == planned
