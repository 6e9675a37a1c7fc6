"""What repositories offer, over real folders and a clock that the test moves."""

import os
import shutil
import time

import pytest
import structlog

from server.domain.configuration import Platform, VersionPolicy
from server.domain.offer import ModelOffer
from server.repository.scanner import Scanner

TICK_S = 0.02
"""Longer than the kernel's file times are coarse, so that one change is seen to come after another."""


def only(scanner: Scanner) -> ModelOffer:
    (offer,) = scanner.scan().offers.values()
    return offer


def test_a_model_is_offered_with_its_file_its_code_and_its_examples(repository, scanner):
    folder = repository.put("digits")
    (folder / "pre.py").write_text("")
    (folder / "post.py").write_text("")
    (folder / "examples").mkdir()
    for name in ("b.json", "a.json", "notes.md"):
        (folder / "examples" / name).write_text("{}")
    offer = only(scanner)
    version = offer.versions[1]
    assert (offer.name, offer.problem, offer.config.platform) == ("digits", "", Platform.ONNX)
    assert version.model_file == folder / "model.onnx"
    assert (version.pre, version.post) == (folder / "pre.py", folder / "post.py")
    assert version.examples == (folder / "examples/a.json", folder / "examples/b.json")


def test_only_positive_integers_written_plainly_are_versions_and_hidden_folders_are_no_models(
    repository, scanner
):
    repository.put("m", 2, config="version_policy { all {} }")
    for name in ("003", "abc", "0", "-1", ".4", "1.5"):
        shutil.copytree(repository.path / "m/2", repository.path / "m" / name)
    shutil.copytree(repository.path / "m", repository.path / ".hidden")
    (repository.path / "README.md").write_text("")
    offer = only(scanner)
    assert (offer.name, set(offer.versions), dict(offer.broken)) == ("m", {2}, {})


def test_a_name_that_is_not_utf8_is_left_out_with_one_line_in_the_log(repository, scanner):
    folder = repository.put("good")
    bad = os.fsencode(repository.path) + b"/b\xff\xfed"
    shutil.copytree(os.fsencode(repository.path / "good"), bad)
    shutil.copy(folder / "model.onnx", os.fsencode(folder) + b"/weights\xff")
    with structlog.testing.capture_logs() as logs:
        offers = [scanner.scan().offers for _ in range(2)]
    assert [set(each) for each in offers] == [{"good"}, {"good"}]
    assert [offer.problem for offer in offers[0].values()] == [""]
    told = {line["name"] for line in logs if line["event"] == "name_not_utf8"}
    assert told == {r"b\xff\xfed", r"weights\xff"}
    assert len(logs) == len(told)


def test_the_version_policy_chooses(repository, scanner, clock):
    for version in (1, 2, 10):
        repository.put("m", version)
    assert set(only(scanner).versions) == {10}
    for policy, chosen in (("all {}", {1, 2, 10}), ("specific { versions: [ 1, 7 ] }", {1})):
        (repository.path / "m/config.pbtxt").write_text(f"version_policy {{ {policy} }}")
        scanner.scan()
        clock.s += 1.1
        assert set(only(scanner).versions) == chosen


def test_a_named_configuration_is_taken_where_there_is_one(repository, clock):
    repository.put("m", config="max_batch_size: 1")
    (repository.path / "m/configs").mkdir()
    (repository.path / "m/configs/big.pbtxt").write_text("max_batch_size: 64")
    for name, size in (("big", 64), ("small", 1), ("", 1)):
        scanner = Scanner([repository.path], config_name=name, clock=clock.monotonic, wall_clock=clock.wall)
        assert only(scanner).config.max_batch_size == size


def test_a_configuration_that_does_not_parse_is_that_models_problem_with_file_and_line(repository, scanner):
    repository.put("bad", config='name: "bad"\nmax_batch_sise: 3')
    repository.put("good")
    offers = scanner.scan().offers
    assert offers["bad"].config is None
    assert offers["bad"].problem.startswith("bad/config.pbtxt:2:1: max_batch_sise: there is no field")
    assert set(offers["good"].versions) == {1}


def test_a_problem_goes_once_its_cause_is_mended(repository, scanner, clock):
    repository.put("m", config="max_batch_sise: 3")
    assert only(scanner).problem
    (repository.path / "m/config.pbtxt").write_text("max_batch_size: 3")
    scanner.scan()
    clock.s += 1.1
    assert (only(scanner).problem, set(only(scanner).versions)) == ("", {1})


def test_a_version_without_a_model_file_is_broken_and_the_one_before_it_stays_chosen(repository, scanner):
    repository.put("m", 1)
    (repository.path / "m/2").mkdir()
    offer = only(scanner)
    assert set(offer.versions) == {1}
    assert offer.broken == {2: "the version folder holds no model.onnx or model.pt or model.py"}


