"""The one table of what each stage does."""

from __future__ import annotations

from moyai.stages import evaluate, export, extend, init, pretrain, sft, upcycle, verify
from moyai.stages.contract import Stage, nothing_outside

STAGES: dict[str, Stage] = {
    "init": Stage(init.run, init.REVISION, init.outside),
    "extend": Stage(extend.run, extend.REVISION, extend.outside),
    "upcycle": Stage(upcycle.run, upcycle.REVISION, nothing_outside),
    "pretrain": Stage(pretrain.run, pretrain.REVISION, pretrain.outside),
    "sft": Stage(sft.run, sft.REVISION, sft.outside),
    "verify": Stage(verify.run, verify.REVISION, verify.outside),
    "evaluate": Stage(evaluate.run, evaluate.REVISION, evaluate.outside),
    "export": Stage(export.run, export.REVISION, nothing_outside),
}
