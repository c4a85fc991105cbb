"""Progress on stderr: bars on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from moyai.cli.output import stderr_console
from moyai.plan.quantities import format_bytes, format_count, format_seconds
from moyai.progress import Bar, Progress

_LINE_EVERY_SECONDS = 10.0
_RATE_WINDOW_SECONDS = 30.0
_SAMPLE_EVERY_SECONDS = 0.5


def make_progress() -> Progress:
    """Bars where stderr is a terminal, lines where it is not."""
    console = stderr_console()
    return RichProgress(console) if console.is_terminal else PlainProgress(console)


class Rate:
    """Units per second over the last half minute."""

    def __init__(self, done: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, float]] = deque([(clock(), done)])

    def record(self, done: float) -> None:
        """Tell how much is done by now."""
        now = self._clock()
        if now - self._samples[-1][0] < _SAMPLE_EVERY_SECONDS and len(self._samples) > 1:
            self._samples.pop()
        self._samples.append((now, done))
        while len(self._samples) > 2 and now - self._samples[1][0] >= _RATE_WINDOW_SECONDS:
            self._samples.popleft()

    def per_second(self) -> float | None:
        """None as long as nothing is known."""
        (first_time, first_done), (last_time, last_done) = self._samples[0], self._samples[-1]
        if last_time <= first_time or last_done <= first_done:
            return None
        return (last_done - first_done) / (last_time - first_time)


class Meter:
    """One piece of work: how far, how fast, how long still."""

    def __init__(
        self, label: str, *, total: float, unit: str, done: float, clock: Callable[[], float]
    ) -> None:
        self.label, self.total, self.unit, self.done = label, total, unit, done
        self.figures: dict[str, float] = {}
        self._clock = clock
        self._started, self._done_before = clock(), done
        self._rate = Rate(done, clock)

    def advance(self, amount: float, **figures: float) -> None:
        """Move on."""
        self.done += amount
        self.figures.update(figures)
        self._rate.record(self.done)

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return min(1.0, self.done / self.total) if self.total > 0 else 1.0

    def done_text(self) -> str:
        """Such as `12% of 4.0 M tokens`, or what is done alone where nobody knows of how much."""
        return f"{self.share:.0%} of {self.amount(self.total)}" if self.total > 0 else self.amount(self.done)

    @property
    def seconds(self) -> float:
        """Since the work began."""
        return self._clock() - self._started

    def rate_text(self) -> str:
        """Such as `830 tokens/s`; empty as long as nothing is known."""
        rate = self._rate.per_second()
        return "" if rate is None else f"{self.amount(rate)}/s"

    def mean_rate_text(self) -> str:
        """Over the whole work."""
        worked = self.done - self._done_before
        return f"{self.amount(worked / self.seconds)}/s" if worked > 0 and self.seconds > 0 else ""

    def left_text(self) -> str:
        """Such as `2 min 3 s left`; empty as long as nothing is known."""
        rate = self._rate.per_second()
        return "" if rate is None or self.total <= 0 else f"{format_seconds(max(0.0, self.total - self.done) / rate)} left"

    def figures_text(self) -> str:
        """Such as `loss 2.314`."""
        return "  ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in self.figures.items())

    def amount(self, count: float) -> str:
        """A count with its unit."""
        if self.unit == "bytes":
            return format_bytes(count)
        return (
            f"{count:.2g} {self.unit}"
            if 0 < count < 10 and count % 1
            else f"{format_count(count)} {self.unit}"
        )


class PlainProgress:
    """Lines, for logs and pipes: one every ten seconds and one at the end."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock

    @contextmanager
    def bar(self, label: str, *, total: float, unit: str, done: float = 0) -> Iterator[Bar]:
        """Work whose state is printed now and then."""
        line = _Line(
            Meter(label, total=total, unit=unit, done=done, clock=self._clock), self._clock, self.note
        )
        yield line
        line.end()

    def note(self, text: str) -> None:
        """One line."""
        self._console.print(Text(text), soft_wrap=True)


class _Line:
    def __init__(self, meter: Meter, clock: Callable[[], float], write: Callable[[str], None]) -> None:
        self._meter, self._clock, self._write = meter, clock, write
        self._last_line = clock()

    def advance(self, amount: float, **figures: float) -> None:
        meter = self._meter
        meter.advance(amount, **figures)
        if self._clock() - self._last_line >= _LINE_EVERY_SECONDS:
            self._last_line = self._clock()
            self._print(meter.done_text(), meter.rate_text(), meter.left_text(), meter.figures_text())

    def end(self) -> None:
        meter = self._meter
        done = f"{meter.amount(meter.done)} in {format_seconds(meter.seconds)}"
        self._print(done, meter.mean_rate_text(), meter.figures_text())

    def _print(self, *parts: str) -> None:
        self._write(f"{self._meter.label}: " + "  ".join(part for part in parts if part))


class RichProgress:
    """Bars on a terminal; a bar within a bar shares its display."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._bars: Bars | None = None

    @contextmanager
    def bar(self, label: str, *, total: float, unit: str, done: float = 0) -> Iterator[Bar]:
        """A bar with percentage, rate, time left and figures; it stays on the screen when it is full."""
        meter = Meter(label, total=total, unit=unit, done=done, clock=self._clock)
        with self._shown() as bars:
            task = bars.add_task(label, total=total if total > 0 else None, meter=meter)
            bars.update(task, completed=done)
            yield _TerminalBar(bars, task, meter)
            if total <= 0:
                bars.update(task, total=max(meter.done, 1e-9), completed=max(meter.done, 1e-9))
            bars.refresh()

    def note(self, text: str) -> None:
        """One line, above the bars if there are any."""
        self._console.print(Text(text), soft_wrap=True)

    @contextmanager
    def _shown(self) -> Iterator[Bars]:
        if self._bars is not None:
            yield self._bars
            return
        # stdout carries data: a bar must never take hold of it
        bars = Bars(*_columns(), console=self._console, refresh_per_second=5, redirect_stdout=False)
        self._bars = bars
        try:
            with bars:
                yield bars
        finally:
            self._bars = None


class _TerminalBar:
    def __init__(self, bars: Bars, task: TaskID, meter: Meter) -> None:
        self._bars, self._task, self._meter = bars, task, meter

    def advance(self, amount: float, **figures: float) -> None:
        self._meter.advance(amount, **figures)
        self._bars.update(self._task, completed=self._meter.done)


class _MeterColumn(ProgressColumn):
    """Rate, then time left or time taken, then the figures."""

    def render(self, task: Task) -> Text:
        meter: Meter = task.fields["meter"]
        if task.finished:
            parts = [meter.mean_rate_text(), f"in {format_seconds(task.finished_time or 0.0)}"]
        else:
            parts = [meter.rate_text(), meter.left_text()] if task.total else [meter.done_text(), meter.rate_text()]
        return Text("  ".join(part for part in (*parts, meter.figures_text()) if part))


def _columns() -> tuple[ProgressColumn, ...]:
    percentage = TextColumn("{task.percentage:>3.0f} %")
    return TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), percentage, _MeterColumn()
