"""The text of a manifest, held against names and sizes alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.repository.manifest import Entry, ManifestInvalid, misfit, read_manifest, write_manifest

DIGEST = "ab" * 32
PATHS = st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,2}", fullmatch=True)


@given(st.dictionaries(PATHS, st.builds(Entry, st.integers(0, 2**50), st.just(DIGEST))))
def test_what_is_written_is_read_again(files):
    assert read_manifest(write_manifest(files)) == files


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"tercet_manifest": 1, "files": {"model.onnx"', "is not JSON, or only a part of it is there"),
        ('{"tercet_manifest": 2, "files": {}}', "is of format 2, and 1 is known here"),
        ('{"tercet_manifest": 1}', "has no object 'files'"),
        ('{"tercet_manifest": 1, "files": {"../x": {}}}', "names '../x', which is no plain path"),
        ('{"tercet_manifest": 1, "files": {"/x": {}}}', "names '/x', which is no plain path"),
        ('{"tercet_manifest": 1, "files": {"x": 3}}', "gives no size in bytes for x"),
        ('{"tercet_manifest": 1, "files": {"x": {"size": 1, "sha256": "AB"}}}', "gives no SHA-256 in 64"),
    ],
)
def test_what_is_no_manifest_is_refused_in_a_sentence(text, sentence):
    with pytest.raises(ManifestInvalid) as refusal:
        read_manifest(text.encode())
    assert str(refusal.value).startswith(sentence)


def test_a_json_file_of_another_kind_is_no_manifest_of_ours():
    assert read_manifest(b'{"files": ["model.onnx"]}') is None
    assert read_manifest(b"[]") is None


def test_what_is_missing_cut_short_or_not_named_is_told_by_name():
    manifest = {"model.onnx": Entry(10, DIGEST), "pre.py": Entry(3, DIGEST)}
    assert misfit(manifest, {"model.onnx": 10, "pre.py": 3, "manifest.json": 99}) == ""
    assert misfit(manifest, {"model.onnx": 10}) == "pre.py is missing, which manifest.json names"
    assert misfit(manifest, {"model.onnx": 4, "pre.py": 3}) == (
        "model.onnx has 4 bytes, and manifest.json says 10"
    )
    assert misfit(manifest, {"model.onnx": 10, "pre.py": 3, "post.py": 1}) == (
        "post.py is not named in manifest.json"
    )
