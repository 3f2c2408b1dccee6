"""``python -m benchmarks``: measure, print the tables, keep them and the numbers under ``out/bench``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import sys
from pathlib import Path

from benchmarks.exports import fresh_folder
from benchmarks.machine import ROOT
from benchmarks.report import markdown
from benchmarks.suite import FULL, QUICK, Plan, measured


def main() -> None:
    """Parse, measure, print, write."""
    options = _options()
    out: Path = options.out
    plan = _plan(options)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str((out / "inductor").absolute())
    document = measured(plan, folder=fresh_folder(out / "exports"), tell=_tell)
    document["command"] = shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
    (out / "results.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    text = markdown(document)
    for path in filter(None, (out / "REPORT.md", options.write)):
        path.write_text(text, encoding="utf-8")
    print(text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="B1 and matting at 512x512, usual variants only")
    parser.add_argument("--models", nargs="*", help="only these (segformer-b1, ...); none: no whole models")
    parser.add_argument("--no-operators", action="store_true", help="no tables of single operators and of kernels")
    parser.add_argument("--threads", nargs="+", type=int, help="instead of 1 and 2")
    parser.add_argument("--seconds", type=float, help="for the rounds of each table and number of threads")
    parser.add_argument("--out", type=Path, default=ROOT / "out/bench", help="folder of results and exported files")
    parser.add_argument("--write", type=Path, help="write the report here, too: docs/BENCHMARKS.md")
    return parser.parse_args()


def _plan(options: argparse.Namespace) -> Plan:
    plan = QUICK if options.quick else FULL
    if options.models is not None:
        plan = dataclasses.replace(plan, models=tuple(case for case in plan.models if case.model in options.models))
    if options.no_operators:
        plan = dataclasses.replace(plan, operators=())
    if options.threads:
        plan = dataclasses.replace(plan, threads=tuple(options.threads))
    if options.seconds:
        plan = dataclasses.replace(plan, pace=dataclasses.replace(plan.pace, seconds=options.seconds))
    return plan


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
