"""Directories of tokenizers with chat templates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, processors

from moyai.recipe.setting_types import ChatTemplateName
from moyai.tokenizer.chat.templates import CHAT_TEMPLATES, named_chat_format
from moyai.tokenizer.sentencepiece.file import read_sentencepiece
from moyai.tokenizer.text import TextTokenizer


def with_special_tokens(directory: Path, tokens: Sequence[str]) -> None:
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.add_special_tokens(list(tokens))
    tokenizer.save(str(directory / "tokenizer.json"))


def with_template(directory: Path, name: ChatTemplateName) -> TextTokenizer:
    """The tokenizer of `directory` after it got a named template, with the tokens that this needs."""
    with_special_tokens(directory, CHAT_TEMPLATES[name].marks)
    named_chat_format(name, directory).write(directory)
    return TextTokenizer(directory)


def write_llm_jp(model: Path, settings: Path, directory: Path) -> None:
    """llm-jp's SentencePiece model as a `tokenizer.json` in the form of its published ones."""
    pieces = read_sentencepiece(model).pieces
    tokenizer = Tokenizer(models.Unigram([(piece.text, piece.score) for piece in pieces], unk_id=0, byte_fallback=True))
    prefix = normalizers.Replace(Regex(r"(?<!\n)^"), "▁")
    tokenizer.normalizer = normalizers.Sequence([prefix, normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(piece.text, normalized=False) for piece in pieces[:8]])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.save(str(directory / "tokenizer.json"))
    kept = {key: value for key, value in json.loads(settings.read_text(encoding="utf-8")).items() if value is not None}
    (directory / "tokenizer_config.json").write_text(json.dumps(kept), encoding="utf-8")