def test_a_model_without_any_version_folder_says_so(repository, scanner):
    (repository.path / "m").mkdir()
    assert "holds no version folder" in only(scanner).problem


def test_the_versions_of_a_model_have_one_platform(repository, scanner):
    repository.put("m", 2, config="version_policy { all {} }")
    (repository.path / "m/1").mkdir()
    (repository.path / "m/1/model.py").write_text("")
    offer = only(scanner)
    assert set(offer.versions) == {2}
    assert offer.broken == {1: "model.py is not for onnxruntime_onnx, the platform of the highest version"}


@pytest.mark.parametrize("config", ["sequence_batching {}", "model_transaction_policy { decoupled: true }"])
def test_a_kind_that_is_not_served_yet_is_known_with_its_configuration(repository, scanner, config):
    repository.put("m", config=config)
    offer = only(scanner)
    assert "not served yet" in offer.problem
    assert offer.config is not None
    assert not offer.versions


def test_the_data_of_a_warmup_belong_to_what_a_model_is(repository, scanner, clock):
    text = """model_warmup { name: "w" batch_size: 1 inputs { key: "x" value {
        data_type: TYPE_INT8 dims: 1 input_data_file: "row" } } }"""
    repository.put("m", config=text)
    (repository.path / "m/warmup").mkdir()
    (repository.path / "m/warmup/row").write_bytes(b"1")
    before = only(scanner)
    assert before.problem == ""
    assert before.labels == {}
    (repository.path / "m/warmup/row").write_bytes(b"2")
    assert only(scanner) is before, "still being written, perhaps"
    clock.s += 1.1
    assert only(scanner).fingerprint != before.fingerprint


def test_labels_belong_to_the_model_and_a_missing_file_of_them_is_a_problem(repository, scanner, clock):
    text = 'output { name: "y" data_type: TYPE_FP32 dims: 4\n label_filename: "labels.txt" }'
    repository.put("m", config=text)
    assert "m/config.pbtxt:2:2: output[0].label_filename: is 'labels.txt'" in only(scanner).problem
    (repository.path / "m/labels.txt").write_text("cat\ndog\n")
    scanner.scan()
    clock.s += 1.1
    before = only(scanner)
    assert before.labels == {"labels.txt": repository.path / "m/labels.txt"}
    (repository.path / "m/labels.txt").write_text("cow\ndog\n")
    assert only(scanner) is before, "still being written, perhaps"
    clock.s += 1.1
    after = only(scanner)
    assert after.fingerprint != before.fingerprint
    assert after.versions[1].fingerprint == before.versions[1].fingerprint


@pytest.mark.usefixtures("_unprivileged")
def test_a_folder_that_may_not_be_read_is_the_problem_of_that_model_only(repository, scanner):
    repository.put("shut")
    repository.put("open")
    (repository.path / "shut").chmod(0)
    try:
        offers = scanner.scan().offers
    finally:
        (repository.path / "shut").chmod(0o755)
    assert "cannot be read: Permission denied" in offers["shut"].problem
    assert offers["open"].versions


@pytest.mark.usefixtures("_unprivileged")
def test_a_version_folder_that_may_not_be_read_is_broken(repository, scanner):
    repository.put("m", 1, config="version_policy { all {} }")
    (repository.put("m", 2)).chmod(0)
    try:
        offer = only(scanner)
    finally:
        (repository.path / "m/2").chmod(0o755)
    assert set(offer.versions) == {1}
    assert offer.broken == {2: "folder 2 cannot be read: Permission denied"}


def test_a_name_in_two_repositories_is_offered_with_both_folders_named(tmp_path, repository, clock):
    repository.put("m")
    other = tmp_path / "other"
    shutil.copytree(repository.path, other)
    (other / "mine/1").mkdir(parents=True)
    scanner = Scanner([repository.path, other], clock=clock.monotonic, wall_clock=clock.wall)
    offer = scanner.scan().offers["m"]
    assert offer.problem == f"is in more than one repository: {repository.path / 'm'} and {other / 'm'}"
    assert not offer.versions


def test_links_are_followed_and_a_circle_of_them_ends(tmp_path, repository, scanner):
    repository.put("m")
    store = tmp_path / "store"
    shutil.move(repository.path / "m/1", store)
    (repository.path / "m/1").symlink_to(store)
    (store / "round").symlink_to(repository.path / "m")
    (store / "itself").symlink_to(store / "itself")
    (store / "nowhere").symlink_to("/nonexistent")
    offer = only(scanner)
    assert "cannot be read" in offer.broken[1], "a link to itself is named"
    (store / "itself").unlink()
    assert only(scanner).versions[1].model_file == repository.path / "m/1/model.onnx"


