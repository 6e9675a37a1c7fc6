"""What ONNX Runtime keeps of the memory of its runs, by the parameters of a model's configuration.

A session's arena keeps the most that its runs have ever needed. Now and then a run is asked to give back
what lies idle there at its end. Names are Triton's, but for the last; which of them do anything is measured
in docs/decisions/memory-returned.md.

    enable_mem_arena                      1 or 0: whether there is an arena on the host
    enable_mem_pattern                    1 or 0: whether memory is laid out ahead for shapes that come again
    memory.enable_memory_arena_shrinkage  such as cpu:0 or cpu:0;gpu:0: give back after every run
    arena_extend_strategy                 on a CUDA device: 0 grows by powers of two, 1 as is asked for
    gpu_mem_limit                         on a CUDA device: bytes of its arena
    cudnn_conv_algo_search                on a CUDA device: how the kernel of a convolution is chosen for
                                          each shape: 0 by trying all, 1 by rules, 2 always the same one
    arena_shrink_every_runs               give back after so many runs; 0 never
"""

from dataclasses import dataclass
from math import inf
from typing import Any

from runtimes.errors import ModelBroken
from runtimes.session import ModelFile

EVERY_RUNS = 256
"""A huge batch is forgotten after so many others; each time costs what the arena then takes anew."""

SHRINK = "memory.enable_memory_arena_shrinkage"
SEARCHES = {"0": "EXHAUSTIVE", "1": "HEURISTIC", "2": "DEFAULT"}
STRATEGIES = {"0": "kNextPowerOfTwo", "1": "kSameAsRequested"}


@dataclass(frozen=True, slots=True)
class Shrinking:
    """`options` for every so-manieth run; infinite for never."""

    every_runs: float
    options: Any


def arena_options(options: Any, model: ModelFile) -> None:
    """Set the session's options. Raises `ModelBroken`."""
    options.enable_cpu_mem_arena = _switch(model, "enable_mem_arena")
    options.enable_mem_pattern = _switch(model, "enable_mem_pattern")


def cuda_options(model: ModelFile) -> dict[str, str]:
    """What the CUDA provider is told. Raises `ModelBroken`."""
    told = {}
    strategy, limit = model.parameters.get("arena_extend_strategy"), model.parameters.get("gpu_mem_limit")
    if strategy is not None:
        if strategy not in STRATEGIES:
            raise ModelBroken(f"parameter arena_extend_strategy is '{strategy}', and can be 0 or 1")
        told["arena_extend_strategy"] = STRATEGIES[strategy]
    search = model.parameters.get("cudnn_conv_algo_search")
    if search is not None:
        if search not in SEARCHES:
            raise ModelBroken(f"parameter cudnn_conv_algo_search is '{search}', and can be 0, 1 or 2")
        told["cudnn_conv_algo_search"] = SEARCHES[search]
    if limit is not None:
        if not limit.isdecimal():
            raise ModelBroken(f"parameter gpu_mem_limit is '{limit}', which is no number of bytes")
        told["gpu_mem_limit"] = limit
    return told


def shrinking(ort: Any, model: ModelFile) -> Shrinking:
    """When a run is to give back, and how it is told. Raises `ModelBroken`."""
    devices, every = model.parameters.get(SHRINK), model.parameters.get("arena_shrink_every_runs")
    if every is not None and not every.isdecimal():
        raise ModelBroken(f"parameter arena_shrink_every_runs is '{every}', which is no number of runs")
    if not _switch(model, "enable_mem_arena"):
        return Shrinking(inf, None)
    on_host = model.device.kind == "cpu"
    runs = int(every) if every is not None else 1 if devices else EVERY_RUNS if on_host else 0
    options = ort.RunOptions()
    options.add_run_config_entry(SHRINK, devices or ("cpu:0" if on_host else f"gpu:{model.device.index}"))
    return Shrinking(runs or inf, options)


def _switch(model: ModelFile, parameter: str) -> bool:
    said = model.parameters.get(parameter, "1")
    if said not in ("0", "1"):
        raise ModelBroken(f"parameter {parameter} is '{said}', and can be 0 or 1")
    return said == "1"
