import io

import pytest
from rich.console import Console

from moyai.cli.progress import Meter, PlainProgress, Rate, RichProgress, make_progress


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def plain():
    clock, file = Clock(), io.StringIO()
    return PlainProgress(Console(file=file, width=40), clock=clock), clock, file


def test_a_line_every_ten_seconds_and_one_at_the_end():
    progress, clock, file = plain()
    with progress.bar("pretrain", total=60_000, unit="tokens") as bar:
        for step in range(1, 31):
            clock.now += 1
            bar.advance(2000, loss=3.0 - step / 100)
    lines = file.getvalue().splitlines()
    assert lines == [
        "pretrain: 33% of 60.0k tokens  2.00k tokens/s  20 s left  loss 2.9",
        "pretrain: 67% of 60.0k tokens  2.00k tokens/s  10 s left  loss 2.8",
        "pretrain: 100% of 60.0k tokens  2.00k tokens/s  < 1 s left  loss 2.7",
        "pretrain: 60.0k tokens in 30 s  2.00k tokens/s  loss 2.7",
    ]


def test_short_work_is_one_line():
    progress, clock, file = plain()
    with progress.bar("copy", total=1000, unit="bytes") as bar:
        clock.now += 2
        bar.advance(1000)
    assert file.getvalue() == "copy: 1.00 kB in 2 s  500 B/s\n"


def test_what_was_done_before_is_not_counted_as_speed():
    progress, clock, file = plain()
    with progress.bar("sft", total=100, unit="rows", done=90) as bar:
        clock.now += 10
        bar.advance(5)
    first, last = file.getvalue().splitlines()
    assert first == "sft: 95% of 100 rows  0.5 rows/s  10 s left"
    assert last.startswith("sft: 95 rows in 10 s")


def test_work_that_fails_has_no_last_line():
    progress, _, file = plain()
    with pytest.raises(KeyError), progress.bar("sft", total=1, unit="rows"):
        raise KeyError
    assert file.getvalue() == ""


def test_notes_are_not_wrapped_or_interpreted():
    progress, _, file = plain()
    progress.note("[bold]a long line that is wider than the console's forty columns :smile:")
    assert file.getvalue() == "[bold]a long line that is wider than the console's forty columns :smile:\n"


def test_the_rate_forgets_what_is_long_ago():
    clock = Clock()
    rate = Rate(0.0, clock)
    assert rate.per_second() is None
    rate.record(1_000_000.0)  # a resumed run jumps to where it was
    for second in range(1, 61):
        clock.now = 100.0 + second
        rate.record(1_000_000.0 + second * 5)
    assert rate.per_second() == pytest.approx(5.0)


def test_nothing_to_do_is_all_done():
    assert Meter("x", total=0, unit="rows", done=0, clock=Clock()).share == 1.0


def test_nobody_knows_of_how_much():
    clock = Clock()
    meter = Meter("x", total=0, unit="rows", done=0, clock=clock)
    clock.now += 2
    meter.advance(20)
    assert (meter.done_text(), meter.left_text()) == ("20 rows", "")
    progress, file = terminal()
    with progress.bar("count", total=0, unit="rows") as bar:
        bar.advance(20)
    assert any("100 %" in line for line in file.getvalue().splitlines())


def terminal(width=100):
    file = io.StringIO()
    return RichProgress(Console(file=file, width=width, force_terminal=True, color_system=None)), file


def test_a_terminal_gets_a_bar_that_stays():
    progress, file = terminal()
    with progress.bar("pretrain", total=4, unit="tokens") as bar:
        bar.advance(4, balance_loss=2.5)
    last = next(line for line in reversed(file.getvalue().splitlines()) if "100 %" in line)
    assert "pretrain" in last
    assert "balance loss 2.5" in last


def test_bars_within_bars_notes_and_a_second_bar(capsys):
    progress, file = terminal()
    with progress.bar("outer", total=1, unit="stages"):
        progress.note("a note [x]")
        with progress.bar("inner", total=1, unit="bytes") as bar:
            bar.advance(1)
        print("data")
    with progress.bar("next", total=1, unit="bytes"):
        pass
    text = file.getvalue()
    assert all(word in text for word in ("outer", "inner", "a note [x]", "next"))
    assert capsys.readouterr().out == "data\n"


def test_a_failing_bar_frees_the_terminal():
    progress, file = terminal()
    with pytest.raises(KeyError), progress.bar("one", total=1, unit="rows"):
        raise KeyError
    assert file.getvalue().endswith("\x1b[?25h")  # the cursor is back
    with progress.bar("two", total=1, unit="rows"):
        pass


def test_choice_by_terminal():
    assert isinstance(make_progress(), PlainProgress)
