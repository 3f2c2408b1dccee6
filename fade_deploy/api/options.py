"""What a user can ask of an export."""

from __future__ import annotations

from dataclasses import dataclass

from fade_deploy.contract import Head
from fade_deploy.recipe import Shape

__all__ = ["ExportOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What to export; everything that changes the file's bytes, and how thoroughly it is verified."""

    recipe: str = ""  # name or .toml path; empty: the checkpoint's own, else "segformer"
    head: Head = Head.LOGITS
    embed_preprocess: bool = False
    shape: Shape | None = None  # None: dynamic batch, height and width
    opset: int = 18
    standard_ops: bool = False
    ema: bool = False
    full_verification: bool = True
    force: bool = False
