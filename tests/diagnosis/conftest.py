"""Fixtures of the doctor's tests."""

from __future__ import annotations

import pytest

from tests.diagnosis.fakes import Fakes
from tests.plugins.conftest import native  # noqa: F401 - a fixture


@pytest.fixture
def fakes(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    return Fakes(tmp_path_factory.mktemp("fakes"), monkeypatch)
