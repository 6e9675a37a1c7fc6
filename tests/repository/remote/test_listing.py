"""Names that a store lists, as models and versions."""

from server.repository.remote.listing import RemoteFile, age_s, models_of, seen_of

FILE = RemoteFile(1, "t")


def test_keys_become_models_with_versions_and_what_is_beside_them():
    paths = ("m/config.pbtxt", "m/1/model.onnx", "m/1/examples/a.json", "m/labels/en.txt", "n/2/model.pt")
    found = models_of(dict.fromkeys(paths, FILE))
    assert set(found["m"].beside) == {"config.pbtxt", "labels/en.txt"}
    assert {version: set(files) for version, files in found["m"].versions.items()} == {
        1: {"model.onnx", "examples/a.json"}
    }
    assert set(found["n"].versions) == {2}


def test_what_is_ignored_in_folders_or_leads_out_of_one_is_not_taken():
    ignored = ("index.json", ".hidden/1/model.onnx", "m/1/model.onnx.tmp", "m/README.md", "m/1", "m/1/")
    outside = ("../m/1/x", "m/../../1/x", "/m/1/x", "m//1/x", "m/1/a\\b", "m/1/a\0b")
    assert models_of(dict.fromkeys((*ignored, *outside), FILE)) == {}


def test_listings_of_the_same_content_are_seen_as_equal_whenever_they_were_written():
    before, after = RemoteFile(1, "t", changed_s=1.0), RemoteFile(1, "t", changed_s=2.0)
    assert seen_of({"a": before, "b": FILE}) == seen_of({"b": FILE, "a": after})
    assert seen_of({"a": before}) != seen_of({"a": RemoteFile(1, "u", changed_s=1.0)})


def test_the_youngest_object_gives_the_age_and_one_that_does_not_tell_makes_it_nothing():
    old, young = RemoteFile(1, "t", changed_s=10.0), RemoteFile(1, "t", changed_s=40.0)
    assert age_s({"a": old, "b": young}, now_s=100.0) == 60.0
    assert age_s({"a": old, "b": FILE}, now_s=100.0) == 0.0
    assert age_s({}, now_s=100.0) == 0.0
