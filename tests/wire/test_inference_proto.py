"""Our messages are Triton's, name for name and number for number, as its own client has them."""

from typing import Any

from tritonclient.grpc import service_pb2 as theirs

from protos import inference_pb2 as ours

ADDED = {"inference.ModelMetadataResponse": {"properties"}}
"""What the Open Inference Protocol has and Triton's client does not know."""


def fields(message: Any) -> dict[str, tuple[Any, ...]]:
    return {
        field.name: (
            field.number,
            field.type,
            field.is_repeated,
            field.message_type.full_name if field.message_type else None,
            field.containing_oneof.name if field.containing_oneof else None,
        )
        for field in message.fields
    }


def messages(found: Any) -> dict[str, Any]:
    everything = {}
    for message in found:
        everything[message.full_name] = message
        everything |= messages(message.nested_types)
    return everything


def test_every_message_has_the_fields_that_tritons_client_has():
    mine = messages(ours.DESCRIPTOR.message_types_by_name.values())
    for name, message in messages(theirs.DESCRIPTOR.message_types_by_name.values()).items():
        expected = fields(message)
        found = {key: value for key, value in fields(mine[name]).items() if key not in ADDED.get(name, ())}
        assert found == expected, name


def test_the_service_has_every_method_of_tritons():
    def methods(module: Any) -> dict[str, tuple[Any, ...]]:
        service = module.DESCRIPTOR.services_by_name["GRPCInferenceService"]
        return {
            method.name: (
                method.input_type.full_name,
                method.output_type.full_name,
                method.client_streaming,
                method.server_streaming,
            )
            for method in service.methods
        }

    assert methods(ours) == methods(theirs)
