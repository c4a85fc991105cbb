"""The one table of what each stage does.

A row is a function, so that a stage that only moves bytes runs without the libraries that another one trains with.
"""

from __future__ import annotations

from collections.abc import Callable

from moyai.stages.contract import Stage, nothing_outside


def _init() -> Stage:
    from moyai.stages import init

    return Stage(init.run, init.REVISION, init.outside)


def _train_tokenizer() -> Stage:
    from moyai.stages import train_tokenizer

    return Stage(train_tokenizer.run, train_tokenizer.REVISION, train_tokenizer.outside)


def _prepare() -> Stage:
    from moyai.stages import prepare

    return Stage(prepare.run, prepare.REVISION, prepare.outside)


def _extend() -> Stage:
    from moyai.stages import extend

    return Stage(extend.run, extend.REVISION, extend.outside)


def _upcycle() -> Stage:
    from moyai.stages import upcycle

    return Stage(upcycle.run, upcycle.REVISION, nothing_outside)


def _compose() -> Stage:
    from moyai.stages import compose

    return Stage(compose.run, compose.REVISION, compose.outside)


def _chat_vector() -> Stage:
    from moyai.stages import chat_vector

    return Stage(chat_vector.run, chat_vector.REVISION, chat_vector.outside)


def _pretrain() -> Stage:
    from moyai.stages import pretrain

    return Stage(pretrain.run, pretrain.REVISION, pretrain.outside)


def _sft() -> Stage:
    from moyai.stages import sft

    return Stage(sft.run, sft.REVISION, sft.outside)


def _verify() -> Stage:
    from moyai.stages import verify

    return Stage(verify.run, verify.REVISION, verify.outside)


def _evaluate() -> Stage:
    from moyai.stages import evaluate

    return Stage(evaluate.run, evaluate.REVISION, evaluate.outside)


def _export() -> Stage:
    from moyai.stages import export

    return Stage(export.run, export.REVISION, nothing_outside)


STAGES: dict[str, Callable[[], Stage]] = {
    "train_tokenizer": _train_tokenizer,
    "init": _init,
    "prepare": _prepare,
    "extend": _extend,
    "upcycle": _upcycle,
    "compose": _compose,
    "chat_vector": _chat_vector,
    "pretrain": _pretrain,
    "sft": _sft,
    "verify": _verify,
    "evaluate": _evaluate,
    "export": _export,
}
