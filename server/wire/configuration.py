"""A version's configuration as clients read it: the operator's own, with what was filled in laid over it.

Its inputs and outputs are those of the metadata. Where the version's own code makes them others than the
model file's, the file's go along as the parameter `tercet.model_file`: a client that sends the
configuration back in a load request asks for what there is.
"""

from collections.abc import Sequence
from typing import Any

from google.protobuf import json_format

from protos import inference_pb2 as pb
from protos import model_config_pb2 as config_pb
from protos.json_values import json_values
from server.domain.catalogue import VersionFacts
from server.domain.configuration import (
    ALL_VERSIONS,
    MODEL_FILE,
    DynamicBatching,
    ModelConfig,
    TensorConfig,
    VersionPolicy,
)
from server.domain.tensors import TensorSpec


def model_config_message(facts: VersionFacts) -> config_pb.ModelConfig:
    """The whole configuration in force, with the inputs and outputs that clients see."""
    message = _in_force(facts.config)
    batches = bool(facts.config.max_batch_size)
    inputs, outputs = facts.signature.inputs, facts.signature.outputs
    own_inputs = tuple(tensor.spec(batches) for tensor in facts.config.inputs)
    own_outputs = tuple(tensor.spec(batches) for tensor in facts.config.outputs)
    if (inputs, outputs) == (own_inputs, own_outputs):
        return message
    own = config_pb.ModelConfig(input=message.input, output=message.output)
    written = json_format.MessageToJson(own, preserving_proto_field_name=True, indent=None)
    message.parameters[MODEL_FILE].string_value = written
    if inputs != own_inputs:
        _show(message.input, inputs, batches)
        for tensor in message.input:
            tensor.optional = tensor.name in facts.signature.optional
    if outputs != own_outputs:
        _show(message.output, outputs, batches)
    return message


def model_config_response(facts: VersionFacts) -> pb.ModelConfigResponse:
    return pb.ModelConfigResponse(config=model_config_message(facts))


def model_config(facts: VersionFacts) -> dict[str, Any]:
    """As JSON values: the names of the .proto, every scalar, list and map with its default too, enums
    by name, 64-bit integers as numbers."""
    return json_values(model_config_message(facts))


def _show(tensors: Any, specs: Sequence[TensorSpec], batches: bool) -> None:
    del tensors[:]
    for spec in specs:
        dims = spec.shape[1:] if batches else spec.shape
        tensors.add(name=spec.name, data_type=data_type(spec.datatype), dims=dims)


def _in_force(config: ModelConfig) -> config_pb.ModelConfig:
    message = config_pb.ModelConfig.FromString(config.declared)
    message.name = config.name
    message.backend = config.backend
    message.max_batch_size = config.max_batch_size or 0
    message.default_model_filename = config.default_model_filename
    if config.platform is not None:
        message.platform = config.platform.value
    for tensor in config.inputs:
        _lay_tensor(message.input, tensor)
        _named(message.input, tensor.name).optional = tensor.optional
    for tensor in config.outputs:
        _lay_tensor(message.output, tensor)
        _named(message.output, tensor.name).label_filename = tensor.label_filename
    _lay_version_policy(message.version_policy, config.version_policy)
    if config.dynamic_batching is not None:
        _lay_dynamic_batching(message.dynamic_batching, config.dynamic_batching)
    if not message.instance_group:
        for group in config.instance_groups:
            message.instance_group.add(kind=group.kind.value, count=group.count, gpus=group.gpus)
    for key, value in config.metric_tags.items():
        message.metric_tags[key] = value
    for key, value in config.parameters.items():
        message.parameters[key].string_value = value
    return message


def _named(tensors: Any, name: str) -> Any:
    """The tensor of that name, added if the operator did not declare it."""
    return next((tensor for tensor in tensors if tensor.name == name), None) or tensors.add(name=name)


def data_type(datatype: str) -> Any:
    """A datatype of the protocol by its name in a configuration."""
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"


def _lay_tensor(tensors: Any, config: TensorConfig) -> None:
    tensor = _named(tensors, config.name)
    tensor.data_type = data_type(config.datatype)
    tensor.dims[:] = config.dims
    if config.reshape is not None:
        tensor.reshape.SetInParent()
        tensor.reshape.shape[:] = config.reshape


def _lay_version_policy(message: Any, policy: VersionPolicy) -> None:
    if policy.specific is not None:
        message.specific.versions[:] = sorted(policy.specific)
    elif policy == ALL_VERSIONS:
        message.all.SetInParent()
    else:
        message.latest.num_versions = policy.latest


def _lay_dynamic_batching(message: Any, batching: DynamicBatching) -> None:
    message.SetInParent()
    message.preferred_batch_size[:] = batching.preferred_batch_size
    message.max_queue_delay_microseconds = batching.max_queue_delay_microseconds
    message.preserve_ordering = batching.preserve_ordering
    policy = batching.default_queue_policy
    if policy != type(policy)() or message.HasField("default_queue_policy"):
        message.default_queue_policy.timeout_action = policy.timeout_action.value
        message.default_queue_policy.default_timeout_microseconds = policy.default_timeout_microseconds
        message.default_queue_policy.allow_timeout_override = policy.allow_timeout_override
        message.default_queue_policy.max_queue_size = policy.max_queue_size
