"""Load, unload and index: what their bodies may say."""

import base64

import orjson
import pytest

from protos import inference_pb2 as pb
from server.domain.errors import InvalidRequest, NotSupported
from server.wire.control import (
    LoadOverrides,
    Unload,
    decode_index,
    decode_load,
    decode_unload,
    load_of,
    unload_of,
)


def test_an_empty_body_says_nothing_special():
    assert decode_index(b"") is False
    assert decode_load(b"") == LoadOverrides()
    assert decode_unload(b"") == Unload()


def test_what_is_said_is_understood():
    content = base64.b64encode(b"\0model").decode()
    body = orjson.dumps({"parameters": {"config": "{}", "file:1/model.onnx": content}})
    assert decode_index(b'{"ready": true}') is True
    assert decode_load(body) == LoadOverrides("{}", {"1/model.onnx": b"\0model"})
    assert decode_unload(b'{"parameters": {"unload_dependents": true}}') == Unload(dependents=True)


def test_a_message_says_the_same_with_files_as_they_are():
    message = pb.RepositoryModelLoadRequest(model_name="m")
    message.parameters["config"].string_param = "{}"
    message.parameters["file:1/model.onnx"].bytes_param = b"\0model"
    assert load_of(message) == LoadOverrides("{}", {"1/model.onnx": b"\0model"})
    unload = pb.RepositoryModelUnloadRequest(model_name="m")
    unload.parameters["unload_dependents"].bool_param = True
    assert unload_of(unload) == Unload(dependents=True)


@pytest.mark.parametrize("written", [b"3", b'"3"'])
def test_one_version_may_be_named_as_a_number_or_as_its_text(written: bytes):
    body = b'{"parameters": {"version": %s}}' % written
    assert decode_load(body) == LoadOverrides(version=3)
    assert decode_unload(body) == Unload(version=3)


def test_a_message_names_one_version_likewise():
    for value in ({"int64_param": 3}, {"string_param": "3"}):
        load, unload = pb.RepositoryModelLoadRequest, pb.RepositoryModelUnloadRequest
        for read, message in ((load_of, load(model_name="m")), (unload_of, unload(model_name="m"))):
            message.parameters["version"].CopyFrom(pb.ModelRepositoryParameter(**value))
            assert read(message).version == 3


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"[]", "must be a JSON object"),
        (b'{"parameters": 5}', "'parameters'"),
        (b'{"parameters": {"other": 1}}', "unrecognized load parameter 'other'"),
        (b'{"parameters": {"config": {}}}', "'config' must be a string"),
        (b'{"parameters": {"config": "{}", "file:1/m": "%%"}}', "'file:1/m' must be standard base64"),
        (b'{"parameters": {"config": "{}", "file:1/m": 5}}', "'file:1/m' must be the content"),
        (b'{"parameters": {"file:1/m": "AA=="}}', "'config' must be given"),
    ],
)
def test_a_wrong_load_is_refused(body: bytes, says: str):
    with pytest.raises(InvalidRequest, match=says):
        decode_load(body)


def test_a_wrong_unload_or_index_is_refused():
    with pytest.raises(InvalidRequest, match="unrecognized unload parameter 'config'"):
        decode_unload(b'{"parameters": {"config": "{}"}}')
    with pytest.raises(InvalidRequest, match="'unload_dependents'"):
        decode_unload(b'{"parameters": {"unload_dependents": 1}}')
    with pytest.raises(InvalidRequest, match="'ready'"):
        decode_index(b'{"ready": "yes"}')


def test_kserves_layout_of_the_message_is_recognised_and_explained():
    with pytest.raises(InvalidRequest, match="KServe"):
        load_of(pb.RepositoryModelLoadRequest(repository_name="m"))


def test_a_repository_cannot_be_named():
    with pytest.raises(NotSupported, match="repository"):
        unload_of(pb.RepositoryModelUnloadRequest(repository_name="r", model_name="m"))
