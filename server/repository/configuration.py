"""Reads a model's configuration: `config.pbtxt`, or the JSON of a load request.

Both become one protobuf message, are held against one set of rules, and leave as the frozen
`ModelConfig` of the domain. Every refusal is a `ConfigInvalid` that names file, line and field.
"""

import difflib
import hashlib
import json
import re
from dataclasses import dataclass
from types import MappingProxyType

from google.protobuf import json_format, text_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError

from protos import model_config_pb2 as pb
from protos.pool import POOL
from server.domain.configuration import (
    ALL_VERSIONS,
    MODEL_FILE,
    CudaGraphs,
    DynamicBatching,
    InstanceGroup,
    InstanceKind,
    ModelConfig,
    QueuePolicy,
    Resource,
    TensorConfig,
    TimeoutAction,
    VersionPolicy,
)
from server.domain.ensemble import LATEST, Ensemble, Step
from server.domain.scheduling import HEDGE_AFTER, LATENCY_TARGET, WEIGHT, Scheduling
from server.domain.warmup import Warmup, WarmupData, WarmupInput
from server.repository import batch_parameters
from server.repository.invalid import ConfigInvalid
from server.repository.places import Place, Places
from server.repository.rules import BACKEND_OF, faults, platform_of
from server.repository.unread import unread_fields

MODEL_CONFIG: Descriptor = POOL.FindMessageTypeByName("inference.ModelConfig")
NOWHERE = Places("", MODEL_CONFIG)
"""Of what was not written as text."""

