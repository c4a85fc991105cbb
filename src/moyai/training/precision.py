"""Which machine this is, as far as numbers are concerned."""

from __future__ import annotations

import ctypes
import sys
from typing import Literal

import torch


def pick_device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_precision(setting: Literal["auto", "float32", "bfloat16"], device: torch.device) -> torch.dtype:
    """The dtype of matrix products; `auto` is bfloat16 only where the machine multiplies it natively."""
    if setting != "auto":
        return torch.float32 if setting == "float32" else torch.bfloat16
    native = (
        torch.cuda.is_bf16_supported(including_emulation=False)
        if device.type == "cuda"
        else torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    )
    return torch.bfloat16 if native else torch.float32


def keep_large_blocks() -> None:
    """Tell glibc to reuse large freed blocks instead of giving every tensor fresh pages.

    Fresh pages are zeroed by the kernel at first touch, which costs as much as the arithmetic on a tensor of this size.
    Only the largest tensors, such as gradients of whole experts, go back at once: kept, they leave holes that nothing
    else fills, and memory creeps up step by step.  Other allocators are left alone.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            mmap_threshold, trim_threshold = -3, -1
            libc.mallopt(mmap_threshold, 24 << 20)
            libc.mallopt(trim_threshold, (1 << 31) - 1)
