"""Loss curves, expert load and vocabularies as inline SVG: letters are paths, colours are the page's own CSS variables.

Shape letters: L layers, E experts.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import accumulate, cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moyai.report.lineage import StageReport
from moyai.report.scores import ModelScores
from moyai.report.tokenizers import VocabularyReport
from moyai.report.training_log import smoothed
from moyai.report.wording import kind_name, language_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# matplotlib knows no CSS: it draws in colours that occur nowhere else, and these become CSS variables.
_INK, _MUTED, _LINE = "#010101", "#020202", "#030303"
_JAPANESE, _ENGLISH, _ACCENT = "#040404", "#050505", "#060606"
_VARIABLES = {
    _INK: "--ink",
    _MUTED: "--muted",
    _LINE: "--line",
    _JAPANESE: "--ja",
    _ENGLISH: "--en",
    _ACCENT: "--accent",
}
_WIDTH_INCHES = 10.0
# A smaller difference of load is drawn pale: with few tokens some always shows.
_LEAST_FULL_DIFFERENCE = 0.10


def loss_chart(trainings: tuple[StageReport, ...]) -> str:
    """Loss over trained tokens, one panel per stage: their losses count different tokens."""
    with _style():
        from matplotlib.figure import Figure

        num_columns = min(3, len(trainings))
        num_rows = math.ceil(len(trainings) / num_columns)
        figure = Figure(figsize=(_WIDTH_INCHES, 3.5 * num_rows), layout="constrained")
        for index, stage in enumerate(trainings):
            panel = figure.add_subplot(num_rows, num_columns, index + 1)
            _draw_loss(panel, stage)
            if index % num_columns == 0:
                panel.set_ylabel("損失 loss")
        return _svg(figure, "loss")


def expert_load_chart(scores: ModelScores) -> str:
    """Share of tokens per expert and layer for each language, and the difference Japanese − English."""
    assert scores.expert_load is not None
    load_LE = {language: np.asarray(shares, dtype=float) for language, shares in scores.expert_load.items()}
    num_experts = next(iter(load_LE.values())).shape[1]
    full = max(2 / num_experts, *(float(load.max()) for load in load_LE.values()))
    has_both = {"ja", "en"} <= load_LE.keys()
    num_panels = len(load_LE) + has_both
    with _style():
        from matplotlib.figure import Figure

        height = num_panels * (0.75 + 0.3 * min(num_experts, 16)) + 0.5
        figure = Figure(figsize=(_WIDTH_INCHES, height), layout="constrained")
        panels = figure.subplots(num_panels, 1, squeeze=False)[:, 0]
        for panel, (language, load) in zip(panels, load_LE.items(), strict=False):
            words = language_name(language)
            uniform = f"（均等 uniform = {100 / num_experts:.3g}）"
            title = f"{words.ja} {words.en}：トークンの割合 share of tokens, %{uniform}"
            colour = {"ja": _JAPANESE, "en": _ENGLISH}.get(language, _ACCENT)
            _draw_cells(panel, load, full=full, colours=(colour, colour), title=title)
        if has_both:
            difference = load_LE["ja"] - load_LE["en"]
            full = max(_LEAST_FULL_DIFFERENCE, float(np.abs(difference).max()))
            title = "差 difference：日本語 − 英語 Japanese − English, ポイント percentage points"
            _draw_cells(
                panels[-1], difference, full=full, colours=(_JAPANESE, _ENGLISH), title=title, signed=True
            )
        panels[-1].set_xlabel("層 layer")
        return _svg(figure, "load")


def vocabulary_chart(vocabulary: VocabularyReport) -> str:
    """Characters per token of each text: a pale bar before the stage, a full one after it, marks for other tokenizers."""
    holdings = vocabulary.holdings
    has_before = any(holding.characters_before is not None for holding in holdings)
    with _style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(_WIDTH_INCHES, 1.0 + (0.6 if has_before else 0.4) * len(holdings)), layout="constrained")
        panel = figure.add_subplot()
        for place, holding in enumerate(holdings):
            if holding.characters_before is not None:
                _draw_bar(panel, place - 0.2, holding.characters_before, _MUTED)
            _draw_bar(panel, place + (0.2 if has_before else 0), holding.characters_after, _ACCENT)
        for other, shape in zip(vocabulary.others, cycle("oDs^v"), strict=False):
            known = [(place, holding.others[other]) for place, holding in enumerate(holdings) if other in holding.others]
            places, values = zip(*known, strict=True)
            panel.plot(values, places, shape, color=_INK, markerfacecolor="none", markersize=6, label=other)
        if vocabulary.others:
            panel.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4, frameon=False)
        panel.set_yticks(range(len(holdings)), [holding.text for holding in holdings])
        panel.set_ylim(len(holdings) - 0.4, -0.6)
        panel.set_xlabel("文字/トークン characters per token")
        panel.margins(x=0.12)
        panel.tick_params(length=0)
        return _svg(figure, f"vocabulary-{vocabulary.stage.name}")


def _draw_bar(panel: Any, place: float, value: float, colour: str) -> None:
    panel.barh(place, value, height=0.36, color=colour, alpha=0.85 if colour == _ACCENT else 0.45)
    panel.annotate(f"{value:.2f}", (value, place), xytext=(4, 0), textcoords="offset points", va="center", color=_INK)


def _draw_loss(panel: Any, stage: StageReport) -> None:
    tokens = list(accumulate(point.tokens for point in stage.training))
    losses = [point.loss for point in stage.training]
    panel.plot(tokens, losses, color=_ACCENT, alpha=0.35, linewidth=1.0)
    panel.plot(tokens, smoothed(losses), color=_ACCENT, linewidth=2.2)
    words = kind_name(stage.kind)
    panel.set_title(f"{stage.name}\n{words.ja} {words.en}", loc="left", fontsize=9.5)
    panel.set_xlabel("学習トークン数 trained tokens")
    panel.grid(axis="y", color=_LINE, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.ticklabel_format(axis="x", style="plain")
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    panel.locator_params(axis="x", nbins=5)
    panel.margins(x=0.01, y=0.08)


def _draw_cells(
    panel: Any, values_LE: Any, *, full: float, colours: tuple[str, str], title: str, signed: bool = False
) -> None:
    """One row per expert, one column per layer; the stronger the colour, the larger the value."""
    from matplotlib.patches import Rectangle

    num_layers, num_experts = values_LE.shape
    is_roomy = num_layers <= 34 and num_experts <= 16
    for layer in range(num_layers):
        for expert in range(num_experts):
            value = float(values_LE[layer, expert])
            panel.add_patch(
                Rectangle(
                    (layer + 0.54, expert + 0.54), 0.92, 0.92,
                    facecolor=colours[value < 0], alpha=0.85 * min(1.0, abs(value) / full), linewidth=0,
                )
            )  # fmt: skip
            if is_roomy:
                text = f"{value * 100:+.0f}".replace("-", "−") if signed else f"{value * 100:.0f}"
                panel.text(layer + 1, expert + 1, text, ha="center", va="center", fontsize=7.5, color=_INK)
    panel.set_xlim(0.5, num_layers + 0.5)
    panel.set_ylim(num_experts + 0.5, 0.5)
    panel.set_title(title, loc="left")
    panel.set_ylabel("エキスパート\nexpert")
    panel.set_yticks(range(1, num_experts + 1, 1 if num_experts <= 16 else 8))
    panel.set_xticks(range(1, num_layers + 1, 1 if num_layers <= 34 else 4))
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)


@contextmanager
def _style() -> Iterator[None]:
    """Draw with the Japanese font and the stand-in colours, put back afterwards."""
    import matplotlib
    from matplotlib import font_manager

    path = _font_file()
    name = font_manager.FontProperties(fname=path).get_name()
    if name not in font_manager.fontManager.get_font_names():
        font_manager.fontManager.addfont(path)
    settings = {
        "font.family": [name],
        "font.size": 9.5,
        "axes.titlesize": 10.5,
        "axes.unicode_minus": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "text.usetex": False,
        "text.color": _INK,
        "axes.labelcolor": _MUTED,
        "axes.edgecolor": _LINE,
        "xtick.color": _MUTED,
        "ytick.color": _MUTED,
        "svg.fonttype": "path",
        "svg.hashsalt": "moyai",
    }
    with matplotlib.rc_context(settings):
        yield


def _font_file() -> Path:
    # Importing matplotlib_fontja changes the settings of the whole process; only its file is wanted.
    package = find_spec("matplotlib_fontja")
    assert package is not None, "matplotlib-fontja is a dependency"
    assert package.origin is not None
    return Path(package.origin).parent / "fonts" / "ipaexg.ttf"


def _svg(figure: Figure, name: str) -> str:
    """The drawing as an `<svg>` element whose ids begin with `name`, so that several fit into one page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<svg[^>]*?viewBox="([^"]+)"[^>]*>', _opening_tag, text, count=1)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return text.strip()


def _opening_tag(match: re.Match[str]) -> str:
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {names} viewBox="{match[1]}" aria-hidden="true">'
