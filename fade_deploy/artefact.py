"""Files and folders that a command leaves behind: hashed, and written so that a failed run loses nothing.

They are written under a temporary name beside their target, synchronised and renamed: at every moment the target is
either what was there before or the complete new file or folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fade_deploy.errors import OutputError

__all__ = [
    "check_folder",
    "check_target",
    "discard_staged",
    "explained",
    "is_same_file",
    "json_bytes",
    "publish",
    "publish_folder",
    "sha256_of",
    "staged",
    "staged_folder",
    "write",
]

_STAGED: set[Path] = set()  # files and folders under their temporary names
_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
_AT_FDCWD = -100  # its folder argument for "as the path says"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_bytes(document: Any) -> bytes:
    """A JSON document as it stands in a manifest: UTF-8, two spaces, a newline at the end.

    What of a file's name is no text stands as JSON's own escape (``\\udcff``).
    """
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def check_target(path: Path, *, force: bool, option: str = "-o") -> None:
    """Refuse a target that exists or can't be written, before any work is done.

    Args:
        path: The file.
        force: Whether it may be replaced.
        option: With which the user names it.

    Raises:
        OutputError: The folder is missing or not writable, the target is a folder, or it exists without ``force``.
    """
    _check_name(path, option)
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give a file name with {option}")
    if path.exists() and not force:
        raise OutputError(f"{path} exists; give another name with {option}, or --force to replace it")
    _check_parent(path, option)


def is_same_file(target: Path, given: Path | str) -> bool:
    """Whether writing ``target`` would replace the file that was ``given``, by whatever names."""
    try:
        return target.samefile(given)
    except (OSError, ValueError):  # one of them is no file: nothing is lost
        return False


def check_folder(path: Path, *, force: bool, manifest: str) -> None:
    """Refuse a target folder that can't be written or replaced, before any work is done.

    A folder is ours when it holds ``manifest``, a JSON object whose ``files`` names every file in it. What Python left
    there (``__pycache__``) does not count. An empty folder counts as free.

    Args:
        path: The folder.
        force: Whether one of ours may be replaced.
        manifest: Name of the file that a folder of ours has.

    Raises:
        OutputError: It exists and is not ours, or is ours and ``force`` is not given; it holds files of somebody else;
            it is a file or a link; or its parent is missing or not writable.
    """
    _check_name(path)
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        kind = "a link" if path.is_symlink() else "a file"
        raise OutputError(f"{path} is {kind}, expected a folder or a free name: give another name with -o")
    if path.is_dir() and any(path.iterdir()):
        listed = _listed_files(path / manifest)
        if listed is None:
            raise OutputError(
                f"{path} is a folder that fade-export did not write, and is never replaced: give another name with -o"
            )
        strange = sorted(_files_below(path) - listed - {manifest})
        if strange:
            raise OutputError(
                f"{path} also holds {strange[0]}, which fade-export did not write, and is not replaced: "
                "give another name with -o"
            )
        if not force:
            raise OutputError(f"{path} exists; give another name with -o, or --force to replace it")
    _check_parent(path)


def _check_name(path: Path, option: str = "-o") -> None:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:  # a name that is too long, a loop of links, a folder that may not be searched
        raise OutputError(f"{path} can't be written: {error.strerror}; give another name with {option}") from error


def _check_parent(path: Path, option: str = "-o") -> None:
    if not path.parent.is_dir():
        what = "is no folder" if path.parent.exists() else "does not exist"
        raise OutputError(f"{path} can't be written: {path.parent} {what}; create the folder, or give another name")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(
            f"{path} can't be written: no permission in {path.parent}; choose another place with {option}"
        )


def _listed_files(manifest: Path) -> set[str] | None:
    """The files that a folder of ours says it has; None where the folder is not ours."""
    try:
        document = json.loads(manifest.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    files = document.get("files") if isinstance(document, dict) else None
    return set(files) if isinstance(files, dict) else None


def _files_below(folder: Path) -> set[str]:
    """Everything in a folder but its sub-folders and what Python keeps there, by relative path."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if (path.is_symlink() or not path.is_dir()) and "__pycache__" not in path.relative_to(folder).parts
    }


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
        with explained(target), temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
        _STAGED.discard(temporary)


@contextlib.contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Make an empty folder under a temporary name beside ``target`` and yield its path, to be filled.

    The caller renames it into place; whatever is left under the temporary name is removed.

    Raises:
        OutputError: The folder is not writable or the disk is full; nothing is left.
    """
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    _STAGED.add(temporary)
    try:
        with explained(target):
            temporary.mkdir()
        yield temporary
    finally:
        _remove(temporary)
        _STAGED.discard(temporary)


def discard_staged() -> None:
    """Remove whatever is staged now: for a process that is about to end without unwinding."""
    for temporary in tuple(_STAGED):
        _remove(temporary)


def _remove(temporary: Path) -> None:
    if temporary.is_dir():
        shutil.rmtree(temporary, ignore_errors=True)
    else:
        temporary.unlink(missing_ok=True)


def publish(temporary: Path, target: Path) -> None:
    """Rename a staged file to its target, in one step, and make the rename durable."""
    with explained(target):
        temporary.replace(target)
        _synchronise(target.parent)


def publish_folder(temporary: Path, target: Path) -> None:
    """Give a staged folder its name, in one step, and make that durable.

    A folder that stands there already takes the temporary name, under which :func:`staged_folder` removes it.
    """
    with explained(target):
        for path in (*temporary.rglob("*"), temporary):
            _synchronise(path)
        if target.is_dir() and any(target.iterdir()):
            _exchange(temporary, target)
        else:
            temporary.rename(target)
        _synchronise(target.parent)


def _exchange(first: Path, second: Path) -> None:
    """Let two folders take each other's name."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # glibc 2.28, musl 1.2.6; no other system
    if rename is not None and rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _EXCHANGE) == 0:
        return
    # A file system without it (NFS, some overlays): for a moment, between two renames, nothing has the second name.
    aside = first.with_name(f"{first.name}.old")
    second.rename(aside)
    try:
        first.rename(second)
    except BaseException:
        aside.rename(second)
        raise
    aside.rename(first)


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems can't with a folder; the rename has happened
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(target: Path, data: bytes) -> None:
    """Write ``data`` to ``target``: the whole of it, or nothing.

    Raises:
        OutputError: The target can't be written; what was there before is untouched.
    """
    with staged(target, data) as temporary:
        publish(temporary, target)


@contextlib.contextmanager
def explained(target: Path) -> Iterator[None]:
    """Turn what the system says while ``target`` is written into one line.

    Raises:
        OutputError: There was an OSError inside.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{target} can't be written: {error.strerror or error}; free some space or choose another place with -o"
        ) from error