def test_a_new_version_that_is_still_being_written_waits_while_the_old_one_stays_chosen(
    repository, scanner, clock
):
    repository.put("m", 1)
    scanner.scan()
    clock.ahead_s = 0
    repository.put("m", 2)
    scan = scanner.scan()
    assert set(scan.offers["m"].versions) == {1}
    assert scan.offers["m"].unsettled == {2}
    assert 0.5 < scan.wait_s <= 1.0
    clock.s += scan.wait_s + 0.001
    assert set(only(scanner).versions) == {2}


def test_a_version_that_is_written_over_is_unsettled_until_it_rests(repository, scanner, clock, other_bytes):
    folder = repository.put("m")
    before = only(scanner).versions[1]
    (folder / "model.onnx").write_bytes(other_bytes)
    during = only(scanner)
    assert (dict(during.versions), during.unsettled) == ({}, {1})
    clock.s += 1.1
    after = only(scanner).versions[1]
    assert after.fingerprint != before.fingerprint


@pytest.mark.parametrize(
    "name", [".model.onnx.swp", "model.onnx~", "x.part", "README.md", "__pycache__/a.pyc"]
)
def test_files_that_are_no_content_change_nothing(repository, scanner, name):
    folder = repository.put("m")
    before = scanner.scan()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("x")
    (repository.path / "m" / "README").write_text("x")
    assert scanner.scan() == before


def test_a_touched_file_is_the_same_content(repository, scanner):
    folder = repository.put("m", config="max_batch_size: 1")
    before = scanner.scan()
    os.utime(folder / "model.onnx")
    after = scanner.scan()
    assert after.offers == before.offers
    (repository.path / "m/config.pbtxt").touch()
    assert scanner.scan().offers == before.offers


def test_a_half_written_file_is_not_offered_however_slow_the_copy(repository, scanner, clock, model_bytes):
    clock.ahead_s = 0
    folder = repository.put("m", content=model_bytes[:60])
    for _ in range(9):
        assert not (scanner.scan().offers.get("m") and only(scanner).versions)
        clock.s += 1.0
    (folder / "model.onnx").write_bytes(model_bytes)
    scanner.scan()
    clock.s += 1.1
    assert set(only(scanner).versions) == {1}


def test_a_model_is_settling_while_what_is_offered_of_it_is_not_what_lies_there(repository, scanner, clock):
    clock.ahead_s = 0
    repository.put("m", config="max_batch_size: 2")
    scan = scanner.scan()
    assert (set(scan.offers), scan.settling) == (set(), {"m"})
    clock.s += scan.wait_s + 0.001
    assert (only(scanner).config.max_batch_size, scanner.scan().settling) == (2, frozenset())
    (repository.path / "m/config.pbtxt").write_text("max_batch_size: 4")
    scan = scanner.scan()
    assert (scan.offers["m"].config.max_batch_size, scan.settling) == (2, {"m"})
    clock.s += scan.wait_s + 0.001
    assert (only(scanner).config.max_batch_size, scanner.scan().settling) == (4, frozenset())
    shutil.rmtree(repository.path / "m")
    assert scanner.scan().settling == {"m"}, "it may be between two renames"


def test_a_file_that_never_becomes_whole_is_offered_after_a_while_for_the_loader_to_say_why(
    repository, scanner, clock
):
    clock.ahead_s = 0
    repository.put("m", content=b"not a model")
    scanner.scan()
    clock.s += 1.1
    scan = scanner.scan()
    assert scan.offers["m"].unsettled == {1}
    clock.s += scan.wait_s + 0.001
    assert set(only(scanner).versions) == {1}


def test_a_version_that_is_moved_in_is_offered_at_once(staging, repository, scanner, clock):
    repository.put("m", 1)
    scanner.scan()
    clock.ahead_s = 0
    staged = staging.put("m", 2)
    time.sleep(TICK_S)
    staged.rename(repository.path / "m/2")
    assert set(only(scanner).versions) == {2}


def test_a_model_that_is_moved_in_is_offered_at_once(staging, repository, scanner, clock):
    clock.ahead_s = 0
    staging.put("m", 1, config="max_batch_size: 2")
    time.sleep(TICK_S)
    (staging.path / "m").rename(repository.path / "m")
    assert set(only(scanner).versions) == {1}


def test_a_version_replaced_by_two_renames_is_never_missing(repository, staging, scanner, other_bytes):
    folder = repository.put("m")
    before = only(scanner)
    staged = staging.put("m", content=other_bytes)
    folder.rename(staging.path / "old")
    between = only(scanner)
    assert between.unsettled == {1}
    time.sleep(TICK_S)
    staged.rename(folder)
    assert only(scanner).versions[1].fingerprint != before.versions[1].fingerprint


