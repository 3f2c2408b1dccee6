"""Take the documentation's pictures of reports: verifications of the shipped checkpoints on their samples' scenes.

``python -m tests.report.screenshots`` exports both checkpoints to a temporary folder, verifies them there and writes
``docs/report_segmentation.png`` (light: from the verdict to the pictures) and ``docs/report_matting.png`` (dark: the
pictures and what the upsamplers did). Needs Chromium.
"""

from __future__ import annotations

import base64
import contextlib
import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

from fade_deploy.api.export.export import export
from fade_deploy.api.export.options import ExportOptions
from fade_deploy.api.report import write_verification_report
from fade_deploy.api.verify.options import VerifyOptions
from fade_deploy.api.verify.verify import verify
from tests.report.browser import Browser, found_browser

ROOT = Path(__file__).parents[2]
WIDTH = 1100


def report_in(folder: Path, sample: str, name: str, *, matting: bool) -> Path:
    """Export and verify a sample's checkpoint in a folder, under relative names, and write its report there."""
    files = [f"{name}_fade.pth", "scene.jpg", *(["trimap.png", "truth.png"] if matting else [])]
    for file in files:
        shutil.copy(ROOT / "samples" / sample / file, folder)
    with contextlib.chdir(folder):
        exported = export(Path(files[0]), Path(f"{name}.onnx"), ExportOptions(full_verification=False)).path
        truth = {"trimaps": Path("trimap.png"), "alphas": Path("truth.png")} if matting else {}
        options = VerifyOptions(images=Path("scene.jpg"), **truth)
        flags = " --trimaps trimap.png --alphas truth.png" if matting else ""
        command = f"fade-verify {files[0]} {exported} --images scene.jpg{flags} --report {name}.html"
        result = verify([files[0], exported], options)
        return folder / write_verification_report(result, f"{name}.html", options=options, command=command)


def take(browser: Browser, page: Path, target: Path, *, first: str, last: str, dark: bool) -> None:
    """A page from the top of one element, a JavaScript expression, to the bottom of another."""
    browser.open(page, width=WIDTH, dark=dark)
    edges = f"[{first}.getBoundingClientRect().top, {last}.getBoundingClientRect().bottom]"
    top, bottom = browser.value_of(f"{edges}.map(edge => edge + scrollY)")
    clip = {"x": 0, "y": max(0, top - 16), "width": WIDTH, "height": bottom - top + 32, "scale": 1}
    shot = browser.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
    Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB").save(target, optimize=True)


def main() -> None:
    """Write both pictures."""
    program = found_browser()
    if program is None:
        sys.exit("no Chromium or Chrome is installed (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory() as temporary:
        folders = {name: Path(temporary) / name for name in ("shapes", "matting", "profile")}
        for folder in folders.values():
            folder.mkdir()
        shapes = report_in(folders["shapes"], "01_train_shapes", "shapes", matting=False)
        matting = report_in(folders["matting"], "02_train_matting", "matting", matting=True)
        heading = "[...document.querySelectorAll('section')].find(each => each.firstElementChild.textContent == {!r})"
        pictures, upsamplers = heading.format("Pictures"), heading.format("What the upsamplers did")
        with Browser(program, folders["profile"]) as browser:
            top = "document.querySelector('header')"
            take(browser, shapes, ROOT / "docs/report_segmentation.png", first=top, last=pictures, dark=False)
            take(browser, matting, ROOT / "docs/report_matting.png", first=pictures, last=upsamplers, dark=True)


if __name__ == "__main__":
    main()
