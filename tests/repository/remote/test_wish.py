"""Which versions of a remote model are to be on a node, as plain sets."""

from server.domain.configuration import ALL_VERSIONS, VersionPolicy
from server.repository.remote.listing import RemoteFile
from server.repository.remote.wish import versions_to_bring, versions_to_keep

LATEST = VersionPolicy(latest=1)
GOOD, BAD = {"model.onnx": RemoteFile(1, "t")}, {"notes.txt": RemoteFile(1, "t")}


def test_the_policy_chooses_among_what_has_come_to_rest():
    remote = {1: GOOD, 2: GOOD, 3: GOOD}
    assert versions_to_bring(remote, settled=[1, 2, 3], here=[], policy=LATEST) == {3}
    assert versions_to_bring(remote, settled=[1, 2], here=[], policy=LATEST) == {2}
    assert versions_to_bring(remote, settled=[1, 2, 3], here=[], policy=ALL_VERSIONS) == {1, 2, 3}


def test_a_version_without_a_model_file_comes_beside_the_one_whose_place_it_would_take():
    assert versions_to_bring({1: GOOD, 2: BAD}, settled=[1, 2], here=[], policy=LATEST) == {1, 2}


def test_a_version_that_is_here_and_being_written_anew_keeps_its_place():
    assert versions_to_bring({1: GOOD, 2: GOOD}, settled=[1], here=[2], policy=LATEST) == frozenset()


def test_what_serves_stays_unless_its_source_deleted_it():
    assert versions_to_keep(remote=[1, 2, 3], here=[1, 2], brought=[3], in_use=[1]) == {1}
    assert versions_to_keep(remote=[2], here=[1, 2], brought=[2], in_use=[1]) == {2}
