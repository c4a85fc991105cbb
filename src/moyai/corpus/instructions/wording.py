"""The words around questions and answers when they are written out as text, by language."""

from __future__ import annotations

from dataclasses import dataclass

from moyai.recipe.corpus_settings import Language


@dataclass(frozen=True)
class PairStyle:
    """What stands around a question and its answer."""

    before_question: str
    before_answer: str
    """Begins with what parts it from the question."""
    after_answer: str = "\n\n"
    """Before the next pair."""


@dataclass(frozen=True)
class Wording:
    """From each entry one is drawn for a text."""

    pairs: tuple[PairStyle, ...]
    options: tuple[str, ...]
    """In front of the list of options."""
    think: tuple[str, ...]
    """Behind a question that is answered with reasoning."""
    conclusion: tuple[tuple[str, str], ...]
    """Around the answer behind the reasoning."""
    explanation: tuple[str, ...]
    """In front of the reasoning where it follows the answer."""
    reading: tuple[str, ...]
    """In front of a text about which is asked."""
    questions: tuple[str, ...]
    """Between the text and the questions."""
    reading_behind: tuple[str, ...]
    """Between the questions and a text that follows them."""
    dialogue: tuple[str, ...]
    """In front of a dialogue."""
    speakers: tuple[tuple[str, str], ...]
    """Who asks and who answers in a dialogue."""
    numbered: tuple[tuple[str, str], ...]
    """In front of all questions, and in front of all answers."""
    few_shot: tuple[tuple[str, str, str, str], ...]
    """In front of an example, its answer, the task, and its answer."""
    next_turn: tuple[tuple[str, str], ...]
    """In front of a dialogue so far, and in front of its next turn."""


OPTION_LABELS = ("- ", "A. ", "(a) ", "1. ", "(1) ")
"""How options may be labelled, by the first label."""

WORDING: dict[Language, Wording] = {
    "en": Wording(
        pairs=(
            PairStyle("Question: ", "\nAnswer: "),
            PairStyle("Q: ", "\nA: "),
            PairStyle("Q: ", "\nA: ", "\n"),
            PairStyle("", "\n"),
            PairStyle("", "\nAnswer: "),
            PairStyle("Task: ", "\nSolution: "),
            PairStyle("### Question\n", "\n### Answer\n"),
            PairStyle("Asked: ", "\nAnswered: "),
        ),
        options=("Options:", "Choose one of:", "The choices are:", "Which of these?"),
        think=("Explain your reasoning first.", "Give the steps that lead to the answer.", "Reason step by step."),
        conclusion=((" So the answer is: ", ""), ("\nHence: ", ""), ("\nAnswer: ", "")),
        explanation=("Because: ", "Explanation: ", "Why: "),
        reading=("", "", "Read this text.\n\n", "Text:\n", "Consider the following passage.\n\n", "Article: "),
        questions=("", "", "Questions about the text:\n\n", "Now answer these questions.\n\n", "What the text says:\n\n"),
        reading_behind=("The questions are about this text:\n", "This is the text that was asked about:\n", "Text:\n"),
        dialogue=("", "A conversation:\n", "Two people talk about it.\n", "Interview:\n"),
        speakers=(
            ("A: ", "B: "), ("Student: ", "Teacher: "), ("Visitor: ",
            "Guide: "), ("- ", "- "), ("User: ", "Assistant: "),
        ),
        numbered=(
            ("Questions:\n", "Answers:\n"), ("Answer all of these.\n",
            "The answers are:\n"), ("Quiz\n", "Solutions\n"),
        ),
        few_shot=(
            ("Example: ", "\nAnswer: ", "Now this one: ", "\nAnswer: "),
            ("Given: ", "\nResult: ", "New case: ", "\nResult: "),
            ("Sample task: ", "\nSample solution: ", "Task: ", "\nSolution: "),
        ),
        next_turn=(("The conversation so far:\n", "How it goes on:\n"), ("Earlier turns:\n", "Next turn:\n")),
    ),
    "ja": Wording(
        pairs=(
            PairStyle("質問: ", "\n回答: "),
            PairStyle("問: ", "\n答: "),
            PairStyle("問：", "\n答：", "\n"),
            PairStyle("", "\n"),
            PairStyle("", "\n答え: "),
            PairStyle("課題: ", "\n解答: "),
            PairStyle("### 質問\n", "\n### 回答\n"),
            PairStyle("Q. ", "\nA. "),
        ),
        options=("選択肢:", "次の中から選んでください。", "候補は次のとおりです。", "どれでしょうか。"),
        think=("先に理由を述べてください。", "答えに至る手順を示してください。", "順を追って考えてください。"),
        conclusion=(("よって、答えは「", "」です。"), ("\nしたがって: ", ""), ("\n答え: ", "")),
        explanation=("理由: ", "説明: ", "考え方: "),
        reading=("", "", "次の文章を読んでください。\n\n", "文章:\n", "以下の文章について考えます。\n\n", "本文: "),
        questions=("", "", "文章についての質問です。\n\n", "次の質問に答えてください。\n\n", "内容の確認です。\n\n"),
        reading_behind=("質問は次の文章についてのものです。\n", "問いの対象となった文章は次のとおりです。\n", "本文:\n"),
        dialogue=("", "会話:\n", "二人がこれについて話しています。\n", "聞き手と答え手のやりとりです。\n"),
        speakers=(
            ("A: ", "B: "), ("生徒: ", "先生: "), ("聞き手：", "答え手："), ("― ", "― "), ("ユーザー: ", "アシスタント: "),
        ),
        numbered=(("問題:\n", "解答:\n"), ("すべてに答えてください。\n", "答えは次のとおり。\n"), ("小テスト\n", "正解\n")),
        few_shot=(
            ("例: ", "\n答え: ", "では次はどうでしょう。", "\n答え: "),
            ("入力例: ", "\n出力例: ", "入力: ", "\n出力: "),
            ("例題: ", "\n解答例: ", "問題: ", "\n解答: "),
        ),
        next_turn=(("ここまでの会話:\n", "会話の続き:\n"), ("これまでのやりとり:\n", "次のやりとり:\n")),
    ),
}  # fmt: skip
