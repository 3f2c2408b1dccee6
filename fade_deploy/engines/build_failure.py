"""What to say of a file that TensorRT does not parse, or of a build that it gave up: one line, from its own errors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fade_deploy.errors import ExportError

__all__ = ["ParserFault", "build_failure", "parse_failure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParserFault:
    """One error of the parser: the node, its operator, and what it says."""

    node: str
    operator: str
    text: str


def parse_failure(title: str, faults: Sequence[ParserFault], errors: Sequence[str]) -> ExportError:
    """For a file that was not parsed.

    Args:
        title: Of the TensorRT, with its version.
        faults: Of the parser.
        errors: What was logged, where the parser has no fault to tell.
    """
    if not faults:
        return ExportError(f"{title} can't parse the file ({_first(errors)}): export it again")
    first, *others = faults
    node = f"node '{first.node}' ({first.operator})"
    if "Plugin not found" in first.text:
        return ExportError(
            f"{title} has no plugin for {node} and the file has no function body for it: give the library with "
            "--plugin, or export the file again"
        )
    more = f" and {len(others)} more" if others else ""
    return ExportError(
        f"{title} can't take {node}{more} ({' '.join(first.text.split())}), expected operators and dtypes that it has: "
        "export the file again with another --opset or precision"
    )


def build_failure(title: str, errors: Sequence[str]) -> ExportError:
    """For a build that returned nothing; ``errors`` are what TensorRT logged, the cause first."""
    said = " | ".join(errors)
    if "No low-precision conv kernel" in said:  # NVIDIA/TensorRT issue 4838, of 11.2.1
        found = re.search(r"Failing node: (\S+?)\.?(?:\s|$)", said)
        return ExportError(
            f"{title} has no kernel for a convolution in low precision ({f'node {found[1]}' if found else 'unnamed'}), "
            "as 11.2 has none for grouped ones: keep them in fp32 with a --precision-plan, or use another version"
        )
    if re.search("out ?of ?memory", said, re.IGNORECASE):
        return ExportError(f"{title} ran out of GPU memory: give a smaller --profile or --workspace")
    if "increase the allowed workspace" in said or "workspace size" in said:  # as threads quote it, of no run of ours
        return ExportError(f"{title} needs more memory for a layer: give a larger --workspace, or leave it out")
    return ExportError(
        f"{title} can't build the engine ({_first(errors)}): give another --profile or --precision, or --plugin none "
        "to build with the function bodies"
    )


def _first(errors: Sequence[str]) -> str:
    return errors[0] if errors else "it gives no reason"
