"""The promises of a server over time and size, and what is served while they are measured."""

from benchmarks.findings import verdicts
from benchmarks.models import MODELS
from benchmarks.steady.__main__ import MEASURE
from benchmarks.steady.aims import AIMS
from benchmarks.steady.crowd import lay_crowd


def test_every_promise_has_one_line_and_its_aim():
    lines = list(verdicts(AIMS, {"start s": 1.2, "idle share": 0.02, "models grpc": 1.15}))
    assert len(lines) == len(AIMS) == len(set(lines)) == 8
    assert [line.split()[0] for line in lines if line.endswith(" met")] == ["start", "tiny,"]
    assert [line.split()[0] for line in lines if line.endswith("falls short")] == ["idle,"]
    assert set(MEASURE) >= {"start", "idle", "clients", "models", "minutes"}


def test_a_crowd_is_the_model_and_copies_of_it_under_names_of_their_own(tmp_path):
    lay_crowd(tmp_path / "models", 3)
    names = sorted(folder.name for folder in (tmp_path / "models").iterdir())
    assert names == ["tiny", "tiny_1", "tiny_2"]
    for name in names:
        assert f'name: "{name}"' in (tmp_path / "models" / name / "config.pbtxt").read_text()
        assert (tmp_path / "models" / name / "1" / "model.onnx").is_file()
    assert MODELS["tiny"].row()
