"""The repository's files, its README, and what happens to a folder that is there already."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

import fade_deploy
from fade_deploy import artefact, contract
from fade_deploy.errors import ExportError, InputError, OutputError
from fade_deploy.runtimes.native_libraries import AUTOMATIC, NativeLibrary
from fade_deploy.serve import triton_containers
from fade_deploy.serve.triton_options import Backend, Instance, TritonOptions, model_name
from fade_deploy.serve.triton_repository import write_repository
from tests.command_line import contents
from tests.serve.engine_manifest import built_with, engine_files
from tests.serve.matting_file import matting_file
from tests.serve.model_config import parsed
from tests.serve.test_triton_config import segmentation

PYTHON = TritonOptions(backend=Backend.PYTHON)
ENGINE = TritonOptions(backend=Backend.TENSORRT, instance=Instance.GPU)
ROOT = {"README.md", "fade-triton.json"}


def files(folder: Path) -> set[str]:
    return {name for name, content in contents(folder).items() if content is not None}


def test_a_repository_of_onnxruntime(tmp_path: Path) -> None:
    source = segmentation(tmp_path)
    document = write_repository(source, tmp_path / "models", TritonOptions())
    model = tmp_path / "models" / "segmentation"
    assert files(tmp_path / "models") == ROOT | {
        "segmentation/config.pbtxt",
        "segmentation/labels.txt",
        "segmentation/1/model.onnx",
    }
    assert (model / "1" / "model.onnx").read_bytes() == source.read_bytes()
    assert (model / "labels.txt").read_text() == "wall\nsky\nsea\n"
    assert parsed(model / "config.pbtxt").name == "segmentation"
    assert document["source"] == {
        "file": "segmentation.onnx",
        "sha256": artefact.sha256_of(source),
        "bytes": source.stat().st_size,
    }
    assert document["files"] == {
        name: artefact.sha256_of(tmp_path / "models" / name)
        for name in sorted(files(tmp_path / "models") - {"fade-triton.json"})
    }


def test_model_py_is_the_one_of_the_package(tmp_path: Path) -> None:
    write_repository(matting_file(tmp_path), tmp_path / "models", PYTHON)
    assert files(tmp_path / "models") == ROOT | {
        "matting/config.pbtxt",
        "matting/1/model.onnx",
        "matting/1/model.py",
    }
    package = Path(fade_deploy.__file__).parent
    assert (tmp_path / "models/matting/1/model.py").read_bytes() == (package / "serve/triton_model.py").read_bytes()


def test_equal_repositories_are_equal_bytes(tmp_path: Path) -> None:
    source = matting_file(tmp_path)
    for name in ("first", "second"):
        write_repository(source, tmp_path / name, PYTHON)
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


def test_class_names_stand_one_in_a_line_whatever_they_are(tmp_path: Path) -> None:
    source = segmentation(tmp_path, classes=["two\nlines", "ciel étoilé", ""])
    write_repository(source, tmp_path / "models", TritonOptions())
    labels = (tmp_path / "models/segmentation/labels.txt").read_text(encoding="utf-8")
    assert labels == "two lines\nciel étoilé\n\n"


def test_force_replaces_a_repository_of_ours_and_nothing_else(tmp_path: Path) -> None:
    source, target = matting_file(tmp_path), tmp_path / "models"
    write_repository(source, target, TritonOptions(name="first"))
    with pytest.raises(OutputError, match="exists; give another name with -o, or --force"):
        write_repository(source, target, TritonOptions(name="second"))
    write_repository(source, target, TritonOptions(name="second", force=True))
    assert files(target) == ROOT | {"second/config.pbtxt", "second/1/model.onnx"}
    (target / "another model").mkdir()
    (target / "another model" / "config.pbtxt").write_text("")
    before = contents(target)
    with pytest.raises(OutputError, match=r"also holds another model/config\.pbtxt, which fade-export did not write"):
        write_repository(source, target, TritonOptions(force=True))
    assert contents(target) == before


def test_a_source_that_can_not_be_served_leaves_what_was_there(tmp_path: Path) -> None:
    write_repository(matting_file(tmp_path), tmp_path / "models", TritonOptions())
    (tmp_path / "broken.onnx").write_bytes(b"no ONNX")
    before = contents(tmp_path)
    with pytest.raises(InputError, match="is not ONNX or is truncated"):
        write_repository(tmp_path / "broken.onnx", tmp_path / "models", TritonOptions(force=True))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a b", "..", "é"])
def test_a_name_that_is_no_word_is_refused(name: str) -> None:
    with pytest.raises(ExportError, match="can't be a model's name, expected letters, digits"):
        model_name(name)


def test_a_library_is_copied_where_it_is_asked_for(tmp_path: Path) -> None:
    library = tmp_path / "libfade_onnxruntime.so"
    library.write_bytes(b"a library")
    options = TritonOptions(library=str(library), name="matting")
    write_repository(matting_file(tmp_path), tmp_path / "models", options)
    copied = "matting/native/libfade_onnxruntime.so"
    assert (tmp_path / "models" / copied).read_bytes() == b"a library"
    operations = parsed(tmp_path / "models/matting/config.pbtxt").model_operations
    assert list(operations.op_library_filename) == [f"/models/{copied}"]
    assert f"ldd /models/*/{copied.removeprefix('matting/')}" in (tmp_path / "models/README.md").read_text()


@pytest.mark.parametrize("installed", [False, True], ids=["not installed", "installed"])
def test_the_installed_library_is_copied_or_missed(
    tmp_path: Path, installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "native").mkdir()
    monkeypatch.setattr("fade_deploy.runtimes.native_libraries._FOLDER", tmp_path / "native")
    if installed:
        (tmp_path / "native" / NativeLibrary.ONNXRUNTIME_CPU).write_bytes(b"a library")
    options = TritonOptions(library=AUTOMATIC)
    if not installed:
        with pytest.raises(ExportError, match=r"library auto: libfade_onnxruntime\.so is not installed here"):
            write_repository(matting_file(tmp_path), tmp_path / "models", options)
        return
    write_repository(matting_file(tmp_path), tmp_path / "models", options)
    assert "matting/native/libfade_onnxruntime.so" in files(tmp_path / "models")


def test_auto_with_model_py_is_the_server_s_own_library(tmp_path: Path) -> None:
    write_repository(matting_file(tmp_path), tmp_path / "models", replace(PYTHON, library=AUTOMATIC))
    assert not (tmp_path / "models/matting/native").exists()
    assert parsed(tmp_path / "models/matting/config.pbtxt").parameters["library"].string_value == "auto"


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A file under the plugin's name."""
    path = tmp_path / "libfade_tensorrt.so"
    path.write_bytes(b"a plugin")
    return path


