"""What a tier tells of itself: there and back, and what another release says."""

from hypothesis import given
from hypothesis import strategies as st

from protos import stage_pb2 as pb
from server.domain.stage import STAGES
from server.domain.state import State
from server.domain.tensors import DATATYPES, TensorSpec
from server.domain.tier import Seen, TierReport, VersionReport
from server.wire.report import UNKNOWN_STAGE, report_message, report_of

NAMES = st.text(min_size=1, max_size=8)
SECONDS = st.floats(0, 1e10)
SPECS = st.builds(
    TensorSpec,
    name=NAMES,
    datatype=st.sampled_from(sorted(DATATYPES)),
    shape=st.lists(st.integers(-1, 2**40), max_size=3).map(tuple),
)
SEEN = st.builds(
    Seen,
    inputs=st.lists(SPECS, max_size=3).map(tuple),
    outputs=st.lists(SPECS, max_size=3).map(tuple),
    max_batch_size=st.integers(0, 2**31),
    most_rows=st.integers(0, 2**31),
    optional=st.frozensets(NAMES, max_size=3),
    declared=st.booleans(),
)
VERSIONS = st.builds(
    VersionReport,
    model=NAMES,
    version=st.none() | st.integers(1, 10**18 - 1),
    content=st.text(max_size=20),
    state=st.sampled_from(State),
    reason=st.text(max_size=20),
    since=SECONDS,
    gone=st.booleans(),
    stages=st.sets(st.sampled_from(STAGES)).map(lambda some: tuple(s for s in STAGES if s in some)),
    platform=st.text(max_size=20),
    config=st.binary(max_size=20),
    seen=st.none() | SEEN,
    labels=st.dictionaries(NAMES, st.lists(st.text(max_size=8), max_size=3).map(tuple), max_size=2),
    load_seconds=SECONDS,
    resident=st.booleans(),
)
REPORTS = st.builds(
    TierReport,
    instance=st.text(max_size=20),
    stage=st.none() | st.sampled_from(STAGES),
    whole=st.booleans(),
    versions=st.lists(VERSIONS, max_size=3).map(tuple),
    saturation=SECONDS,
    ready=st.booleans(),
)


@given(REPORTS)
def test_a_report_comes_over_the_wire_as_it_was(report):
    sent = report_message(report).SerializeToString()
    assert report_of(pb.Report.FromString(sent)) == report


def test_a_state_of_a_later_release_is_not_taken_for_ready():
    later = pb.Report(versions=[pb.VersionReport(model="tiny", version=1, state="PAUSED")])
    assert report_of(later).versions[0].state is State.UNKNOWN


def test_a_version_with_a_stage_of_a_later_release_is_not_taken_for_ready():
    later = pb.Report()
    version = later.versions.add(model="tiny", version=1, state="READY")
    version.MergeFromString(pb.VersionReport(stages=[pb.PREDICT, 9]).SerializeToString())
    (read,) = report_of(later).versions
    assert (read.state, read.reason, read.stages) == (State.UNAVAILABLE, UNKNOWN_STAGE, ("predict",))
