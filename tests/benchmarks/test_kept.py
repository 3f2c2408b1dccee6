from __future__ import annotations

import pytest

from benchmarks.kept import Kept


def measured() -> dict[str, int]:
    return {"ms": 3}


def must_not_run() -> None:
    raise AssertionError("was measured again")


def test_what_was_measured_is_taken_up_by_the_next_run(tmp_path):
    path = tmp_path / "measured.json"
    first = Kept(path, made_with={"threads": (1, 2)})
    first.or_measured("B1", measured)
    with pytest.raises(KeyboardInterrupt):
        first.or_measured("B2", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    second = Kept(path, made_with={"threads": (1, 2)})
    assert len(second) == 1
    assert second.or_measured("B1", must_not_run) == {"ms": 3}
    assert second.or_measured("B2", measured) == {"ms": 3}


def test_other_code_or_versions_measure_again(tmp_path):
    path = tmp_path / "measured.json"
    Kept(path, made_with={"commit": "a"}).or_measured("B1", measured)
    assert len(Kept(path, made_with={"commit": "b"})) == 0


def test_a_finished_run_leaves_nothing_to_take_up(tmp_path):
    path = tmp_path / "measured.json"
    kept = Kept(path, made_with={})
    kept.or_measured("B1", measured)
    kept.finished()
    assert len(Kept(path, made_with={})) == 0
