"""How long a stage has worked, over every part of a run that was cut short, and how much memory it took."""

from __future__ import annotations

import json
import resource
import threading
import time
from contextlib import suppress
from pathlib import Path

_CLOCK_NAME = ".moyai-clock.json"
_PARTIAL_NAME = f"{_CLOCK_NAME}.partial"
_BEAT_SECONDS = 5.0


class StageClock:
    """Counts seconds and parts; a beat every few seconds keeps the count through a kill."""

    def __init__(self, stage_dir: Path) -> None:
        self.path = stage_dir / _CLOCK_NAME
        before = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.seconds_before: float = before.get("seconds", 0.0)
        self.peak_before: int = before.get("peak_bytes", 0)
        self.parts: int = before.get("parts", 0) + 1
        self.started_at: str = before.get("started", time.strftime("%Y-%m-%dT%H:%M:%S%z"))
        self.begun = time.monotonic()
        self._stop = threading.Event()
        _reset_peak()
        self._beat()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def seconds(self) -> float:
        """Working seconds in all."""
        return self.seconds_before + time.monotonic() - self.begun

    @property
    def peak_bytes(self) -> int:
        """Largest resident memory of the process while the stage ran."""
        return max(self.peak_before, _peak_bytes())

    def pause(self) -> None:
        """Stop beating, keep the file."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_BEAT_SECONDS):
            with suppress(OSError):  # a full disk is told by the stage; a lost beat costs a few seconds of the count
                self._beat()

    def _beat(self) -> None:
        state = {
            "seconds": self.seconds,
            "peak_bytes": self.peak_bytes,
            "parts": self.parts,
            "started": self.started_at,
        }
        partial = self.path.with_name(_PARTIAL_NAME)
        partial.write_text(json.dumps(state))
        partial.replace(self.path)


def forget_clock(stage_dir: Path) -> None:
    """Remove what the clock wrote: the record has the numbers now."""
    for name in (_CLOCK_NAME, _PARTIAL_NAME):
        (stage_dir / name).unlink(missing_ok=True)


def _reset_peak() -> None:
    # Linux keeps one high-water mark per process; writing 5 here lowers it to the present size.
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # elsewhere, or not allowed: the peak is then the whole process's, which is never too low


def _peak_bytes() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
