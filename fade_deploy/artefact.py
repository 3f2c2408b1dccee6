"""Files that a command leaves behind: hashed, and written so that a failed run loses nothing.

A file is written under a temporary name beside its target, synchronised and renamed: at every moment the target is
either what was there before or the complete new file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fade_deploy.errors import OutputError

__all__ = ["check_target", "discard_staged", "json_bytes", "publish", "sha256_of", "staged", "write"]

_STAGED: set[Path] = set()  # files under their temporary names


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_bytes(document: Any) -> bytes:
    """A JSON document as it stands in a manifest: UTF-8, two spaces, a newline at the end."""
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def check_target(path: Path, *, force: bool) -> None:
    """Refuse a target that exists or can't be written, before any work is done.

    Raises:
        OutputError: The folder is missing or not writable, the target is a folder, or it exists without ``force``.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:  # a name that is too long, a loop of links, a folder that may not be searched
        raise OutputError(f"{path} can't be written: {error.strerror}; give another name with -o") from error
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give a file name with -o")
    if path.exists() and not force:
        raise OutputError(f"{path} exists; give another name with -o, or --force to replace it")
    if not path.parent.is_dir():
        what = "is no folder" if path.parent.exists() else "does not exist"
        raise OutputError(f"{path} can't be written: {path.parent} {what}; create the folder, or give another name")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path} can't be written: no permission in {path.parent}; choose another place with -o")


@contextlib.contextmanager
def staged(target: Path, data: bytes) -> Iterator[Path]:
    """Write ``data`` completely to a temporary file beside ``target`` and yield its path.

    The caller renames it into place; whatever is left under the temporary name is removed.

    Raises:
        OutputError: The folder is not writable or the disk is full; no file is left.
    """
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}{target.suffix}")
    _STAGED.add(temporary)
    try:
        with _explained(target), temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
        _STAGED.discard(temporary)


def discard_staged() -> None:
    """Remove whatever is staged now: for a process that is about to end without unwinding."""
    for temporary in tuple(_STAGED):
        temporary.unlink(missing_ok=True)


def publish(temporary: Path, target: Path) -> None:
    """Rename a staged file to its target, in one step, and make the rename durable."""
    with _explained(target):
        temporary.replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # some network file systems can't; the rename has happened all the same
                os.fsync(folder)
        finally:
            os.close(folder)


def write(target: Path, data: bytes) -> None:
    """Write ``data`` to ``target``: the whole of it, or nothing.

    Raises:
        OutputError: The target can't be written; what was there before is untouched.
    """
    with staged(target, data) as temporary:
        publish(temporary, target)


@contextlib.contextmanager
def _explained(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{target} can't be written: {error.strerror or error}; free some space or choose another place with -o"
        ) from error
