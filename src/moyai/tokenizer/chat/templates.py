"""Chat templates by name, for models that have none or shall have another one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from moyai.errors import InputFileError
from moyai.recipe.setting_types import ChatTemplateName
from moyai.tokenizer.chat.format import ChatFormat, format_with
from moyai.tokenizer.text import TextTokenizer

_RAKUTEN_PREAMBLE = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
_LLM_JP_PREAMBLE = "以下は、タスクを説明する指示です。要求を適切に満たす応答を書きなさい。"
_ROLES = (
    "{%- if message.role not in ['system', 'user', 'assistant'] -%}"
    "{{ raise_exception('the role is ' ~ message.role ~ '; it must be system, user or assistant') }}{%- endif -%}"
)
_SYSTEM_FIRST = (
    "{%- if message.role == 'system' and not loop.first -%}"
    "{{ raise_exception('a system message stands only at the beginning') }}{%- endif -%}"
)


@dataclass(frozen=True)
class NamedTemplate:
    """A chat template and the tokens that it needs."""

    source: str
    """Jinja; bos_token and eos_token are the model's own."""
    end_mark: str | None = None
    """The token behind an answer; None: the model's own eos token."""
    marks: tuple[str, ...] = ()
    """Tokens that it spells out."""


# The one table of named templates.  What a model needs besides these tokens, it learns in fine-tuning.
CHAT_TEMPLATES: dict[ChatTemplateName, NamedTemplate] = {
    "chatml": NamedTemplate(
        "{%- for message in messages -%}" + _ROLES + "<|im_start|>{{ message.role }}\n"
        "{{ message.content }}<|im_end|>{{ '\\n' }}"
        "{%- endfor -%}"
        "{%- if add_generation_prompt -%}<|im_start|>assistant{{ '\\n' }}{%- endif -%}",
        end_mark="<|im_end|>",
        marks=("<|im_start|>", "<|im_end|>"),
    ),
    "llama-2": NamedTemplate(
        # The system message is the beginning of the first user message, not a turn of its own.
        "{%- set ns = namespace(system='') -%}"
        "{%- for message in messages -%}" + _ROLES + _SYSTEM_FIRST + "{%- if message.role == 'system' -%}"
        "{%- set ns.system = '<<SYS>>\\n' ~ message.content | trim ~ '\\n<</SYS>>\\n\\n' -%}"
        "{%- elif message.role == 'user' -%}"
        "{{ bos_token }}[INST] {{ ns.system }}{{ message.content | trim }} [/INST]{%- set ns.system = '' -%}"
        "{%- elif ns.system -%}{{ raise_exception('a system message must be followed by a user message') }}"
        "{%- else -%}"
        "{{ ' ' ~ message.content | trim ~ ' ' }}{{ eos_token }}"
        "{%- endif -%}{%- endfor -%}"
    ),
    "llama-3": NamedTemplate(
        "{{ bos_token }}"
        "{%- for message in messages -%}" + _ROLES + "<|start_header_id|>{{ message.role }}<|end_header_id|>"
        "{{ '\\n\\n' ~ message.content | trim }}<|eot_id|>"
        "{%- endfor -%}"
        "{%- if add_generation_prompt -%}<|start_header_id|>assistant<|end_header_id|>{{ '\\n\\n' }}{%- endif -%}",
        end_mark="<|eot_id|>",
        marks=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    ),
    "llm-jp": NamedTemplate(
        # Whatever a system message says, this sentence is written; without a system message it is not.
        "{{ bos_token }}"
        "{%- for message in messages -%}" + _ROLES + "{%- if message.role == 'system' -%}" + _LLM_JP_PREAMBLE +
        "{%- elif message.role == 'user' -%}"
        "{{ '\\n\\n### 指示:\\n' ~ message.content }}"
        "{%- else -%}"
        "{{ '\\n\\n### 応答:\\n' ~ message.content }}{{ eos_token }}"
        "{%- endif -%}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{ '\\n\\n### 応答:\\n' }}{%- endif -%}"
    ),
    "rakuten": NamedTemplate(
        # Only one turn is published.  Further turns follow the end mark at once, as in the Vicuna format that the
        # sentence comes from, and as there a system message takes the sentence's place.
        "{{ bos_token }}"
        "{%- if not messages or messages[0].role != 'system' -%}" + _RAKUTEN_PREAMBLE + "{{ ' ' }}{%- endif -%}"
        "{%- for message in messages -%}" + _ROLES + _SYSTEM_FIRST + "{%- if message.role == 'system' -%}"
        "{{ message.content ~ ' ' }}"
        "{%- elif message.role == 'user' -%}"
        "{{ 'USER: ' ~ message.content ~ ' ASSISTANT:' }}"
        "{%- else -%}"
        "{{ ' ' ~ message.content }}{{ eos_token }}"
        "{%- endif -%}{%- endfor -%}"
    ),
}  # fmt: skip


def named_chat_format(name: ChatTemplateName, own_dir: Path) -> ChatFormat:
    """The named template with its end mark, in the ids of the tokenizer of `own_dir`.

    What the model stopped at before it still stops at.  Where the tokenizer puts a bos token before every text, the
    template writes one too: some programs let the tokenizer add it to what a template wrote, and others do not.

    Raises:
        InputFileError: the tokenizer lacks a token that the template needs, or a file of it cannot be read.

    Source: Llama 2 and 3: the reference code of `meta-llama/llama` and the model cards; llm-jp: `llm-jp/instruct3`,
    `scripts/ckpt/convert_llama_nemo_to_hf.sh`; Rakuten: the card of RakutenAI-7B-instruct; ChatML: openai-python 0.28.
    """
    tokenizer = TextTokenizer(own_dir)
    missing = missing_tokens(name, tokenizer)
    if missing:
        fitting = [other for other in CHAT_TEMPLATES if not missing_tokens(other, tokenizer)]
        raise InputFileError(
            f"chat_template is {name}, and the tokenizer of {own_dir} has no token {', '.join(missing)}",
            hint=f"it has what these need: {', '.join(fitting)}" if fitting else "",
        )
    template = CHAT_TEMPLATES[name]
    source = template.source
    if tokenizer.adds_bos and "bos_token" not in source:
        source = "{{ bos_token }}" + source
    return format_with(own_dir, source, end_mark=template.end_mark or tokenizer.special_texts["eos_token"])


def missing_tokens(name: ChatTemplateName, tokenizer: TextTokenizer) -> list[str]:
    """What the named template needs and the tokenizer has not: tokens, or what its settings name no token for."""
    template = CHAT_TEMPLATES[name]
    spelt = [mark for mark in template.marks if len(tokenizer.encode(mark)) != 1]
    wanted = [key for key in ("bos_token", "eos_token") if key in template.source]
    return [repr(mark) for mark in spelt] + [key for key in wanted if not tokenizer.special_texts[key]]