def test_a_version_or_a_model_that_stays_away_is_no_longer_offered(repository, scanner, clock):
    repository.put("m", 1, config="version_policy { all {} }")
    repository.put("m", 2)
    repository.put("other")
    scanner.scan()
    shutil.rmtree(repository.path / "m/2")
    shutil.rmtree(repository.path / "other")
    offers = scanner.scan().offers
    assert offers["m"].unsettled == {2}
    assert set(offers) == {"m", "other"}
    clock.s += 1.1
    offers = scanner.scan().offers
    assert (set(offers), set(offers["m"].versions), offers["m"].unsettled) == ({"m"}, {1}, set())


def test_a_configuration_that_is_being_written_is_no_error_until_it_rests(repository, scanner, clock):
    repository.put("m", config="max_batch_size: 1")
    before = only(scanner)
    (repository.path / "m/config.pbtxt").write_text("max_batch_size: ")
    assert only(scanner) is before
    clock.s += 1.1
    assert "m/config.pbtxt:1" in only(scanner).problem


def test_a_repository_that_vanishes_keeps_what_it_offered_and_says_so_once(repository, scanner, clock):
    repository.put("m")
    before = scanner.scan().offers
    away = repository.path.rename(repository.path.with_name("away"))
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            clock.s += 60
            assert scanner.scan().offers == before
        repository.path.mkdir()  # the mount point without its share
        assert scanner.scan().offers == before
        repository.path.rmdir()
        away.rename(repository.path)
        assert scanner.scan().offers == before
    assert [entry["event"] for entry in logs] == ["repository_unavailable"] * 2 + ["repository_back"]


def test_a_repository_that_is_emptied_is_empty(repository, scanner, clock):
    repository.put("m")
    scanner.scan()
    shutil.rmtree(repository.path / "m")
    scanner.scan()
    clock.s += 1.1
    assert scanner.scan().offers == {}


def test_a_repository_that_is_not_there_yet_is_found_when_it_comes(tmp_path, repository, scanner):
    repository.path.rmdir()
    assert scanner.scan().offers == {}
    repository.put("m")
    assert set(only(scanner).versions) == {1}


def test_a_repository_that_may_only_be_read_is_offered_like_any(repository, scanner):
    repository.put("m")
    for path in (repository.path, *repository.path.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert set(only(scanner).versions) == {1}
    finally:
        for path in (repository.path, *repository.path.rglob("*")):
            path.chmod(0o755)


def test_fields_that_nothing_acts_on_are_warned_of_once(repository, scanner):
    repository.put("m", config="optimization { eager_batching: true }")
    with structlog.testing.capture_logs() as logs:
        scanner.scan()
        scanner.scan()
    assert logs == [
        {
            "event": "config_fields_not_used",
            "log_level": "warning",
            "model": "m",
            "fields": ["optimization.eager_batching"],
        }
    ]


def test_a_thousand_models_are_scanned_again_in_well_under_a_second(repository, clock, record_property):
    content = b"x"
    for at in range(1000):
        repository.put(f"m{at}", content=content, config="max_batch_size: 8")
    scanner = Scanner([repository.path], clock=clock.monotonic, wall_clock=clock.wall)
    began = time.perf_counter()
    first = scanner.scan()
    first_s = time.perf_counter() - began
    began = time.perf_counter()
    second = scanner.scan()
    again_s = time.perf_counter() - began
    record_property("first_s", first_s)
    record_property("again_s", again_s)
    print(f"1000 models: first scan {first_s:.2f} s, again {again_s:.2f} s")
    assert len(first.offers) == 1000
    assert second.offers == first.offers
    assert again_s < 1.0


def test_versions_that_are_named_are_offered_whatever_the_policy_says(scanner, repository):
    for version in (1, 2, 3):
        repository.put("m", version, config="version_policy { latest { num_versions: 1 } }")
    offer = scanner.scan({"m": frozenset({1, 2, 9})}).offers["m"]
    assert (set(offer.versions), set(offer.on_disk), offer.one_by_one) == ({1, 2}, {1, 2, 3}, True)
    assert offer.config.version_policy == VersionPolicy(latest=1)

    offer = scanner.scan().offers["m"]
    assert (set(offer.versions), offer.one_by_one) == ({3}, False)


def test_naming_the_versions_of_one_model_leaves_the_others_to_their_policy(scanner, repository):
    for model in ("m", "n"):
        repository.put(model, 1)
        repository.put(model, 2)
    offers = scanner.scan({"m": frozenset()}).offers
    assert (set(offers["m"].versions), set(offers["n"].versions)) == (set(), {2})


def test_a_named_version_without_a_model_is_offered_as_broken(scanner, repository):
    repository.put("m", 2)
    (repository.path / "m" / "1").mkdir()
    offer = scanner.scan({"m": frozenset({1, 2})}).offers["m"]
    assert (set(offer.versions), set(offer.broken)) == ({2}, {1})
