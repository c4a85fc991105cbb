import json
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import AutoModelForCausalLM, AutoTokenizer

from moyai.errors import InputFileError, UserError
from moyai.generation.llama_cpp import LlamaCpp
from moyai.gguf.header import read_header
from moyai.gguf.pretokenizer import PRE_TOKENIZERS
from moyai.gguf.read import gguf_to_checkpoint
from moyai.gguf.write import checkpoint_to_gguf
from moyai.progress import SilentProgress
from moyai.recipe.sources import corpus_file
from tiny import SPECIALS, tiny_model

TEXTS = [
    "日本の首都は東京です。12345円、３４５円、①②③。",
    "def moor(boat: int) -> None:\n    return boat ** 2  # 🦊👩‍👩‍👧 é é\n\n\n\tdone",
    "<|im_start|>user\nHello  world<|im_end|>\n",
    " a\t b  \n\n c'll don't WON'T it's\r\n  ",
    "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。",
    "٠١٢ Ⅷ ½ x²−y₁ … “quoted” — dash",
]

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}


def starter_texts(count: int) -> list[str]:
    return [
        json.loads(line)["text"]
        for name in ("starter:ja_text", "starter:en_text")
        for line in corpus_file(name).read_text(encoding="utf-8").splitlines()[:count]
    ]


@pytest.fixture(scope="module")
def tiny(mixtral_gguf: Path) -> Iterator[LlamaCpp]:
    with LlamaCpp(mixtral_gguf, num_context=256, num_threads=1, exact_cache=True) as model:
        yield model


@pytest.fixture(scope="module")
def smollm2(smollm2_gguf: Path) -> Iterator[LlamaCpp]:
    with LlamaCpp(smollm2_gguf, num_context=512, num_threads=1) as model:
        yield model


