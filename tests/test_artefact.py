"""Files appear whole or not at all: whatever goes wrong, the target is what it was before."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fade_deploy import artefact
from fade_deploy.errors import OutputError
from tests.command_line import contents

OLD = b"old bytes"
NEW = b"new bytes" * 1000

# Writes NEW to argv[1], but stops where argv[2] says, and prints that it stands there.
_STOPPED = """
import os, sys, time
from pathlib import Path
from fade_deploy import artefact

def stop(*_):
    print("stopped", flush=True)
    time.sleep(60)

target, where = Path(sys.argv[1]), sys.argv[2]
if where == "before the data is on the disk":
    os.fsync = stop
if where == "before the rename":
    Path.replace = stop
artefact.write(target, b"new bytes" * 1000)
"""
_FULL_DISK = """
import resource, sys
from pathlib import Path
from fade_deploy import artefact, errors

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    artefact.write(Path(sys.argv[1]), b"new bytes" * 1000)
except errors.OutputError as error:
    print(error)
"""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(OLD)
    return path


def assert_untouched(target: Path) -> None:
    assert contents(target.parent) == {target.name: OLD}


def test_a_write_replaces_the_whole_file(target: Path) -> None:
    artefact.write(target, NEW)
    assert contents(target.parent) == {target.name: NEW}


def test_a_new_file_has_the_permissions_that_the_user_asked_for(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        artefact.write(tmp_path / "model.onnx", NEW)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model.onnx").stat().st_mode) == 0o640


def test_the_target_is_never_a_partial_file(target: Path) -> None:
    with artefact.staged(target, NEW) as temporary:
        assert temporary.parent == target.parent  # a rename is one step within a file system only
        assert temporary.suffix == target.suffix
        assert temporary.name.startswith(".")
        assert temporary.read_bytes() == NEW
        assert target.read_bytes() == OLD
        artefact.publish(temporary, target)
        assert target.read_bytes() == NEW
    assert contents(target.parent) == {target.name: NEW}


def test_what_is_staged_and_not_published_disappears(target: Path) -> None:
    with artefact.staged(target, NEW):
        pass
    assert_untouched(target)


def test_an_error_of_the_caller_leaves_the_target_and_no_temporary_file(target: Path) -> None:
    with pytest.raises(ZeroDivisionError), artefact.staged(target, NEW):
        raise ZeroDivisionError
    assert_untouched(target)


def test_two_writers_of_one_target_do_not_meet(target: Path) -> None:
    with artefact.staged(target, b"a") as first, artefact.staged(target, b"b") as second:
        assert (first.read_bytes(), second.read_bytes()) == (b"a", b"b")


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_failing_write_leaves_the_old_bytes_and_no_temporary_file(
    target: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os if where == "fsync" else Path, where, fail)
    with pytest.raises(OutputError, match="No space left on device; free some space or choose another place"):
        artefact.write(target, NEW)
    assert_untouched(target)


def test_a_full_disk_leaves_the_old_bytes_and_no_temporary_file(target: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(target)], capture_output=True, text=True, check=True, timeout=60
    )
    assert finished.stdout == (
        f"{target} can't be written: File too large; free some space or choose another place with -o\n"
    )
    assert finished.stderr == ""
    assert_untouched(target)


@pytest.mark.parametrize("where", ["before the data is on the disk", "before the rename"])
def test_a_killed_writer_leaves_the_old_target(target: Path, where: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _STOPPED, str(target), where], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "stopped\n"
        writer.send_signal(signal.SIGKILL)
    assert writer.returncode == -signal.SIGKILL
    assert target.read_bytes() == OLD
    (left,) = set(target.parent.iterdir()) - {target}  # nobody can remove it any more; it never has the target's name
    assert left.name.startswith(".model.")
    artefact.write(target, NEW)  # and it is in nobody's way
    assert target.read_bytes() == NEW


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("there.onnx", "exists; give another name with -o, or --force to replace it"),
        ("folder.onnx", "is a folder; give a file name with -o"),
        ("missing/model.onnx", "missing does not exist; create the folder"),
        ("there.onnx/model.onnx", "there.onnx is no folder; create the folder, or give another name"),
        ("n" * 300 + ".onnx", "File name too long; give another name with -o"),
        ("loop/model.onnx", "Too many levels of symbolic links; give another name with -o"),
    ],
)
def test_an_impossible_target_is_refused_before_any_work(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / "there.onnx").write_bytes(OLD)
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OutputError) as raised:
        artefact.check_target(tmp_path / name, force=False)
    assert told in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_a_folder_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(OutputError, match=r"no permission in .*; choose another place with -o"):
        artefact.check_target(tmp_path / "model.onnx", force=False)


def test_a_link_to_nothing_counts_as_free(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").symlink_to(tmp_path / "gone")
    artefact.check_target(tmp_path / "model.onnx", force=False)


def test_force_allows_an_existing_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "there.onnx").write_bytes(OLD)
    artefact.check_target(tmp_path / "there.onnx", force=True)
    artefact.check_target(tmp_path / "new.onnx", force=True)
    for name in (".", "missing/model.onnx"):
        with pytest.raises(OutputError):
            artefact.check_target(tmp_path / name, force=True)


def test_sha256_is_that_of_the_standard(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert artefact.sha256_of(tmp_path / "abc") == expected


def test_json_is_readable_utf8_with_a_newline_at_its_end() -> None:
    assert artefact.json_bytes({"class": "ciel étoilé"}) == '{\n  "class": "ciel étoilé"\n}\n'.encode()


# --- folders -----------------------------------------------------------------------------------------------------

MANIFEST = "ours.json"


def fill(folder: Path, text: bytes) -> None:
    (folder / "inner").mkdir()
    (folder / "inner" / "file").write_bytes(text)
    (folder / MANIFEST).write_text('{"files": {"inner/file": ""}}')


def write_folder(target: Path, text: bytes) -> None:
    with artefact.staged_folder(target) as temporary:
        fill(temporary, text)
        artefact.publish_folder(temporary, target)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    path.mkdir()
    fill(path, OLD)
    return path


# Replaces the folder argv[1], but stops where argv[2] says, and prints that it stands there.
_STOPPED_FOLDER = """
import os, sys, time
from pathlib import Path
from fade_deploy import artefact

