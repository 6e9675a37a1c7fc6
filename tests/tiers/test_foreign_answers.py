"""What other servers say of their models, in the words of our tiers."""

from dataclasses import replace

import pytest

from protos import inference_pb2 as pb
from protos import model_config_pb2 as config_pb
from server.domain.state import State
from server.domain.tensors import TensorSpec
from server.domain.tier import VersionReport
from server.tiers.foreign_address import AddressInvalid, ForeignAddress
from server.tiers.foreign_answers import Behind, ForeignVersion, apart, content_of, report_of, reports_before

Tensor = pb.ModelMetadataResponse.TensorMetadata
METADATA = pb.ModelMetadataResponse(
    name="m",
    versions=["1", "3"],
    platform="python",
    inputs=[Tensor(name="x", datatype="FP32", shape=[-1, 4])],
    outputs=[Tensor(name="y", datatype="BYTES", shape=[-1, 1])],
)
CONFIG = config_pb.ModelConfig(name="m", max_batch_size=8)
THERE = ForeignVersion(model="m", version="3", metadata=METADATA, config=CONFIG)
UNVERSIONED = replace(THERE, version="", config=None)
SILENT = replace(UNVERSIONED, metadata=pb.ModelMetadataResponse(name="m"))


def ours(
    version: int = 3, content: str = "c", stages=("pre", "predict", "post"), config=b""
) -> VersionReport:
    return VersionReport(
        model="m", version=version, content=content, state=State.READY, stages=stages, config=config
    )


def test_a_version_is_told_as_a_predict_tier_tells_its_own():
    report = report_of(THERE, since=5.0)
    assert (report.model, report.version, report.state, report.stages) == ("m", 3, State.READY, ("predict",))
    assert report.seen is not None
    assert report.seen.inputs == (TensorSpec("x", "FP32", (-1, 4)),)
    assert (report.seen.max_batch_size, report.platform, report.since) == (8, "python", 5.0)
    config = config_pb.ModelConfig.FromString(report.config)
    assert (config.max_batch_size, list(config.input[0].dims)) == (8, [4])
    assert config.output[0].data_type == config_pb.TYPE_STRING


def test_two_replicas_that_say_the_same_have_one_content_and_another_model_has_another():
    assert content_of(THERE) == content_of(replace(THERE))
    assert content_of(THERE) != content_of(replace(THERE, config=config_pb.ModelConfig(max_batch_size=9)))


def test_a_server_without_versions_has_version_1_and_does_not_batch():
    report = report_of(UNVERSIONED, since=0.0)
    assert report.version == 1
    assert report.seen is not None
    assert report.seen.max_batch_size == 0


def test_it_takes_the_content_of_the_version_that_it_predicts_for():
    (report,) = reports_before(THERE, 0.0, [ours(), ours(version=2), ours(stages=("predict",))])
    assert (report.version, report.content, report.stages) == (3, "c", ("pre", "predict", "post"))


def test_during_a_rollout_it_predicts_for_both_contents():
    reports = reports_before(THERE, 0.0, [ours(), ours(content="d"), replace(ours(content="e"), gone=True)])
    assert [report.content for report in reports] == ["c", "d"]


def test_a_server_without_versions_stands_behind_all_of_ours():
    reports = reports_before(UNVERSIONED, 0.0, [ours(2), ours(7)])
    assert [report.version for report in reports] == [2, 7]


def test_tensors_that_the_server_does_not_tell_may_stand_in_the_configuration():
    config = config_pb.ModelConfig(max_batch_size=4)
    config.input.add(name="a", data_type=config_pb.TYPE_UINT8, dims=[2])
    config.output.add(name="b", data_type=config_pb.TYPE_STRING, dims=[1])
    (report,) = reports_before(
        SILENT, 0.0, [ours(config=config.SerializeToString(), stages=("pre", "predict"))]
    )
    assert report.seen is not None
    assert report.seen.inputs == (TensorSpec("a", "UINT8", (-1, 2)),)
    assert report.seen.outputs == (TensorSpec("b", "BYTES", (-1, 1)),)


def test_a_model_between_code_on_both_sides_need_not_tell_anything():
    (report,) = reports_before(SILENT, 0.0, [ours()])
    assert report.ready


def test_what_has_had_code_before_it_is_never_asked_without():
    behind, has = Behind(), [(THERE, 0.0)]
    assert behind.reports(has, None) == []
    assert [report.content for report in behind.reports(has, [ours()])] == ["c"]
    assert behind.reports(has, []) == []


def test_what_has_no_code_is_there_by_itself_once_all_tiers_have_told():
    behind = Behind()
    assert behind.reports([(THERE, 0.0)], None) == []
    assert behind.reports([(THERE, 0.0)], [ours(version=2)]) == [report_of(THERE, 0.0)]


def test_contents_of_one_version_are_told_apart():
    reports = reports_before(THERE, 0.0, [ours(), ours(content="d")])
    assert [[report.content for report in layer.values()] for layer in apart(reports)] == [["c"], ["d"]]
    assert apart([]) == [{}]


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (SILENT, "does not say what it takes and gives"),
        (
            replace(
                THERE,
                config=config_pb.ModelConfig(
                    model_transaction_policy=config_pb.ModelTransactionPolicy(decoupled=True)
                ),
            ),
            "answers more than once",
        ),
        (
            replace(
                THERE,
                metadata=pb.ModelMetadataResponse(
                    inputs=[Tensor(name="x", datatype="FP4", shape=[-1])],
                    outputs=[Tensor(name="y", datatype="FP32", shape=[-1])],
                ),
            ),
            "datatype 'FP4'",
        ),
    ],
)
def test_what_cannot_be_a_predict_stage_says_why(told, why):
    report = report_of(told, since=0.0)
    assert (report.state, report.seen) == (State.UNAVAILABLE, None)
    assert why in report.reason


@pytest.mark.parametrize(
    ("written", "address", "models"),
    [
        ("oip://predictor:8001", "predictor:8001", ()),
        ("oip://[::1]:8001?model=a", "[::1]:8001", ("a",)),
        ("oip://10.0.0.7:81?model=a&model=b-c.d", "10.0.0.7:81", ("a", "b-c.d")),
    ],
)
def test_an_address_is_read(written, address, models):
    assert ForeignAddress.parse(written) == ForeignAddress(address, models)


@pytest.mark.parametrize(
    "written",
    [
        "oip://",
        "oip://host",
        "oip://host:0",
        "oip://host:99999",
        "oip://a:1?models=x",
        "oip://a:1?model=",
        "a:1",
    ],
)
def test_an_address_that_is_none_says_how_one_is_written(written):
    with pytest.raises(AddressInvalid, match=r"oip://|model="):
        ForeignAddress.parse(written)