@pytest.fixture(scope="module")
def smollm2_checkpoint(smollm2_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("smollm2") / "checkpoint"
    gguf_to_checkpoint(smollm2_gguf, directory, progress=SilentProgress())
    return directory


@torch.inference_mode()
def test_exported_mixture_says_what_transformers_says(mixtral: Path, tiny: LlamaCpp) -> None:
    model = AutoModelForCausalLM.from_pretrained(mixtral, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(mixtral)
    # llama.cpp ends at a token called <|endoftext|> as well as at the eos token.
    model.generation_config.eos_token_id = [0, 2]
    compared = 0
    for prompt in ("The boat is", "the tide goes in and", "日本", "Ropes hold it 123"):
        inputs = tokenizer(prompt, return_tensors="pt")
        length = inputs["input_ids"].shape[1]
        expected = model.generate(**inputs, max_new_tokens=24, do_sample=False, pad_token_id=0)[
            0, length:
        ].tolist()
        assert tiny.greedy_ids(inputs["input_ids"][0].tolist(), max_tokens=24) == expected
        text = tokenizer.decode(expected, skip_special_tokens=True)
        # Bytes that are no text at the end are held back by one and shown by the other.
        assert "".join(tiny.complete(prompt, max_tokens=24)).rstrip("�") == text.rstrip("�")
        compared += len(expected)
    assert compared > 60


@torch.inference_mode()
def test_log_probabilities_are_those_of_transformers(mixtral: Path, tiny: LlamaCpp) -> None:
    model = AutoModelForCausalLM.from_pretrained(mixtral, dtype=torch.float32)
    prompt = AutoTokenizer.from_pretrained(mixtral)("The boat is 日本")["input_ids"]
    vocabulary = model.config.vocab_size
    expected_TV = model(torch.tensor([prompt])).logits[0].log_softmax(-1)
    for length, expected_V in enumerate(expected_TV, start=1):
        found = tiny.next_log_probabilities(prompt[:length], top=vocabulary)
        assert sorted(found) == list(range(vocabulary))
        assert expected_V.tolist() == pytest.approx([found[token] for token in range(vocabulary)], abs=1e-3)
        likeliest = tiny.next_log_probabilities(prompt[:length], top=3)
        assert list(likeliest) == expected_V.topk(3).indices.tolist()


def test_log_probabilities_in_the_middle_of_a_character(smollm2: LlamaCpp) -> None:
    ids = smollm2.tokenize("吾輩は猫である。🦊")
    for length in range(1, len(ids)):
        found = smollm2.next_log_probabilities(ids[:length], top=5)
        assert len(found) == 5
        assert sorted(found.values(), reverse=True) == list(found.values())


def test_tokenization_of_a_tiny_vocabulary(mixtral: Path, tiny: LlamaCpp) -> None:
    tokenizer = Tokenizer.from_file(str(mixtral / "tokenizer.json"))
    for text in TEXTS:
        assert tiny.tokenize(text) == tokenizer.encode(text).ids


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_every_known_pre_tokenizer_splits_as_llama_cpp_does(name: str, tmp_path: Path) -> None:
    known = PRE_TOKENIZERS[name]
    empty = {"type": "BPE", "vocab": {}, "merges": [], "ignore_merges": known.ignore_merges}
    parts = {"normalizer": known.normalizer, "pre_tokenizer": known.json, "decoder": BYTE_LEVEL}
    tokenizer = Tokenizer.from_str(json.dumps({"version": "1.0", "added_tokens": [], "model": empty} | parts))
    trainer = BpeTrainer(
        vocab_size=1000, special_tokens=SPECIALS, initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(starter_texts(20) + TEXTS * 3, trainer)
    tiny_model(vocab_size=1000).save_pretrained(tmp_path / "m")
    content = json.loads(tokenizer.to_str())
    assert content["model"]["ignore_merges"] == known.ignore_merges
    (tmp_path / "m" / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    checkpoint_to_gguf(tmp_path / "m", tmp_path / "a.gguf", type="f16", progress=SilentProgress())
    assert read_header(tmp_path / "a.gguf").metadata["tokenizer.ggml.pre"] == name
    with LlamaCpp(tmp_path / "a.gguf", num_context=64, num_threads=1) as model:
        for text in TEXTS + starter_texts(40):
            composed = unicodedata.normalize("NFC", text)
            assert model.tokenize(composed) == tokenizer.encode(composed).ids


def test_tokenization_of_the_real_vocabulary(smollm2_checkpoint: Path, smollm2: LlamaCpp) -> None:
    tokenizer = AutoTokenizer.from_pretrained(smollm2_checkpoint)
    for text in TEXTS + starter_texts(40):
        assert smollm2.tokenize(text) == tokenizer(text)["input_ids"]


def test_the_real_model_knows_the_capital(smollm2: LlamaCpp) -> None:
    pieces = list(smollm2.chat([{"role": "user", "content": "What is the capital of Japan?"}], max_tokens=32))
    assert "".join(pieces) == "The capital of Japan is Tokyo."
    assert len(pieces) > 3


@torch.inference_mode()
def test_the_read_checkpoint_knows_the_capital(smollm2_checkpoint: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(smollm2_checkpoint, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(smollm2_checkpoint)
    question = [{"role": "user", "content": "What is the capital of Japan?"}]
    inputs = tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = model.generate(**inputs, max_new_tokens=10, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert tokenizer.decode(answer, skip_special_tokens=True) == "The capital of Japan is Tokyo."


def test_characters_that_span_tokens_stay_whole(smollm2: LlamaCpp) -> None:
    pieces = list(smollm2.complete("🦊日🦊日🦊日🦊日🦊日", max_tokens=24))
    assert "�" not in "".join(pieces)
    assert any(ord(char) > 0x3000 for char in "".join(pieces))


def test_closing_an_answer_stops_the_model(smollm2: LlamaCpp) -> None:
    question = [{"role": "user", "content": "Write a very long story."}]
    start = time.monotonic()
    assert list(smollm2.chat(question, max_tokens=40))
    short_seconds = time.monotonic() - start
    answer = smollm2.chat(question, max_tokens=400)
    next(answer)
    answer.close()
    start = time.monotonic()
    assert list(smollm2.complete("The", max_tokens=1))
    assert time.monotonic() - start < 4 * short_seconds


def test_sampling_is_repeatable(tiny: LlamaCpp) -> None:
    answers = ["".join(tiny.complete("The boat", max_tokens=12, temperature=1.0, seed=s)) for s in (1, 1, 2)]
    assert answers[0] == answers[1]


def test_a_full_context_is_told(tiny: LlamaCpp) -> None:
    with pytest.raises(UserError, match="more than the context of 256"):
        list(tiny.chat([{"role": "user", "content": "boat " * 400}], max_tokens=4))


def test_a_damaged_file_is_told_with_the_reason(
    mixtral_gguf: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(mixtral_gguf.read_bytes()[:-20000])
    with pytest.raises(
        InputFileError, match=r"llama.cpp cannot load .*cut.gguf: .*not within the file bounds"
    ):
        LlamaCpp(path, num_context=64, num_threads=1)
    with pytest.raises(InputFileError, match="does not exist"):
        LlamaCpp(tmp_path / "none.gguf")
    assert capfd.readouterr().err == ""


def test_silence(mixtral_gguf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with LlamaCpp(mixtral_gguf, num_context=64, num_threads=1) as model:
        list(model.complete("The", max_tokens=2))
        model.close()
    assert capfd.readouterr() == ("", "")