def stop(*_):
    print("stopped", flush=True)
    time.sleep(60)

target, where = Path(sys.argv[1]), sys.argv[2]
if where == "before the data is on the disk":
    os.fsync = stop
if where == "before the names change":
    artefact._exchange = stop
with artefact.staged_folder(target) as folder:
    (folder / "file").write_bytes(b"new bytes" * 1000)
    if where == "while it is filled":
        stop()
    artefact.publish_folder(folder, target)
"""


def test_a_folder_is_replaced_as_a_whole(folder: Path) -> None:
    (folder / "gone with the old one").write_bytes(OLD)
    write_folder(folder, NEW)
    assert set(contents(folder)) == {"inner", "inner/file", MANIFEST}
    assert (folder / "inner" / "file").read_bytes() == NEW
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_new_folder_appears_with_its_content(tmp_path: Path) -> None:
    with artefact.staged_folder(tmp_path / "new") as temporary:
        fill(temporary, NEW)
        assert temporary.parent == tmp_path
        assert not (tmp_path / "new").exists()
        artefact.publish_folder(temporary, tmp_path / "new")
    assert (tmp_path / "new" / "inner" / "file").read_bytes() == NEW
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_a_folder_is_replaced_where_the_file_system_can_not_exchange(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artefact.ctypes, "CDLL", lambda *_, **__: object())  # as on a system without renameat2
    write_folder(folder, NEW)
    assert (folder / "inner" / "file").read_bytes() == NEW
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_failing_second_rename_gives_the_old_folder_its_name_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artefact.ctypes, "CDLL", lambda *_, **__: object())
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if target == folder and not path.name.endswith(".old"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    before = contents(folder.parent)
    with pytest.raises(OutputError, match="Input/output error"):
        write_folder(folder, NEW)
    assert contents(folder.parent) == before


def test_an_error_while_a_folder_is_filled_leaves_what_was_there(folder: Path) -> None:
    before = contents(folder.parent)
    with pytest.raises(ZeroDivisionError), artefact.staged_folder(folder):
        raise ZeroDivisionError
    assert contents(folder.parent) == before


def test_a_full_disk_while_a_folder_is_filled_is_one_line(folder: Path) -> None:
    before = contents(folder.parent)
    with (
        pytest.raises(OutputError, match="No space left on device; free some space"),
        artefact.staged_folder(folder),
        artefact.explained(folder),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert contents(folder.parent) == before


@pytest.mark.parametrize("where", ["while it is filled", "before the data is on the disk", "before the names change"])
def test_a_killed_writer_leaves_the_old_folder(folder: Path, where: str) -> None:
    before = contents(folder)
    with subprocess.Popen(
        [sys.executable, "-c", _STOPPED_FOLDER, str(folder), where], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "stopped\n"
        writer.send_signal(signal.SIGKILL)
    assert writer.returncode == -signal.SIGKILL
    assert contents(folder) == before
    (left,) = set(folder.parent.iterdir()) - {folder}
    assert left.name.startswith(".repository.")


def test_what_is_staged_is_discarded_files_and_folders_alike(tmp_path: Path) -> None:
    with artefact.staged_folder(tmp_path / "folder") as folder, artefact.staged(tmp_path / "file", NEW):
        fill(folder, NEW)
        artefact.discard_staged()
        assert contents(tmp_path) == {}


def test_a_folder_of_ours_is_replaced_by_force_only(folder: Path) -> None:
    artefact.check_folder(folder, force=True, manifest=MANIFEST)
    with pytest.raises(OutputError, match="exists; give another name with -o, or --force to replace it"):
        artefact.check_folder(folder, force=False, manifest=MANIFEST)


def test_what_python_leaves_in_a_folder_of_ours_does_not_count(folder: Path) -> None:
    (folder / "inner" / "__pycache__").mkdir()
    (folder / "inner" / "__pycache__" / "model.pyc").write_bytes(b"")
    artefact.check_folder(folder, force=True, manifest=MANIFEST)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda folder: (folder / MANIFEST).unlink(), "is a folder that fade-export did not write, and is never"),
        (lambda folder: (folder / MANIFEST).write_text("[]"), "is a folder that fade-export did not write"),
        (lambda folder: (folder / MANIFEST).write_text("{"), "is a folder that fade-export did not write"),
        (lambda folder: (folder / "mine").write_text(""), "also holds mine, which fade-export did not write"),
        (lambda folder: (folder / "inner" / "link").symlink_to("gone"), "also holds inner/link, which"),
    ],
    ids=["no manifest", "another manifest", "a broken manifest", "a file more", "a link more"],
)
def test_a_folder_of_somebody_else_is_never_replaced(folder: Path, change, told: str, force: bool) -> None:
    change(folder)
    with pytest.raises(OutputError) as raised:
        artefact.check_folder(folder, force=force, manifest=MANIFEST)
    assert told in str(raised.value)


def test_an_empty_folder_counts_as_free_and_a_file_or_a_link_does_not(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    artefact.check_folder(tmp_path / "empty", force=False, manifest=MANIFEST)
    write_folder(tmp_path / "empty", NEW)
    assert (tmp_path / "empty" / "inner" / "file").read_bytes() == NEW
    (tmp_path / "file").write_bytes(OLD)
    (tmp_path / "link").symlink_to("empty")
    for name in ("file", "link"):
        with pytest.raises(OutputError, match=f"is a {name}, expected a folder or a free name"):
            artefact.check_folder(tmp_path / name, force=True, manifest=MANIFEST)


def test_a_folder_in_an_impossible_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="missing does not exist; create the folder"):
        artefact.check_folder(tmp_path / "missing" / "repository", force=False, manifest=MANIFEST)
