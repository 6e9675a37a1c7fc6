"""What a configuration must not say, although protobuf can read it.

Pure: from the message to the faults in it, each with its field. Where Triton refuses too, it is for
the same reason.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence

from protos import model_config_pb2 as pb
from server.domain.configuration import ENABLED, PINNED, ROLLBACK, SWAP_POLICY, Platform, SwapPolicy
from server.domain.scheduling import HEDGE_AFTER, LATENCY_TARGET, MOST, WEIGHT
from server.repository import batch_parameters
from server.repository.fault import Fault
from server.repository.steps import faults_of_steps

BACKENDS: Mapping[str, Platform] = {
    "onnxruntime": Platform.ONNX,
    "pytorch": Platform.TORCHSCRIPT,
    "python": Platform.PYTHON,
    "sleeping": Platform.SLEEPING,
    "remote": Platform.REMOTE,
    "ensemble": Platform.ENSEMBLE,
}
"""Our backends and the one platform that each runs."""

BACKEND_OF: Mapping[Platform, str] = {
    platform: backend for backend, platform in BACKENDS.items() if platform is not Platform.ENSEMBLE
}
"""The backend that clients see; an ensemble has none, as in Triton."""

MOST_LEVELS = 1024
"""Of priority, each of which has a queue of its own."""

_NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", re.ASCII)
_METRIC_TAG = re.compile(r"[a-zA-Z0-9_]+")


def faults(config: pb.ModelConfig, model: str, batches_known: bool) -> Iterator[Fault]:
    """Everything wrong with `config`, for a model whose folder is named `model`.

    `batches_known` says that the operator gave `max_batch_size`; else the model file will, and
    what depends on it cannot be judged yet.
    """
    if config.name and config.name != model:
        yield Fault("name", f"is '{config.name}', but the model's folder is named '{model}'")
    yield from _platform(config)
    if config.max_batch_size < 0:
        yield Fault("max_batch_size", f"is {config.max_batch_size}, must be 0 (no batching) or more")
    yield from _tensors("input", config.input, config.max_batch_size, batches_known)
    yield from _tensors("output", config.output, config.max_batch_size, batches_known)
    yield from _formats(config)
    yield from _version_policy(config.version_policy)
    yield from _instance_groups(config)
    yield from _dynamic_batching(config.dynamic_batching, config.max_batch_size, batches_known)
    yield from _batch_parameters(config, batches_known)
    yield from _warmups(config)
    yield from _parameters(config)
    yield from _files(config)
    if config.HasField("ensemble_scheduling"):
        yield from faults_of_steps(config, model)
    for key in (ENABLED, PINNED, ROLLBACK):
        said = config.parameters[key].string_value if key in config.parameters else "true"
        if said.lower() not in ("true", "false"):
            yield Fault("parameters", f"has '{key}' as '{said}', must be true or false")
    swap = config.parameters[SWAP_POLICY].string_value if SWAP_POLICY in config.parameters else ""
    if swap and swap not in set(SwapPolicy):
        yield Fault("parameters", f"has '{SWAP_POLICY}' as '{swap}', must be {' or '.join(SwapPolicy)}")
    for tag in config.metric_tags:
        if not _METRIC_TAG.fullmatch(tag):
            yield Fault("metric_tags", f"has the key '{tag}', must be letters, digits and _ only")


def platform_of(config: pb.ModelConfig) -> Platform | None:
    """The platform that a faultless configuration names, be it by its backend; None where it does not say."""
    if config.platform:
        return Platform(config.platform)
    if config.backend:
        return BACKENDS[config.backend]
    return Platform.ENSEMBLE if config.HasField("ensemble_scheduling") else None


def is_inside(path: str) -> bool:
    """Whether a relative path names something beneath its folder, written plainly."""
    return not ("\\" in path or "\0" in path or {"", ".", ".."} & set(path.split("/")))


def _platform(config: pb.ModelConfig) -> Iterator[Fault]:
    platform, backend = config.platform, config.backend
    if platform and platform not in tuple(Platform):
        yield Fault("platform", f"is '{platform}', must be one of {', '.join(Platform)}")
    elif backend and backend not in BACKENDS:
        yield Fault("backend", f"is '{backend}', must be one of {', '.join(BACKENDS)}")
    elif platform and backend and BACKENDS[backend] != platform:
        yield Fault("backend", f"is '{backend}' for {BACKENDS[backend]}, but platform is '{platform}'")
    elif config.HasField("ensemble_scheduling") != (platform_of(config) is Platform.ENSEMBLE):
        if config.HasField("ensemble_scheduling"):
            yield Fault("ensemble_scheduling", f"is for the platform ensemble, not for {platform_of(config)}")
        else:
            yield Fault("platform", "is ensemble, but there is no ensemble_scheduling with its steps")


def _tensors(
    kind: str,
    tensors: Sequence[pb.ModelInput | pb.ModelOutput],
    max_batch_size: int,
    batches_known: bool,
) -> Iterator[Fault]:
    seen: set[str] = set()
    for at, tensor in enumerate(tensors):
        path = f"{kind}[{at}]"
        if not tensor.name:
            yield Fault(f"{path}.name", "is missing")
        elif tensor.name in seen:
            yield Fault(f"{path}.name", f"is '{tensor.name}', which another {kind} is named already")
        seen.add(tensor.name)
        if tensor.data_type not in pb.DataType.values():
            yield Fault(f"{path}.data_type", f"is {tensor.data_type}, which is the number of no data type")
        elif tensor.data_type == pb.TYPE_INVALID:
            yield Fault(f"{path}.data_type", "is missing; for 32-bit floats write data_type: TYPE_FP32")
        if not tensor.dims:
            yield Fault(
                f"{path}.dims",
                "is missing; for one value a row write dims: [ 1 ] and reshape: { shape: [ ] }",
            )
        yield from _sizes(f"{path}.dims", tensor.dims)
        if tensor.HasField("reshape"):
            yield from _sizes(f"{path}.reshape.shape", tensor.reshape.shape)
            if batches_known and not max_batch_size and not tensor.reshape.shape:
                yield Fault(f"{path}.reshape", "is to no dimension, which needs max_batch_size above 0")
            elif not _same_count(tensor.dims, tensor.reshape.shape):
                yield Fault(
                    f"{path}.reshape",
                    f"is to {list(tensor.reshape.shape)}, which does not hold as many elements "
                    f"as dims {list(tensor.dims)}",
                )


def _sizes(path: str, sizes: Sequence[int]) -> Iterator[Fault]:
    for at, size in enumerate(sizes):
        if size == 0 or size < -1:
            yield Fault(f"{path}[{at}]", f"is {size}, must be 1 or more, or -1 where the size varies")


def _same_count(dims: Sequence[int], shape: Sequence[int]) -> bool:
    if -1 in dims or -1 in shape:
        return list(dims).count(-1) == list(shape).count(-1)
    return math.prod(dims) == math.prod(shape)


def _formats(config: pb.ModelConfig) -> Iterator[Fault]:
    for at, tensor in enumerate(config.input):
        if tensor.format != pb.ModelInput.FORMAT_NONE and len(tensor.dims) != 3:
            yield Fault(f"input[{at}].format", f"is for images of 3 dims, but dims has {len(tensor.dims)}")


def _version_policy(policy: pb.ModelVersionPolicy) -> Iterator[Fault]:
    if policy.HasField("latest") and policy.latest.num_versions < 1:
        yield Fault("version_policy.latest.num_versions", "must be at least 1")
    if policy.HasField("specific"):
        if not policy.specific.versions:
            yield Fault("version_policy.specific.versions", "is missing; name the versions to serve")
        for at, version in enumerate(policy.specific.versions):
            if version < 1:
                yield Fault(f"version_policy.specific.versions[{at}]", f"is {version}, versions begin at 1")


def _instance_groups(config: pb.ModelConfig) -> Iterator[Fault]:
    for at, group in enumerate(config.instance_group):
        path = f"instance_group[{at}]"
        if group.count < 0:
            yield Fault(f"{path}.count", f"is {group.count}, must be 1 or more, or 0 for the default")
        if group.kind == pb.ModelInstanceGroup.KIND_MODEL:
            yield Fault(f"{path}.kind", "is KIND_MODEL, which is not supported: use KIND_GPU or KIND_CPU")
        elif group.kind not in pb.ModelInstanceGroup.Kind.values():
            yield Fault(f"{path}.kind", f"is {group.kind}, which is the number of no kind")
        elif group.kind == pb.ModelInstanceGroup.KIND_CPU and group.gpus:
            yield Fault(f"{path}.gpus", f"is {list(group.gpus)}, but kind is KIND_CPU")
        for index, gpu in enumerate(group.gpus):
            if gpu < 0:
                yield Fault(f"{path}.gpus[{index}]", f"is {gpu}, GPUs are numbered from 0")
        yield from _resources(f"{path}.rate_limiter.resources", group.rate_limiter.resources)


def _resources(path: str, resources: Sequence[pb.ModelRateLimiter.Resource]) -> Iterator[Fault]:
    seen: set[str] = set()
    for at, resource in enumerate(resources):
        if not resource.name:
            yield Fault(f"{path}[{at}].name", "is missing")
        elif resource.name in seen:
            yield Fault(f"{path}[{at}].name", f"is '{resource.name}', which is listed already")
        seen.add(resource.name)
        if not resource.count:
            yield Fault(f"{path}[{at}].count", "is 0, must be at least 1: what each run needs")


def _dynamic_batching(
    batching: pb.ModelDynamicBatching, max_batch_size: int, batches_known: bool
) -> Iterator[Fault]:
    for at, size in enumerate(batching.preferred_batch_size):
        path = f"dynamic_batching.preferred_batch_size[{at}]"
        if size < 1:
            yield Fault(path, f"is {size}, must be at least 1")
        elif batches_known and size > max_batch_size:
            yield Fault(path, f"is {size}, but max_batch_size is {max_batch_size}")
    levels, default = batching.priority_levels, batching.default_priority_level
    if levels > MOST_LEVELS:
        yield Fault("dynamic_batching.priority_levels", f"is {levels}, must be at most {MOST_LEVELS}")
    elif levels:
        if not 1 <= default <= levels:
            yield Fault(
                "dynamic_batching.default_priority_level", f"is {default}, must be from 1 to {levels}"
            )
        for level in sorted(batching.priority_queue_policy):
            if not 1 <= level <= levels:
                yield Fault(
                    "dynamic_batching.priority_queue_policy",
                    f"has a policy for level {level}, but priority_levels is {levels}",
                )
    if batching.preserve_ordering:
        yield from _against_ordering(batching)


def _against_ordering(batching: pb.ModelDynamicBatching) -> Iterator[Fault]:
    """What lets a request pass another, where none may."""
    if batching.priority_levels > 1:
        yield Fault(
            "dynamic_batching.preserve_ordering",
            f"is true, which takes one priority level at most, but priority_levels is "
            f"{batching.priority_levels}",
        )
    for field, policy in [
        ("default_queue_policy", batching.default_queue_policy),
        *(("priority_queue_policy", each) for each in batching.priority_queue_policy.values()),
    ]:
        if policy.timeout_action == pb.ModelQueuePolicy.DELAY and policy.default_timeout_microseconds:
            yield Fault(
                f"dynamic_batching.{field}",
                "has timeout_action DELAY, which cannot stand beside preserve_ordering: choose one",
            )


def _warmups(config: pb.ModelConfig) -> Iterator[Fault]:
    if config.model_warmup and config.HasField("ensemble_scheduling"):
        yield Fault("model_warmup", "is not for an ensemble: its members have warmups of their own")
    for at, sample in enumerate(config.model_warmup):
        path = f"model_warmup[{at}]"
        for name, tensor in sorted(sample.inputs.items()):
            field = f"{path}.inputs"
            if tensor.data_type not in pb.DataType.values() or tensor.data_type == pb.TYPE_INVALID:
                yield Fault(field, f"of '{name}' has no data_type; for 32-bit floats write TYPE_FP32")
            if any(size < 1 for size in tensor.dims):
                yield Fault(field, f"of '{name}' has dims {list(tensor.dims)}, each must be at least 1")
            if tensor.WhichOneof("input_data_type") is None:
                yield Fault(field, f"of '{name}' must say zero_data, random_data or input_data_file")
            file = tensor.input_data_file
            if file and not is_inside(file):
                yield Fault(field, f"of '{name}' names the file '{file}', must be a path beneath warmup")


def _parameters(config: pb.ModelConfig) -> Iterator[Fault]:
    milliseconds = "of milliseconds, such as 50"
    for name, what in (
        (LATENCY_TARGET, milliseconds),
        (HEDGE_AFTER, milliseconds),
        (WEIGHT, "such as 1 or 0.5"),
    ):
        if name in config.parameters:
            text = config.parameters[name].string_value
            if not _is_positive(text):
                yield Fault("parameters", f"has {name} '{text}', must be a positive number {what}")


def _is_positive(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None and 0 < float(text) <= MOST


def _batch_parameters(config: pb.ModelConfig, batches_known: bool) -> Iterator[Fault]:
    texts = {key: value.string_value for key, value in config.parameters.items()}
    places = config.dynamic_batching.default_queue_policy.max_queue_size
    most = config.max_batch_size if batches_known else None
    for sentence in batch_parameters.sentences(texts, places, most):
        yield Fault("parameters", sentence)


def _files(config: pb.ModelConfig) -> Iterator[Fault]:
    named = [("default_model_filename", config.default_model_filename)]
    for at, output in enumerate(config.output):
        named.append((f"output[{at}].label_filename", output.label_filename))
    for field, path in named:
        if path and not is_inside(path):
            yield Fault(field, f"is '{path}', must be a path beneath the model's own folder")
