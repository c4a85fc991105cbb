"""Assumed machines: the only figures of a plan that are not arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Machine:
    """What a machine is assumed to reach on average over a stage, not at its peak."""

    name: str
    float32_flops_per_second: float
    bfloat16_flops_per_second: float | None
    """None where the machine has no native bfloat16 product; `auto` then means float32."""
    bytes_per_second: float
    """Reading and writing of weights."""

    def flops_per_second(self, precision: Precision) -> float:
        """The rate at which a stage of this precision runs."""
        if precision == "float32" or self.bfloat16_flops_per_second is None:
            return self.float32_flops_per_second
        return self.bfloat16_flops_per_second


# The one table of machines.  The CPUs' rates are those of training a 135 M model.
CPU_BFLOAT16 = Machine("2 CPU cores with native bfloat16", 0.2e12, 0.45e12, 0.3e9)
CPU = Machine("2 CPU cores without native bfloat16", 0.2e12, None, 0.3e9)
H100 = Machine("one H100 GPU at 40 % of its peak", 0.2e15, 0.4e15, 1.5e9)
MACHINES = (CPU_BFLOAT16, CPU, H100)


def cpu_of_this_machine() -> Machine:
    """Which of the two CPUs this computer is, by the flags the kernel shows; without them the slower one."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return CPU
    return CPU_BFLOAT16 if any(flag in flags for flag in ("amx_bf16", "avx512_bf16", " bf16")) else CPU