def test_an_engine_brings_its_plugin(tmp_path: Path, plugin: Path) -> None:
    source = engine_files(tmp_path, plugin=built_with(plugin))
    with pytest.raises(InputError, match=r"was built with the plugin library libfade_tensorrt.so, which is left out"):
        write_repository(source, tmp_path / "models", ENGINE)
    write_repository(source, tmp_path / "models", replace(ENGINE, library=str(plugin)))
    assert files(tmp_path / "models") == ROOT | {
        "matting/config.pbtxt",
        "matting/1/model.plan",
        "matting/native/libfade_tensorrt.so",
    }
    readme = (tmp_path / "models/README.md").read_text()
    assert "--backend-config=tensorrt,plugins=/models/matting/native/libfade_tensorrt.so\n" in readme
    assert "version-compatible" not in readme


def test_a_plugin_that_the_engine_was_not_built_with_is_refused(tmp_path: Path, plugin: Path) -> None:
    source = engine_files(tmp_path, plugin=built_with(plugin))
    plugin.write_bytes(b"b plugin")
    with pytest.raises(InputError, match=r"was built with another plugin library than .*libfade_tensorrt.so \(SHA-256"):
        write_repository(source, tmp_path / "models", replace(ENGINE, library=str(plugin)))
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("embedded", [None, True], ids=["none", "inside"])
def test_a_library_for_an_engine_that_needs_none_is_refused(
    tmp_path: Path, plugin: Path, embedded: bool | None
) -> None:
    source = engine_files(tmp_path, plugin=built_with(plugin, embedded=True) if embedded else None)
    with pytest.raises(ExportError, match=r"needs no plugin library beside it, so .* would do nothing \(--native"):
        write_repository(source, tmp_path / "models", replace(ENGINE, library=str(plugin)))
    write_repository(source, tmp_path / "models", replace(ENGINE, library=AUTOMATIC))
    assert not (tmp_path / "models/matting/native").exists()


