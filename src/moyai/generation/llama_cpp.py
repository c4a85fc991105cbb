"""Generation with llama.cpp inside this process: a GGUF file answers chats and completes texts.

`xllamacpp` runs llama.cpp's own server in a thread.  It is spoken to over HTTP on the loopback interface,
under a key that only this object knows: unlike its direct calls, a closed connection stops an answer under
way.  Text comes in whole characters, however their bytes are spread over tokens.

Source: `tools/server/README.md` of llama.cpp (`/v1/chat/completions`, `/completion`, `/tokenize`).
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from moyai.errors import FailedError, InputFileError, UserError

_ERRORS_ONLY = 1


class LlamaCpp:
    """A GGUF model loaded by llama.cpp; use it as a context manager or call `close`.

    Args:
        gguf_path: the model.
        num_context: longest conversation, prompt and answer together, in tokens.
        num_threads: CPU threads; default: llama.cpp's choice, the physical cores.
        exact_cache: keep keys and values as float32 and attend to them in float32, not float16, to compare
            with another implementation.

    Raises:
        InputFileError: there is no such file, or llama.cpp refuses it.
    """

    def __init__(
        self,
        gguf_path: Path,
        *,
        num_context: int = 4096,
        num_threads: int | None = None,
        exact_cache: bool = False,
    ) -> None:
        import xllamacpp

        if not gguf_path.is_file():
            raise InputFileError(f"GGUF file {gguf_path} does not exist")
        self._key = secrets.token_hex(16)
        params = xllamacpp.CommonParams()
        params.model.path = str(gguf_path)
        params.n_ctx = num_context
        params.n_parallel = 1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = num_threads or len(
            os.sched_getaffinity(0)
        )
        if exact_cache:
            params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
            # The fused kernel rounds on the way whatever the cache holds: 0.02 in a log-probability and not 0.0003.
            params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        _keep_to_ourselves(params, self._key)
        # Text within <think> belongs to the answer here; what is shown is up to the caller.
        params.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
        with _captured_stderr() as log:
            try:
                self._server: Any = xllamacpp.Server(params)
            except RuntimeError as error:
                reason = _load_error(log) or str(error)
                raise InputFileError(f"llama.cpp cannot load {gguf_path}: {reason}") from None
        self._address: str = self._server.listening_address.removeprefix("http://")

    def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        max_tokens: int = 512,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> Generator[str]:
        """The answer to a conversation, in pieces as they come; closing the iterator stops the model.

        Args:
            messages: `role` and `content` each, put into the model's own chat template.
            max_tokens: the answer ends after so many tokens at the latest.
            temperature: 0 takes the likeliest token every time.
            seed: makes sampling repeatable.

        Raises:
            UserError: the conversation is longer than the context.
            FailedError: llama.cpp reports a fault.
        """
        body = {"messages": [dict(message) for message in messages], "max_tokens": max_tokens}
        with closing(self._stream("/v1/chat/completions", body | _sampling(temperature, seed))) as events:
            for event in events:
                for choice in event.get("choices", ()):
                    if choice["delta"].get("content"):
                        yield choice["delta"]["content"]

    def complete(
        self, prompt: str, *, max_tokens: int = 512, temperature: float = 0.0, seed: int | None = None
    ) -> Generator[str]:
        """The continuation of a text, in pieces as they come; arguments and errors as for `chat`.

        A text that begins with the bos token, as rendered conversations do, gets no second one.
        """
        body = {"prompt": self._text_ids(prompt), "n_predict": max_tokens}
        with closing(self._stream("/completion", body | _sampling(temperature, seed))) as events:
            for event in events:
                if event.get("content"):
                    yield event["content"]

    def greedy_ids(self, prompt_ids: Sequence[int], *, max_tokens: int) -> list[int]:
        """The ids of the likeliest continuation of token ids, taken as they are; errors as for `chat`.

        Ends with, and includes, any token that llama.cpp takes for an end: the eos token, and others by
        their name (`<|endoftext|>`, `<|im_end|>`, ...).

        Source: `special_eog_ids` in `src/llama-vocab.cpp` of llama.cpp.
        """
        body = {"prompt": list(prompt_ids), "n_predict": max_tokens, "return_tokens": True} | _sampling(
            0.0, None
        )
        ids: list[int] = self._answer("/completion", body)["tokens"]
        return ids

    def next_log_probabilities(self, prompt_ids: Sequence[int], *, top: int) -> dict[int, float]:
        """The log-probabilities of the `top` likeliest next tokens by id, natural logarithms over all tokens.

        Of a prompt that begins like the last one only the rest is computed.

        Args:
            prompt_ids: token ids, taken as they are.
            top: how many; as many as the vocabulary has for all of them.

        Raises:
            UserError: the prompt is longer than the context.
            FailedError: llama.cpp reports a fault.
        """
        # llama.cpp keeps quiet about a token that ends within a character, so let it answer with another one:
        # the log-probabilities are those from before the grammar and the temperature.
        body = {"prompt": list(prompt_ids), "n_predict": 1, "n_probs": top, "grammar": "root ::= [ -~]+"}
        (answered,) = self._answer("/completion", body | _sampling(0.0, None))["completion_probabilities"]
        return {entry["id"]: entry["logprob"] for entry in answered["top_logprobs"]}

    def tokenize(self, text: str, *, add_special: bool = False) -> list[int]:
        """The ids of a text; special tokens that it spells out are recognised.

        Args:
            text: any text.
            add_special: put the model's bos and eos tokens around it, where it asks for them.
        """
        body = {"content": text, "add_special": add_special, "parse_special": True}
        ids: list[int] = self._answer("/tokenize", body)["tokens"]
        return ids

    def _text_ids(self, text: str) -> list[int]:
        ids, with_bos = self.tokenize(text), self.tokenize(text, add_special=True)
        return ids if ids[:1] == with_bos[:1] else with_bos

    def close(self) -> None:
        """Stop the server and free the model; may be called twice."""
        self._server = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        with self._response(path, body) as response:
            answer: dict[str, Any] = json.loads(response.read())
            return answer

    def _stream(self, path: str, body: Mapping[str, Any]) -> Generator[dict[str, Any]]:
        """The events of a streamed answer (server-sent events, one JSON object each)."""
        with self._response(path, {**body, "stream": True}) as response:
            for line in response:
                kind, _, content = line.decode("utf-8").strip().partition(": ")
                if kind == "data" and content != "[DONE]":
                    event: dict[str, Any] = json.loads(content)
                    if "error" in event:
                        raise _fault(event["error"])
                    yield event
                elif kind == "error":
                    raise _fault(json.loads(content))

    @contextmanager
    def _response(self, path: str, body: Mapping[str, Any]) -> Iterator[http.client.HTTPResponse]:
        assert self._server is not None, "the model is closed"
        connection = http.client.HTTPConnection(self._address)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        try:
            connection.request("POST", path, json.dumps(body), headers)
            response = connection.getresponse()
            # Closing the connection alone leaves the socket open while the response holds it.
            with response:
                if response.status != http.HTTPStatus.OK:
                    raise _fault(json.loads(response.read())["error"])
                yield response
        except (OSError, http.client.HTTPException) as error:
            raise FailedError(f"llama.cpp stopped answering: {error}") from None
        finally:
            connection.close()


def _keep_to_ourselves(params: Any, key: str) -> None:
    """No pages, no other users, no log, and no memory beyond the model and one conversation."""
    params.api_keys = [key]
    params.ui = False
    params.endpoint_slots = False
    params.cache_ram_mib = 0
    params.fit_params = False
    params.warmup = False
    params.verbosity = _ERRORS_ONLY


def _sampling(temperature: float, seed: int | None) -> dict[str, Any]:
    return {"temperature": temperature} | ({} if seed is None else {"seed": seed})


def _fault(error: Mapping[str, Any]) -> UserError | FailedError:
    if error.get("type") == "exceed_context_size_error":
        return UserError(
            f"the conversation has {error['n_prompt_tokens']} tokens,"
            f" more than the context of {error['n_ctx']}",
            hint="begin a new conversation, or load the model with a longer context",
        )
    return FailedError(f"llama.cpp: {error.get('message', error)}")


@contextmanager
def _captured_stderr() -> Iterator[IO[bytes]]:
    """Send what this process writes to its standard error, C++ included, to a file meanwhile."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as log:
        saved = os.dup(2)
        try:
            os.dup2(log.fileno(), 2)
            yield log
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)


def _load_error(log: IO[bytes]) -> str:
    """The reason in llama.cpp's log, without its time stamp and place; empty where there is none."""
    log.seek(0)
    for line in log.read().decode("utf-8", errors="replace").splitlines():
        _, found, reason = line.partition("error loading model: ")
        if found:
            return reason.strip()
    return ""