_PARSER_PLACE = re.compile(r"^\d+:\d+ : (?:'.*': )?", re.DOTALL)
_UNKNOWN_FIELD = re.compile(r'Message type "inference\.([\w.]+)" has no field named "(\w+)"')
_UNKNOWN_NAME = re.compile(r'Enum type "inference\.(?P<kind>[\w.]+)" has no value named (?P<word>\w+)')
_UNKNOWN_NAME_IN_JSON = re.compile(
    r"Invalid enum value (?P<word>\S+) for enum type inference\.(?P<kind>[\w.]*\w)"
)
_ONE_OF = re.compile(r'Field "\w+" is specified along with field "(?P<other>\w+)"')
_ONE_OF_IN_JSON = re.compile(r'should not have multiple "(?P<choice>\w+)" oneof fields')
_MAX_BATCH_SIZE = frozenset({"max_batch_size", "maxBatchSize"})
_FIELD_IN_JSON = re.compile(r"Failed to parse (\S+) field: ")
_PLACE_IN_JSON = re.compile(r'\s+at "?ModelConfig\.?([^"\s]*?)"?\.*(?:\n.*)?$', re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A configuration that makes sense, and what else is worth knowing of it.

    fingerprint   of what it says: equal for two texts that differ in comments and spaces only
    fingerprint_but_instances   the same, whatever the instance groups say
    unread        fields that the operator wrote and nothing acts on yet
    not_served    why a model of this kind cannot be served yet; or empty
    """

    config: ModelConfig
    fingerprint: str
    fingerprint_but_instances: str
    unread: tuple[str, ...] = ()
    not_served: str = ""
    file: str
    places: Places = NOWHERE

    def invalid(self, field: str, sentence: str) -> ConfigInvalid:
        """The refusal of a field for a reason that only the files beside it can tell."""
        return _invalid(self.file, self.places, field, sentence)


def read_text(content: bytes, model: str, file: str) -> Reading:
    """Read protobuf's text format. `model` is the folder's name, `file` how errors call the file."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigInvalid(file=file, line=line, field="", sentence="is not UTF-8 text") from error
    places = Places(text, MODEL_CONFIG)
    message = pb.ModelConfig()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise _unparsed(error, file, places) from error
    batches_known = message.max_batch_size != 0 or places.wrote("max_batch_size")
    return _read(message, model, file, places, batches_known)


def read_json(text: str, model: str, file: str = "config of the load request") -> Reading:
    """Read the JSON form: names of the .proto, enums by name, 64-bit integers as numbers or strings."""
    message = pb.ModelConfig()
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigInvalid(
            file=file, line=error.lineno, column=error.colno, field="", sentence=f"is not JSON: {error.msg}"
        ) from error
    except RecursionError as error:
        raise ConfigInvalid(file=file, line=1, field="", sentence="is nested too deeply") from error
    if not isinstance(values, dict):
        raise ConfigInvalid(file=file, line=1, field="", sentence="is not a JSON object")
    try:
        json_format.ParseDict(values, message)
    except json_format.ParseError as error:
        raise _unparsed_json(error, file) from error
    written = {name for name, value in values.items() if value is not None}
    return _read(message, model, file, NOWHERE, batches_known=not written.isdisjoint(_MAX_BATCH_SIZE))


def read_message(content: bytes, model: str) -> Reading:
    """Read what another process has in force, as a serialised message with all that was filled in."""
    message = pb.ModelConfig()
    try:
        message.ParseFromString(content)
    except DecodeError as error:
        raise ConfigInvalid(file="its tier's configuration", field="", sentence="is not readable") from error
    return _read(message, model, "its tier's configuration", NOWHERE, batches_known=True)


def read_nothing(model: str) -> Reading:
    """What holds where the operator wrote no configuration."""
    return _read(pb.ModelConfig(), model, f"{model}/config.pbtxt", NOWHERE, batches_known=False)


def _read(message: pb.ModelConfig, model: str, file: str, places: Places, batches_known: bool) -> Reading:
    try:
        _take_tensors_of_the_file(message)
    except json_format.ParseError:
        raise _invalid(
            file, places, "parameters", f"has '{MODEL_FILE}', which is no configuration in JSON; leave it out"
        ) from None
    for fault in faults(message, model, batches_known):
        raise _invalid(file, places, fault.field, fault.sentence)
    message.name = model
    config = _config(message, batches_known)
    return Reading(
        config=config,
        fingerprint=_fingerprint(config.declared, batches_known),
        fingerprint_but_instances=_fingerprint(_but_instances(message), batches_known),
        unread=unread_fields(message),
        not_served=_not_served(message),
        file=file,
        places=places,
    )


def _fingerprint(says: bytes, batches_known: bool) -> str:
    return hashlib.sha256(says + (b"+" if batches_known else b"-")).hexdigest()


def _but_instances(message: pb.ModelConfig) -> bytes:
    if message.instance_group:
        rest = pb.ModelConfig()
        rest.CopyFrom(message)
        rest.ClearField("instance_group")
        message = rest
    return message.SerializeToString(deterministic=True)


def _take_tensors_of_the_file(message: pb.ModelConfig) -> None:
    """A configuration as clients read it shows what they send; here it is to say what the file takes."""
    if MODEL_FILE not in message.parameters:
        return
    own = json_format.Parse(message.parameters[MODEL_FILE].string_value, pb.ModelConfig())
    del message.parameters[MODEL_FILE]
    if own.input:
        del message.input[:]
        message.input.extend(own.input)
    if own.output:
        del message.output[:]
        message.output.extend(own.output)


def _not_served(message: pb.ModelConfig) -> str:
    if message.HasField("sequence_batching"):
        return "models with sequence_batching are not served yet"
    if message.model_transaction_policy.decoupled:
        return "models with a decoupled transaction policy are not served yet"
    return ""


def _config(message: pb.ModelConfig, batches_known: bool) -> ModelConfig:
    platform = platform_of(message)
    ensemble = _ensemble(message.ensemble_scheduling) if message.HasField("ensemble_scheduling") else None
    batching = _batching(message.dynamic_batching) if message.HasField("dynamic_batching") else None
    parameters = {key: value.string_value for key, value in message.parameters.items()}
    asked = batch_parameters.read(parameters)
    return ModelConfig(
        name=message.name,
        platform=platform,
        backend=BACKEND_OF.get(platform, "") if platform else "",
        max_batch_size=message.max_batch_size if batches_known or ensemble else None,
        inputs=tuple(_tensor(tensor) for tensor in message.input),
        outputs=tuple(_tensor(tensor) for tensor in message.output),
        version_policy=_version_policy(message.version_policy),
        instance_groups=tuple(_instance_group(group) for group in message.instance_group),
        default_model_filename=message.default_model_filename,
        dynamic_batching=batching,
        warmups=tuple(_warmup(at, sample) for at, sample in enumerate(message.model_warmup)),
        scheduling=Scheduling(
            latency_target_ms=_number(message, LATENCY_TARGET), weight=_number(message, WEIGHT)
        ),
        hedge_after_ms=_number(message, HEDGE_AFTER),
        ensemble=ensemble,
        metric_tags=MappingProxyType(dict(message.metric_tags)),
        parameters=MappingProxyType(parameters),
        padding=asked.padding,
        pad_rows_to=asked.pad_rows_to,
        split_pieces=_pieces(asked.split_pieces, batching),
        cuda_graphs=_cuda_graphs(message.optimization.cuda),
        declared=message.SerializeToString(deterministic=True),
    )


def _tensor(tensor: pb.ModelInput | pb.ModelOutput) -> TensorConfig:
    return TensorConfig(
        name=tensor.name,
        datatype=_datatype(tensor.data_type),
        dims=tuple(tensor.dims),
        reshape=tuple(tensor.reshape.shape) if tensor.HasField("reshape") else None,
        optional=tensor.optional if isinstance(tensor, pb.ModelInput) else False,
        label_filename=tensor.label_filename if isinstance(tensor, pb.ModelOutput) else "",
    )


def _datatype(number: pb.DataType) -> str:
    name = pb.DataType.Name(number).removeprefix("TYPE_")
    return "BYTES" if name == "STRING" else name


def _version_policy(policy: pb.ModelVersionPolicy) -> VersionPolicy:
    if policy.HasField("all"):
        return ALL_VERSIONS
    if policy.HasField("specific"):
        return VersionPolicy(latest=None, specific=frozenset(policy.specific.versions))
    return VersionPolicy(latest=policy.latest.num_versions) if policy.HasField("latest") else VersionPolicy()


def _instance_group(group: pb.ModelInstanceGroup) -> InstanceGroup:
    return InstanceGroup(
        kind=InstanceKind(pb.ModelInstanceGroup.Kind.Name(group.kind)),
        count=group.count,
        gpus=tuple(group.gpus),
        resources=tuple(
            Resource(name=resource.name, count=resource.count, is_global=getattr(resource, "global"))
            for resource in group.rate_limiter.resources
        ),
        rate_limiter_priority=group.rate_limiter.priority,
    )


def _batching(batching: pb.ModelDynamicBatching) -> DynamicBatching:
    return DynamicBatching(
        preferred_batch_size=tuple(batching.preferred_batch_size),
        max_queue_delay_microseconds=batching.max_queue_delay_microseconds,
        preserve_ordering=batching.preserve_ordering,
        priority_levels=batching.priority_levels,
        default_priority_level=batching.default_priority_level,
        default_queue_policy=_queue_policy(batching.default_queue_policy),
        priority_queue_policy=MappingProxyType(
            {level: _queue_policy(policy) for level, policy in batching.priority_queue_policy.items()}
        ),
    )


def _pieces(asked: int, batching: DynamicBatching | None) -> int:
    """No more than can be queued at once."""
    places = batching.default_queue_policy.max_queue_size if batching is not None else 0
    return min(asked, places) if places else asked


def _cuda_graphs(cuda: pb.ModelOptimizationPolicy.Cuda) -> CudaGraphs | None:
    if not cuda.graphs:
        return None
    return CudaGraphs(rows=tuple(sorted({spec.batch_size for spec in cuda.graph_spec})))


def _queue_policy(policy: pb.ModelQueuePolicy) -> QueuePolicy:
    return QueuePolicy(
        timeout_action=TimeoutAction(pb.ModelQueuePolicy.TimeoutAction.Name(policy.timeout_action)),
        default_timeout_microseconds=policy.default_timeout_microseconds,
        allow_timeout_override=policy.allow_timeout_override,
        max_queue_size=policy.max_queue_size,
    )


def _warmup(at: int, sample: pb.ModelWarmup) -> Warmup:
    return Warmup(
        name=sample.name or f"number {at + 1}",
        batch_size=sample.batch_size,
        count=max(1, sample.count),
        inputs=tuple(
            WarmupInput(
                name=name,
                datatype=_datatype(tensor.data_type),
                dims=tuple(tensor.dims),
                data=WarmupData(tensor.WhichOneof("input_data_type")),
                file=tensor.input_data_file,
            )
            for name, tensor in sorted(sample.inputs.items())
        ),
    )


def _number(message: pb.ModelConfig, parameter: str) -> float | None:
    return float(message.parameters[parameter].string_value) if parameter in message.parameters else None


def _ensemble(scheduling: pb.ModelEnsembling) -> Ensemble:
    return Ensemble(
        steps=tuple(
            Step(
                model=step.model_name,
                version=step.model_version if step.model_version > 0 else LATEST,
                inputs=MappingProxyType(dict(step.input_map)),
                outputs=MappingProxyType(dict(step.output_map)),
            )
            for step in scheduling.step
        ),
        max_inflight_requests=scheduling.max_inflight_requests,
    )


def _invalid(file: str, places: Places, field: str, sentence: str) -> ConfigInvalid:
    if places is NOWHERE:
        return ConfigInvalid(file=file, field=field, sentence=sentence)
    place = places.find(field) or Place(1, 1)
    return ConfigInvalid(file=file, line=place.line, column=place.column, field=field, sentence=sentence)


def _unparsed(error: text_format.ParseError, file: str, places: Places) -> ConfigInvalid:
    line, column = error.GetLine() or 1, error.GetColumn() or 1
    sentence = _PARSER_PLACE.sub("", str(error))
    return ConfigInvalid(
        file=file,
        line=line,
        column=column,
        field=places.field_at(Place(line, column)),
        sentence=_explained(sentence),
    )


def _unparsed_json(error: json_format.ParseError, file: str) -> ConfigInvalid:
    chain = str(error)
    names = _FIELD_IN_JSON.findall(chain)
    sentence = _FIELD_IN_JSON.sub("", chain)
    place = _PLACE_IN_JSON.search(sentence)
    within = place.group(1) if place else ""
    sentence = _PLACE_IN_JSON.sub("", sentence).rstrip(".")
    unknown, one_of = _UNKNOWN_FIELD.search(sentence), _ONE_OF_IN_JSON.search(sentence)
    inner = unknown[2] if unknown else one_of["choice"] if one_of else ""
    field = f"{within}.{inner}".strip(".") if inner else within or ".".join(names)
    return ConfigInvalid(file=file, field=field, sentence=_explained(sentence))


def _explained(sentence: str) -> str:
    """Say it in the operator's words where protobuf's would not help, and name the nearest good word."""
    field = _UNKNOWN_FIELD.search(sentence)
    if field:
        known = POOL.FindMessageTypeByName(f"inference.{field.group(1)}").fields_by_name
        return f"there is no field '{field.group(2)}'{_nearest(field.group(2), list(known))}"
    name = _UNKNOWN_NAME.search(sentence) or _UNKNOWN_NAME_IN_JSON.search(sentence)
    if name:
        words = list(POOL.FindEnumTypeByName(f"inference.{name['kind']}").values_by_name)
        return f"'{name['word']}' is none of {', '.join(words)}{_nearest(name['word'], words)}"
    other = _ONE_OF.search(sentence)
    if other:
        return f"cannot stand beside {other['other']}; choose one"
    if _ONE_OF_IN_JSON.search(sentence):
        return "has more than one choice; choose one"
    return sentence


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""
