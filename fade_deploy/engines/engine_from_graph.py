"""One engine from one graph: built, read back, and held against what was asked for."""

from __future__ import annotations

from pathlib import Path

from fade_deploy import artefact
from fade_deploy.engines.build import WORKER, Built, build_engine
from fade_deploy.engines.build_job import BuildJob
from fade_deploy.engines.graph_for_engine import GraphForEngine
from fade_deploy.engines.layers import Layer, unmet_requests
from fade_deploy.engines.options import EngineOptions
from fade_deploy.errors import ExportError
from fade_deploy.runtimes.native_libraries import AUTOMATIC, NONE, NativeLibrary, library_for

__all__ = ["engine_from_graph", "plugin_for", "plugin_library"]


def plugin_library(choice: str, *, embed: bool = False) -> Path | None:
    """The plugin library of a choice, whatever is built with it; None is none.

    Args:
        choice: ``auto``, ``none`` or a path.
        embed: Whether the library's code is to travel in the engine, so that there must be one.

    Raises:
        InputError: The given path is no file.
        ExportError: There is none to embed.
    """
    library = library_for(choice, NativeLibrary.TENSORRT)
    if embed and library is None:
        raise ExportError(
            "--embed-plugin has nothing to embed, no library is given or installed: give one with --plugin, or leave "
            "it out"
        )
    return library


def plugin_for(graph: GraphForEngine, choice: str, *, embed: bool = False) -> Path | None:
    """The plugin library to build with; None builds the function bodies.

    Args:
        graph: What is built.
        choice: As for :func:`plugin_library`, as is ``embed``.
        embed: Likewise.

    Raises:
        InputError: As :func:`plugin_library`.
        ExportError: Likewise; or a library was asked for and the file has no operator for it.
    """
    library = plugin_library(choice, embed=embed)
    if graph.plugin_nodes:
        return library
    if embed or choice not in (AUTOMATIC, NONE):
        asked = "--embed-plugin" if embed else f"--plugin {choice}"
        raise ExportError(
            f"{graph.source} has no operator that a plugin computes, so {asked} would do nothing: leave it out, or "
            "export the file without --standard-ops"
        )
    return None


def engine_from_graph(
    graph: GraphForEngine,
    folder: Path,
    options: EngineOptions,
    *,
    plugin: Path | None,
    expects_plugin: bool,
    worker: tuple[str, ...] = WORKER,
) -> tuple[Path, Built]:
    """Build in ``folder`` and check that every request was met.

    Args:
        graph: From :func:`~fade_deploy.engines.graph_for_engine.graph_for_engine`.
        folder: Gets the graph and the engine.
        options: How.
        plugin: The library to load.
        expects_plugin: Whether each node that a plugin can compute must be a plugin's layer, or none.
        worker: See :func:`~fade_deploy.engines.build.build_engine`.

    Returns:
        The engine's path, and what it holds.

    Raises:
        FadeDeployError: The build failed; or the engine lacks what was asked for, and the message says what.
    """
    profile = graph.profile_for(options.profile)
    model, engine = folder / "graph.onnx", folder / "engine"
    with artefact.explained(model):
        model.write_bytes(graph.data)
        engine.touch()
    sizes = {} if profile is None else {given.name: profile.sizes_for(given) for given in graph.inputs}
    job = BuildJob(model=model, engine=engine, options=options, sizes=sizes, plugin=plugin)

    def check(network: list[Layer]) -> None:
        faults = unmet_requests(
            network,
            precisions=graph.precisions,
            types=graph.types,
            plugin_nodes=tuple(graph.plugin_nodes) if expects_plugin else (),
            where="the network",
        )
        if not expects_plugin and any(layer.is_plugin for layer in network):
            faults.append("no plugin was asked for and there is one: a library registers itself, see LD_PRELOAD")
        _refuse(faults)

    built = build_engine(job, folder, check=check, worker=worker)
    if built.engine is not None:
        # Nodes are fused there, so it is asked only whether there are such layers at all.
        any_plugin = ("",) if expects_plugin else ()
        _refuse(
            unmet_requests(
                built.engine, precisions=graph.precisions, types={}, plugin_nodes=any_plugin, where="the engine"
            )
        )
    return engine, built


def _refuse(faults: list[str]) -> None:
    if faults:
        others = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise ExportError(f"the engine is not what was asked for: {faults[0]}{others}; please report it")