def test_an_engine_that_is_not_its_manifest_s_is_refused(tmp_path: Path) -> None:
    source = engine_files(tmp_path)
    source.write_bytes(b"an engine's byte")
    with pytest.raises(InputError, match="has 16 bytes, its manifest says 17: it is truncated or another build"):
        write_repository(source, tmp_path / "models", ENGINE)


def test_an_engine_with_its_plugin_inside_needs_a_server_that_runs_it(tmp_path: Path, plugin: Path) -> None:
    source = engine_files(tmp_path, plugin=built_with(plugin, embedded=True))
    write_repository(source, tmp_path / "models", ENGINE)
    readme = (tmp_path / "models/README.md").read_text()
    assert "--backend-config=tensorrt,version-compatible=true\n" in readme
    assert "plugins=" not in readme


@pytest.mark.parametrize(
    ("version", "releases"), [("10.16.1.11", "TensorRT 10 is in releases before 26.06"), ("11.1.0", "from 26.06 on")]
)
def test_the_readme_of_an_engine_says_what_is_known_of_the_image(tmp_path: Path, version: str, releases: str) -> None:
    source = engine_files(tmp_path, tensorrt={"version": version, "flavour": "tensorrt"})
    write_repository(source, tmp_path / "models", ENGINE)
    readme = (tmp_path / "models/README.md").read_text()
    assert releases in readme
    assert f"built by TensorRT {version} " in readme
    assert "lie within 1x256x256 to 8x1024x1024; kernels were chosen for 4x512x512." in readme
    assert "Neither the engine nor Triton was run" in readme


@pytest.mark.parametrize(
    "options",
    [
        TritonOptions(),
        TritonOptions(instance=Instance.GPU),
        PYTHON,
        replace(PYTHON, instance=Instance.GPU, server_folder="/srv/models"),
    ],
    ids=["onnxruntime", "onnxruntime on a GPU", "python", "python on a GPU"],
)
def test_the_readme_starts_the_server_for_this_repository(tmp_path: Path, options: TritonOptions) -> None:
    write_repository(matting_file(tmp_path), tmp_path / "models", options)
    readme = (tmp_path / "models/README.md").read_text()
    gpu = options.instance is Instance.GPU
    assert ("docker run --rm --gpus all" in readme) == gpu
    assert ("Nothing was run on a GPU." in readme) == gpu
    assert f"tritonserver --model-repository={options.server_folder}\n" in readme
    assert f'-v "$PWD:{options.server_folder}:ro"' in readme
    assert ("[ort-gpu]" in readme, "[ort-cpu]" in readme) == (
        (gpu, not gpu) if options.backend is Backend.PYTHON else (False, False)
    )
    assert "at `image` [1, 3, 16, 16], `trimap` [1, 1, 16, 16] and `image` [1, 3, 512, 512]" in readme
    assert not re.search(r"[^\x00-\x7f]", readme)


def test_the_client_in_the_readme_is_python(tmp_path: Path) -> None:
    for number, (embed, shape) in enumerate([(False, ("n", "h", "w")), (True, ("n", "h", "w")), (False, (2, 32, 48))]):
        source = matting_file(tmp_path, embed_preprocess=embed, shape=shape)
        write_repository(source, tmp_path / str(number), TritonOptions())
        code = re.search(r"```python\n(.*?)```", (tmp_path / str(number) / "README.md").read_text(), re.S)
        assert code is not None
        compile(code[1], "client.py", "exec")
        assert ("np.repeat" in code[1]) == (shape[0] == 2)


@pytest.mark.parametrize(
    ("lowest", "release"), [("1.20", "24.12"), ("1.21", "25.03"), ("1.23", "25.08"), ("1.27", "26.07")]
)
def test_the_oldest_image_that_loads_a_file(lowest: str, release: str) -> None:
    assert triton_containers.oldest_with_onnxruntime(lowest) == release


def test_the_list_of_images_starts_with_the_newest_and_covers_what_our_files_need() -> None:
    releases = list(triton_containers.ONNXRUNTIME)
    assert releases == sorted(releases, reverse=True)
    for lowest in contract.LOWEST_ONNXRUNTIME.values():
        assert triton_containers.oldest_with_onnxruntime(lowest) in releases
