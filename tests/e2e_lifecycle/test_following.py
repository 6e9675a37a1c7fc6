"""A server that follows its repository: what people do to the folders, and what clients see of it."""

import os
import time
from collections.abc import Iterator

import pytest

from tests.e2e_lifecycle.asking import answer, asked, events, loads
from tests.e2e_lifecycle.repository import Repository
from tests.lifecycle.shelf import plus
from tests.server_process import Server, running

SETTLE_S = 0.2
OPTIONS = ("--log-format=json", "--access-log=false")
QUICK = (*OPTIONS, f"--repository-settle-secs={SETTLE_S}")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    repository = Repository(tmp_path_factory.mktemp("following"))
    repository.write("steady")
    return repository


@pytest.fixture(scope="module")
def server(repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("log") / "log", repository.path, options=QUICK) as server:
        yield server


@pytest.fixture(autouse=True)
def _steady(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever happens beside it, the model that nobody touches answers, and is loaded once."""
    yield
    if "server" in request.fixturenames:
        server = request.getfixturevalue("server")
        assert (answer(server, "steady"), loads(server, "steady"), server.ready()) == (1, 1, True)


def test_a_model_that_is_moved_in_by_rename_is_served_at_once(tmp_path):
    repository = Repository(tmp_path)
    patient = (*OPTIONS, "--repository-settle-secs=60", "--repository-poll-secs=60")
    with running(tmp_path / "log", repository.path, options=patient) as server:
        repository.move_in("new")
        server.until(lambda: answer(server, "new") == 1, within_s=20)
        repository.move_in("new", 2)
        server.until(lambda: answer(server, "new") == 2, within_s=20)


def test_a_model_that_is_copied_slowly_is_never_loaded_half(server, repository):
    content = plus(7)
    folder = repository.folder("copied")
    folder.mkdir(parents=True)
    piece = len(content) // 4 + 1
    with (folder / "model.onnx").open("wb") as file:
        for start in range(0, len(content), piece):
            assert loads(server, "copied") == 0
            file.write(content[start : start + piece])
            file.flush()
            time.sleep(2 * SETTLE_S)  # a copy that stalls for longer than files must lie still
    server.until(lambda: answer(server, "copied") == 7)
    server.until(lambda: loads(server, "copied") == 1)
    assert events(server, "version_unavailable", model="copied") == []


def test_a_new_version_that_is_copied_slowly_leaves_the_old_one_serving(server, repository):
    repository.move_in("grown", 1)
    server.until(lambda: answer(server, "grown") == 1)
    content = plus(2)
    folder = repository.folder("grown", 2)
    folder.mkdir()
    with (folder / "model.onnx").open("wb") as file:
        file.write(content[:-9])
        file.flush()
        time.sleep(2 * SETTLE_S)
        assert answer(server, "grown") == 1
        file.write(content[-9:])
    server.until(lambda: answer(server, "grown") == 2 and loads(server, "grown") == 2)


def test_a_broken_model_is_told_in_the_index_and_the_log_and_serves_once_it_is_mended(server, repository):
    repository.move_in("broken", content=b"\x08\x09this is no model")
    server.until(lambda: ("broken", "1") in server.index() and server.index()["broken", "1"][0] != "LOADING")
    state, reason = server.index()["broken", "1"]
    assert state == "UNAVAILABLE"
    assert reason.startswith("model.onnx cannot be loaded")
    server.until(lambda: events(server, "version_unavailable", model="broken") != [])
    (line,) = events(server, "version_unavailable", model="broken")
    assert (line["level"], line["reason"]) == ("error", reason)
    refused = asked(server, "broken")
    assert (refused.status_code, refused.json()["error"]) == (
        404,
        "Request for unknown model: 'broken' has no available versions",
    )
    repository.replace_file("broken", 1, plus(5))
    server.until(lambda: answer(server, "broken") == 5)
    assert server.index()["broken", "1"] == ("READY", "")


def test_a_version_folder_without_a_model_is_told_and_serves_once_the_model_is_there(server, repository):
    repository.folder("hollow").mkdir(parents=True)
    server.until(lambda: server.index().get(("hollow", "1"), ("", ""))[0] == "UNAVAILABLE")
    assert "holds no model.onnx or model.pt" in server.index()["hollow", "1"][1]
    repository.write("hollow", 1, plus(6))
    server.until(lambda: answer(server, "hollow") == 6)


def test_touched_files_notes_and_what_editors_leave_behind_reload_nothing(server, repository):
    repository.move_in("untouched", 1)
    server.until(lambda: answer(server, "untouched") == 1)
    folder = repository.folder("untouched")
    os.utime(folder / "model.onnx")
    for name in (".model.onnx.swp", "README.md", "model.onnx~"):
        (folder / name).write_text("a note")
        (folder.parent / name).write_text("a note")
    repository.move_in("after_it", 1)
    server.until(lambda: answer(server, "after_it") == 1)
    assert loads(server, "untouched") == 1


def test_a_changed_version_policy_is_followed(server, repository):
    for version in (1, 2, 3):
        repository.write("chosen", version)

    def serving() -> list[str]:
        lines = server.index().items()
        return [version for (model, version), (state, _) in lines if (model, state) == ("chosen", "READY")]

    server.until(lambda: serving() == ["3"])
    repository.configure("chosen", "version_policy { all {} }")
    server.until(lambda: serving() == ["1", "2", "3"])
    assert [answer(server, "chosen", version) for version in ("1", "2", "3", "")] == [1, 2, 3, 3]
    repository.configure("chosen", "version_policy { specific { versions: [ 1 ] } }")
    server.until(lambda: serving() == ["1"])
    assert answer(server, "chosen") == 1
    server.until(lambda: server.index()["chosen", "3"] == ("UNAVAILABLE", "unloaded"))


def test_a_configuration_that_breaks_while_its_model_serves_is_told_and_changes_nothing(server, repository):
    repository.move_in("edited", 1)
    server.until(lambda: answer(server, "edited") == 1)
    repository.configure("edited", "max_batchsize: 8")
    server.until(lambda: server.index()["edited", "1"][1] != "")
    state, reason = server.index()["edited", "1"]
    assert state == "READY"
    assert reason.startswith("serving what it was before: edited/config.pbtxt")
    assert "max_batchsize" in reason
    assert answer(server, "edited") == 1
    repository.configure("edited", "max_batch_size: 8")
    server.until(lambda: server.index()["edited", "1"] == ("READY", ""))
    assert server.client.get("/v2/models/edited/config").json()["max_batch_size"] == 8


def test_a_version_and_a_model_that_are_removed_are_gone(server, repository):
    repository.write("leaving", 1)
    repository.write("leaving", 2)
    repository.configure("leaving", "version_policy { all {} }")
    server.until(lambda: answer(server, "leaving", "1") == 1 and answer(server, "leaving", "2") == 2)
    repository.move_out("leaving", 2)
    server.until(lambda: ("leaving", "2") not in server.index())
    assert answer(server, "leaving") == 1
    assert asked(server, "leaving", "2").status_code == 404
    repository.move_out("leaving")
    server.until(lambda: asked(server, "leaving").status_code == 404)
    assert asked(server, "leaving").json()["error"] == "Request for unknown model: 'leaving' is not found"
    assert not [model for model, _ in server.index() if model == "leaving"]


def test_more_instances_or_fewer_need_no_load_and_the_counts_go_on(server, repository):
    repository.write("resized", 1, config="instance_group { kind: KIND_CPU count: 1 }")
    server.until(lambda: answer(server, "resized") == 1)
    for count in (3, 2):
        told = server.client.get("/v2/models/resized/stats").json()["model_stats"][0]["inference_count"]
        repository.configure("resized", f"instance_group {{ kind: KIND_CPU count: {count} }}")
        server.until(lambda count=count: _instances(server, "resized") == count)
        assert answer(server, "resized") == 1
        (stats,) = server.client.get("/v2/models/resized/stats").json()["model_stats"]
        assert stats["inference_count"] == told + 1
    server.until(lambda: len(events(server, "version_resized", model="resized")) == 2)
    assert [line["instances"] for line in events(server, "version_resized", model="resized")] == [3, 2]
    assert loads(server, "resized") == 1
    repository.configure("resized", "max_batch_size: 2 instance_group { kind: KIND_CPU count: 2 }")
    server.until(lambda: loads(server, "resized") == 2)


def _instances(server: Server, model: str) -> int:
    (group,) = server.client.get(f"/v2/models/{model}/config").json()["instance_group"]
    count: int = group["count"]
    return count


def test_torchscript_that_nobody_describes_is_told_the_configuration_to_write_and_serves_with_it(
    server, repository
):
    from tests.runtimes.models import Identity, script

    folder = repository.folder("scripted")
    folder.mkdir(parents=True)
    script(folder, Identity())
    server.until(lambda: server.index().get(("scripted", "1"), ("", ""))[0] == "UNAVAILABLE", within_s=60)
    reason = server.index()["scripted", "1"][1]
    assert "golden example" in reason
    assert 'max_batch_size: 8 input [ { name: "x" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] } ]' in reason
    shown = reason[reason.index("max_batch_size") :]
    repository.configure("scripted", shown.replace("3, 224, 224", "2"))
    server.until(lambda: answer(server, "scripted") == 0)


def test_a_name_in_two_repositories_is_unavailable_until_it_is_in_one(tmp_path):
    here, there = Repository(tmp_path / "here"), Repository(tmp_path / "there")
    here.write("shared", 1, plus(10))
    there.write("own", 1, plus(30))
    with running(tmp_path / "log", here.path, there.path, options=QUICK) as server:
        assert (answer(server, "shared"), answer(server, "own")) == (10, 30)
        there.move_in("shared", 1, plus(20))
        server.until(lambda: asked(server, "shared").status_code == 404)
        server.until(lambda: server.index()["shared", "1"][0] == "UNAVAILABLE")
        assert "is in more than one repository" in server.index()["shared", "1"][1]
        assert answer(server, "own") == 30
        here.move_out("shared")
        server.until(lambda: answer(server, "shared") == 20)
        assert server.index()["shared", "1"] == ("READY", "")


def test_a_name_in_two_repositories_at_the_start_keeps_the_server_from_being_ready(tmp_path):
    here, there = Repository(tmp_path / "here"), Repository(tmp_path / "there")
    here.write("shared")
    there.write("shared")
    there.write("own", 1, plus(30))
    with running(tmp_path / "log", here.path, there.path, options=QUICK, wait=False) as server:
        server.until(lambda: server.log.count("server_ready") == 1)
        assert not server.ready()
        assert answer(server, "own") == 30
        assert server.index()["shared", ""][0] == "UNAVAILABLE"
        there.move_out("shared")
        server.until(server.ready)
        assert answer(server, "shared") == 1
