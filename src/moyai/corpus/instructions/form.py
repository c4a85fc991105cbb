"""The form in which questions and answers are written out: drawn once for a text, in the published mix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, Self

from moyai.corpus.instructions.question_pairs import Pair, PairParts, pair_parts
from moyai.corpus.instructions.wording import OPTION_LABELS, WORDING, PairStyle, Wording
from moyai.recipe.corpus_settings import Language

Mode = Literal["classic", "dialogue", "numbered", "few-shot", "next turn"]

# How often each mode is drawn.  Those that take pairs apart want two of them at least.
FEW_PAIRS: dict[Mode, int] = {"classic": 95, "dialogue": 5}
SEVERAL_PAIRS: dict[Mode, int] = {"classic": 80, "dialogue": 5, "numbered": 5, "few-shot": 5, "next turn": 5}
# Turns of a conversation keep their order, so they are not numbered and are no examples of each other.
IN_TURNS: dict[Mode, int] = {"classic": 80, "dialogue": 5, "next turn": 5}
QUESTIONS_FIRST = 0.05
_NUM_LETTERS = 26


@dataclass(frozen=True)
class InstructionForm:
    """One way to write out texts with questions; every text of it in the same words."""

    mode: Mode
    questions_first: bool
    in_turns: bool
    """The pairs are turns of a conversation, and a text is what was said to the assistant beforehand."""
    wording: Wording
    """Of one entry each."""
    label: str
    """Of the first option."""

    @classmethod
    def drawn(cls, draw: str, *, num_pairs: int, language: Language, in_turns: bool = False) -> Self:
        """The form that `draw` gives.

        Args:
            draw: the same gives the same form.
            num_pairs: of the text that has fewest.
            language: of the words.
            in_turns: the pairs are turns of a conversation.

        Source: `get_patterns` in `instruction_pretrain/utils/read_compre_pt.py` of microsoft/LMOps, for how often each
        mode is drawn; the words are ours.
        """
        random = Random(draw)
        several = IN_TURNS if in_turns else SEVERAL_PAIRS
        weights = several if num_pairs > 1 else FEW_PAIRS
        mode = random.choices(list(weights), list(weights.values()))[0]
        questions_first = not in_turns and mode in FEW_PAIRS and random.random() < QUESTIONS_FIRST
        every = WORDING[language]
        one = {name: (random.choice(getattr(every, name)),) for name in Wording.__dataclass_fields__}
        # No label that already marks a question or a speaker.
        taken = "1" if mode == "numbered" else "-" if mode in ("dialogue", "next turn") else "?"
        label = random.choice([label for label in OPTION_LABELS if taken not in label])
        return cls(mode, questions_first, in_turns, Wording(**one), label)

    def write(self, text: str, pairs: Sequence[Pair]) -> str:
        """A text, which may be empty, with its questions."""
        parts = [pair_parts(pair) for pair in pairs]
        asked = _WRITERS[self.mode](self, parts)
        if not text:
            return asked
        if self.questions_first:
            return f"{asked}\n\n{self.wording.reading_behind[0]}{text}"
        if self.mode == "classic" and not self.in_turns:
            return f"{self.wording.reading[0]}{text}\n\n{self.wording.questions[0]}{asked}"
        return f"{text}\n\n{asked}"

    def _question(self, parts: PairParts, *, think: bool = True) -> str:
        lines = [parts.question]
        if parts.options:
            lines.append(self.wording.options[0])
            labels = self._labels(len(parts.options))
            lines += [f"{label}{option}" for label, option in zip(labels, parts.options, strict=True)]
        if parts.reasoning and think:
            lines.append(self.wording.think[0])
        return "\n".join(lines)

    def _answer(self, parts: PairParts) -> str:
        before, after = self.wording.conclusion[0]
        return f"{parts.reasoning}{before}{parts.answer}{after}" if parts.reasoning else parts.answer

    def _labels(self, count: int) -> list[str]:
        """So many labels, going on from the first one; numbers where there are more of them than letters."""
        sign = next((sign for sign in "1Aa" if sign in self.label), "-")
        numbers = sign == "1" or count > _NUM_LETTERS
        names = [str(number + 1) if numbers else chr(ord(sign) + number) for number in range(count)]
        return [self.label if sign == "-" else self.label.replace(sign, name) for name in names]

    def _classic(self, parts: Sequence[PairParts], style: PairStyle | None = None) -> str:
        style = style or self.wording.pairs[0]
        return style.after_answer.join(
            f"{style.before_question}{self._question(one)}{style.before_answer}{self._answer(one)}" for one in parts
        )

    def _dialogue(self, parts: Sequence[PairParts]) -> str:
        return self.wording.dialogue[0] + self._turns(parts)

    def _turns(self, parts: Sequence[PairParts]) -> str:
        asks, answers = self.wording.speakers[0]
        return self._classic(parts, PairStyle(asks, f"\n{answers}", "\n"))

    def _numbered(self, parts: Sequence[PairParts]) -> str:
        questions, answers = self.wording.numbered[0]
        asked = "\n".join(f"{number}. {self._question(one)}" for number, one in enumerate(parts, start=1))
        said = "\n".join(f"{number}. {self._answer(one)}" for number, one in enumerate(parts, start=1))
        return f"{questions}{asked}\n\n{answers}{said}"

    def _few_shot(self, parts: Sequence[PairParts]) -> str:
        example, example_answer, task, task_answer = self.wording.few_shot[0]
        shots = []
        for one in parts[:-1]:
            shot = f"{example}{self._question(one, think=False)}{example_answer}{one.answer}"
            shots.append(f"{shot}\n{self.wording.explanation[0]}{one.reasoning}" if one.reasoning else shot)
        last = parts[-1]
        shots.append(f"{task}{self._question(last)}{task_answer}{self._answer(last)}")
        return "\n\n".join(shots)

    def _next_turn(self, parts: Sequence[PairParts]) -> str:
        so_far, following = self.wording.next_turn[0]
        return f"{so_far}{self._turns(parts[:-1])}\n\n{following}{self._turns(parts[-1:])}"


_WRITERS = {
    "classic": InstructionForm._classic,
    "dialogue": InstructionForm._dialogue,
    "numbered": InstructionForm._numbered,
    "few-shot": InstructionForm._few_shot,
    "next turn": InstructionForm._next_turn,
}
