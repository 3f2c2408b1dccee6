"""What an exported file and its manifest say: the model, its origin, the measured agreement, how to make it again."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from fade_deploy import artefact, contract
from fade_deploy.api.export.options import ExportOptions
from fade_deploy.checkpoints.checkpoint import Checkpoint
from fade_deploy.checkpoints.recognise import backbone_of, class_names
from fade_deploy.models.a2u_matting import A2UMatting
from fade_deploy.models.complexity import count
from fade_deploy.models.deployed import Deployed
from fade_deploy.models.fusion.fuse import Rewrite
from fade_deploy.models.segformer import SegFormer
from fade_deploy.precision import PrecisionPlan
from fade_deploy.recipe import Recipe, Shape
from fade_deploy.runtimes.ort import ort_version
from fade_deploy.tolerances import Tolerance
from fade_deploy.verification.agreement import Agreement, worst
from fade_deploy.version import __version__

__all__ = ["facts_of", "file_facts", "manifest_document"]


def facts_of(
    read: Checkpoint, deployed: Deployed, options: ExportOptions, rewrites: Sequence[Rewrite]
) -> dict[str, Any]:
    """What the file says about itself, in its metadata and in the manifest; our predictors read it."""
    model, recipe = deployed.model, deployed.recipe
    assert isinstance(model, SegFormer | A2UMatting)
    size = options.shape or Shape(1, 512, 512)
    complexity = count(model, height=size.height, width=size.width, channels=model.INPUTS)
    return {
        "task": recipe.task,
        "model": model.NAME,
        "backbone": backbone_of(model),
        "upsampler": model.config.upsampler,
        "kernel_size": model.config.kernel_size,
        "config": json.loads(json.dumps(asdict(model.config))),  # lists for tuples, as a reader gets them
        "head": str(deployed.head),
        "embed_preprocess": options.embed_preprocess,
        "mean": list(recipe.mean),
        "std": list(recipe.std),
        "size_multiple": recipe.size_multiple,
        **(_segmentation_facts(read, model, recipe) if isinstance(model, SegFormer) else {}),
        "recipe": recipe.name,
        **file_facts(
            shape=str(options.shape) if options.shape else "dynamic",
            opset=options.opset,
            standard_ops=options.standard_ops,
        ),
        "parameters": complexity.parameters,
        "macs": {"height": complexity.height, "width": complexity.width, "count": complexity.macs},
        "fused": options.fuse,
        "rewrites": [asdict(rewrite) for rewrite in rewrites],
        "checkpoint_sha256": read.sha256,
    }


def file_facts(*, shape: str, opset: int, standard_ops: bool) -> dict[str, Any]:
    """What every file says about its form, whatever the model, and which packages wrote it."""
    return {
        "shape": shape,
        "opset": opset,
        "operators": "standard" if standard_ops else f"{contract.DOMAIN} {contract.VERSION}",
        "lowest_onnxruntime": contract.LOWEST_ONNXRUNTIME[opset],
        "versions": {
            "fade-deploy": __version__,
            **{package: metadata.version(package) for package in ("torch", "onnx", "onnxscript", "onnx-ir")},
        },
    }


def _segmentation_facts(read: Checkpoint, model: SegFormer, recipe: Recipe) -> dict[str, Any]:
    classes = class_names(read, recipe, model.config.classes)
    # A palette of another length is of other classes.
    palette = read.palette if len(read.palette) == len(classes) else ()
    return {
        "classes": list(classes),
        "palette": [list(colour) for colour in palette],
        "short_side": recipe.short_side,
        "long_side": recipe.long_side,
    }


def manifest_document(
    facts: dict[str, Any],
    staged: Path,
    target: Path,
    bound: Tolerance,
    agreements: Sequence[Agreement],
    passed: bool,
    native: Path | None,
    plan: PrecisionPlan | None,
    verification: str,
    reproduce: str,
    golden: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What stands beside the artefact, free of times and folders.

    Equal exports give equal files; their manifests are equal, too, where the same was measured: with the same library
    of native operators, or without one.
    """
    worst_found = worst(agreements)
    return {
        "artefact": {"file": target.name, "sha256": artefact.sha256_of(staged), "bytes": staged.stat().st_size},
        "passed": passed,
        **facts,
        **({} if plan is None else {"precision_plan": plan.as_dict()}),
        "agreement": {
            "reference": f"PyTorch {torch.__version__}, eager, CPU",
            "candidate": f"ONNX Runtime {ort_version()}, CPU",
            "verification": verification,
            "tolerance": asdict(bound),
            "native_library": None if native is None else artefact.sha256_of(native),
            "worst": {"shape": worst_found.shape, "run_with": worst_found.candidate},
            "measured": [agreement.as_dict() for agreement in agreements],
        },
        "python": platform.python_version(),
        "reproduce": reproduce,
        **({} if golden is None else {"golden": golden}),
    }
