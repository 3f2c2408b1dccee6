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
