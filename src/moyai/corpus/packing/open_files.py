"""The limit on files that a process may hold open, where a corpus of many shards needs more."""

from __future__ import annotations

import resource
from pathlib import Path

from moyai.errors import FailedError

_SPARE = 128
"""For whatever else the process opens."""


def allow_open_files(count: int, purpose: str) -> None:
    """See that so many more files may be open, by raising this process's soft limit where it is too low.

    Args:
        count: how many files are about to be opened and stay open; a file that is mapped counts.
        purpose: what needs them, as the beginning of a sentence.

    Raises:
        FailedError: the hard limit is lower.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = sum(1 for _ in Path("/proc/self/fd").iterdir()) + count + _SPARE
    if soft == resource.RLIM_INFINITY or wanted <= soft:
        return
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise FailedError(
            f"{purpose} needs {wanted} open files, and a process may have {hard} here",
            hint="raise the limit (ulimit -Hn), or pack into larger shards",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
