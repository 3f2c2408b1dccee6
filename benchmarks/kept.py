"""What is measured is kept at once, so that a run that is cut short can be taken up where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["Kept"]


class Kept:
    """Measurements by name, in a file that is written after each.

    Args:
        path: The file.
        made_with: What they depend on: machine, versions, commit, pace. Measurements made with anything else are not
            taken up.
    """

    def __init__(self, path: Path, *, made_with: dict[str, Any]) -> None:
        self._path = path
        self._document: dict[str, Any] = {"made_with": made_with, "measured": {}}
        if path.exists():
            earlier = json.loads(path.read_text(encoding="utf-8"))
            if earlier["made_with"] == json.loads(json.dumps(made_with)):
                self._document = earlier

    def __len__(self) -> int:
        return len(self._document["measured"])

    def or_measured(self, name: str, measure: Callable[[], Any]) -> Any:
        """The measurement of this name: the kept one, or what ``measure`` returns."""
        measured = self._document["measured"]
        if name not in measured:
            measured[name] = measure()
            beside = self._path.with_suffix(".writing")
            beside.write_text(json.dumps(self._document), encoding="utf-8")
            beside.replace(self._path)
        return measured[name]

    def finished(self) -> None:
        """Nothing is left to take up: the next run measures all again."""
        self._path.unlink(missing_ok=True)
