"""Our messages and those of other people's clients live in one process.

tritonclient and kserve each claim the package `inference` in protobuf's default pool, so those two
never meet in one process; each of them meets ours here, in a process of its own.
"""

import subprocess
import sys

import pytest

OURS = """
from protos import model_config_pb2
ours = model_config_pb2.ModelConfig(name="ours", max_batch_size=8)
assert model_config_pb2.ModelConfig.FromString(ours.SerializeToString()) == ours
"""
TRITON = """
from tritonclient.grpc import model_config_pb2 as their_config, service_pb2
asked = service_pb2.ModelInferRequest(model_name="triton")
assert service_pb2.ModelInferRequest.FromString(asked.SerializeToString()) == asked
"""
KSERVE = """
from kserve.protocol.grpc import grpc_predict_v2_pb2
asked = grpc_predict_v2_pb2.ModelInferRequest(model_name="kserve")
assert grpc_predict_v2_pb2.ModelInferRequest.FromString(asked.SerializeToString()) == asked
"""
SAME_WORDS = """
from tritonclient.grpc import model_config_pb2 as theirs
from protos import model_config_pb2 as ours

def facts(message):
    yield message.full_name
    for field in sorted(message.fields, key=lambda field: field.number):
        yield field.name, field.number, field.type, field.is_repeated
        yield field.containing_oneof.name if field.containing_oneof else None
        yield field.message_type.full_name if field.message_type else None
        yield [(v.name, v.number) for v in field.enum_type.values] if field.enum_type else None
    for nested in sorted(message.nested_types, key=lambda nested: nested.name):
        yield from facts(nested)

assert ours.DESCRIPTOR.message_types_by_name.keys() == theirs.DESCRIPTOR.message_types_by_name.keys()
for name, message in ours.DESCRIPTOR.message_types_by_name.items():
    assert list(facts(message)) == list(facts(theirs.DESCRIPTOR.message_types_by_name[name])), name
assert ours.DataType.items() == theirs.DataType.items()
"""


def run(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("client", [TRITON, KSERVE], ids=["tritonclient", "kserve"])
@pytest.mark.parametrize("ours_first", [True, False], ids=["ours first", "ours last"])
def test_our_messages_stand_beside_those_of_a_client(client: str, ours_first: bool):
    run(OURS + client if ours_first else client + OURS)


def test_our_configuration_has_every_name_number_and_type_of_tritons():
    run(SAME_WORDS)
