"""The words of configuration and catalogue that carry a rule of their own."""

from dataclasses import FrozenInstanceError

import pytest

from server.domain.catalogue import VersionFacts
from server.domain.configuration import ALL_VERSIONS, ModelConfig, Platform, TensorConfig, VersionPolicy
from server.domain.errors import ServingError
from server.domain.signature import Signature
from server.observe.tally import Tally
from server.wire.codes import CODES


def test_the_version_policy_chooses_the_latest_unless_it_is_told_otherwise():
    there = frozenset({1, 2, 10})
    assert VersionPolicy().choose(there) == {10}
    assert VersionPolicy(latest=2).choose(there) == {2, 10}
    assert VersionPolicy(latest=9).choose(there) == there
    assert ALL_VERSIONS.choose(there) == there
    assert VersionPolicy(latest=None, specific=frozenset({1, 7})).choose(there) == {1}
    assert VersionPolicy().choose(frozenset()) == frozenset()


def test_a_declared_tensor_leaves_the_batch_dimension_out():
    tensor = TensorConfig(name="x", datatype="FP32", dims=(3, 4))
    assert tensor.spec(batches=True).shape == (-1, 3, 4)
    assert tensor.spec(batches=False).shape == (3, 4)


def test_the_facts_of_a_version_cannot_be_changed_by_those_who_read_them():
    facts = VersionFacts(
        model="m",
        version=1,
        platform=Platform.ONNX,
        config=ModelConfig(name="m"),
        signature=Signature("m", [], [], 0),
        tally=Tally(),
        devices=("cpu",),
        load_seconds=0.1,
    )
    with pytest.raises(FrozenInstanceError):
        facts.version = 2
    with pytest.raises(TypeError):
        facts.labels["y"] = ("cat",)
    with pytest.raises(TypeError):
        facts.config.parameters["key"] = "value"


def test_every_refusal_of_the_family_has_its_codes():
    assert set(ServingError.__subclasses__()) == CODES.keys()
