"""Every error that moyai raises on purpose.

    MoyaiError                     one sentence, and a hint that says what to do
    ├── UserError                  the input is wrong: exit code 2, nothing half-written
    │   ├── RecipeError            a recipe or a --set override does not fit the schema
    │   ├── InputFileError         a file is missing, truncated, or not what its name says
    │   ├── SourceError            a model source cannot be fetched or fails its hash check
    │   ├── DiskSpaceError         the disk cannot hold what the work would write
    │   └── BusyError              another run holds the directory
    └── FailedError                the work itself failed: exit code 1

A message names the file, the key, the value seen and the values allowed, in one sentence without a full
stop; `hint` is one sentence too.  Broken invariants of our own are plain `assert`s, never one of these.
"""

from __future__ import annotations


class MoyaiError(Exception):
    """The root of the tree: `str(error)` is one sentence, `error.hint` says what to do."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UserError(MoyaiError):
    """The user's input is wrong."""

    exit_code = 2


class RecipeError(UserError):
    """A recipe, or an override of it, does not fit the schema."""


class InputFileError(UserError):
    """A file is missing, truncated, or not what it should be."""


class SourceError(UserError):
    """A model source cannot be fetched, or what came is not what was pinned."""


class DiskSpaceError(UserError):
    """The disk cannot hold what the work would write."""


class BusyError(UserError):
    """Another run holds the directory."""


class FailedError(MoyaiError):
    """The work itself failed."""
