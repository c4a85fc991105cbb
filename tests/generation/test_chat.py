from collections.abc import Generator, Mapping, Sequence

import pytest

from moyai.errors import UserError
from moyai.generation.chat import answer_once, chat_loop, typed_lines


class Parrot:
    """Answers with what it was told, word by word."""

    def __init__(self) -> None:
        self.heard: list[list[Mapping[str, str]]] = []
        self.was_stopped = False

    def chat(
        self, messages: Sequence[Mapping[str, str]], *, max_tokens: int, temperature: float
    ) -> Generator[str]:
        self.heard.append(list(messages))
        said = messages[-1]["content"]
        if said == "too long":
            raise UserError("the conversation has 9 tokens, more than the context of 8", hint="begin anew")
        try:
            for word in said.split():
                if word == "^C":
                    raise KeyboardInterrupt
                yield word + " "
        finally:
            self.was_stopped = True


def talk(*lines: str, system: str | None = None) -> tuple[Parrot, str]:
    parrot, written = Parrot(), []
    chat_loop(parrot, system=system, input_lines=lines, write=written.append)
    return parrot, "".join(written)


def test_history_grows() -> None:
    parrot, written = talk("こんにちは", "", "  again ", system="be a parrot")
    assert written == "こんにちは \nagain \n"
    assert [message["role"] for message in parrot.heard[1]] == ["system", "user", "assistant", "user"]
    assert parrot.heard[1][2]["content"] == "こんにちは "


def test_reset_forgets_all_but_the_system_message() -> None:
    parrot, _ = talk("one", "/reset", "two", system="s")
    assert [message["content"] for message in parrot.heard[1]] == ["s", "two"]


def test_quit_ends() -> None:
    parrot, _ = talk("one", "/quit", "two")
    assert len(parrot.heard) == 1


def test_an_unknown_command_is_explained_and_not_sent() -> None:
    parrot, written = talk("/help")
    assert "/reset" in written
    assert parrot.heard == []


def test_ctrl_c_stops_the_answer_and_not_the_talk() -> None:
    parrot, written = talk("half ^C never", "next")
    assert written == "half  (stopped)\nnext \n"
    assert parrot.was_stopped
    assert [message["content"] for message in parrot.heard[1]] == ["half ^C never", "half ", "next"]


def test_ctrl_c_before_the_first_word_takes_the_turn_back() -> None:
    parrot, _ = talk("^C", "next")
    assert [message["content"] for message in parrot.heard[1]] == ["next"]


def test_ctrl_c_at_the_prompt_ends() -> None:
    def lines() -> Generator[str]:
        yield "one"
        raise KeyboardInterrupt

    written: list[str] = []
    chat_loop(Parrot(), system=None, input_lines=lines(), write=written.append)
    assert "".join(written) == "one \n\n"


def test_a_full_context_is_told_and_taken_back() -> None:
    parrot, written = talk("one", "too long", "two")
    assert "(the conversation has 9 tokens, more than the context of 8; begin anew)\n" in written
    assert [message["content"] for message in parrot.heard[2]] == ["one", "one ", "two"]


def test_one_shot() -> None:
    written: list[str] = []
    assert answer_once(Parrot(), "a b", system=None, write=written.append) == "a b "
    assert written == ["a ", "b ", "\n"]


def test_typed_lines_end_with_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["one", "two"])

    def answer(prompt: str) -> str:
        assert prompt == "> "
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", answer)
    assert list(typed_lines()) == ["one", "two"]
