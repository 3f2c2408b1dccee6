"""Documents are part of the product: their links lead somewhere and their commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    ROOT / name for pattern in ("*.md", "docs/*.md", "export/*.md", "samples/*/*.md") for name in ROOT.glob(pattern)
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(document):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_every_command_named_in_the_readme_exists():
    import tomllib

    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    named = set(re.findall(r"\bfade-(?:[a-z]+)\b", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert named - {"fade-deploy"} <= scripts.keys()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_placeholder_is_left(document):
    assert not re.findall(r"@[A-Z]{2,}|TODO|FIXME", document.read_text(encoding="utf-8"))
