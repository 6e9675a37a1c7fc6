"""Which runtime opens a file, and what is said when none can."""

import subprocess
import sys
import textwrap

import pytest

from runtimes.errors import ModelBroken
from runtimes.opening import open_session, platform_of
from runtimes.session import ModelFile
from tests.runtimes.models import onnx_mlp, torch_mlp

WITHOUT = """
import sys
from pathlib import Path

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)

sys.meta_path.insert(0, Missing())
from runtimes.device import Device
from runtimes.errors import RuntimeFault
from runtimes.opening import open_session
from runtimes.session import ModelFile
from runtimes.tensors import TensorSpec
try:
    open_session(
        ModelFile(
            path=Path({path!r}),
            device=Device({device!r}),
            inputs=(TensorSpec("x", "FP32", (-1, 64)),),
            outputs=(TensorSpec("y", "FP32", (-1, 10)),),
        )
    )
    print("opened")
except RuntimeFault as fault:
    print(type(fault).__name__, fault)
print(sorted({{"torch", "onnxruntime"}} & sys.modules.keys()))
"""


def said_without(missing: set[str], model: ModelFile, device: str = "cpu") -> str:
    code = textwrap.dedent(WITHOUT.format(missing=missing, path=str(model.path), device=device))
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("name", "platform"),
    [
        ("model.onnx", "onnxruntime_onnx"),
        ("model.pt", "pytorch_libtorch"),
        ("net.PTH", "pytorch_libtorch"),
        ("model.py", "python"),
        ("model.sleep", "sleeping"),
        ("model.bin", ""),
        ("model", ""),
    ],
)
def test_the_suffix_tells_the_platform(name, platform):
    assert platform_of(name) == platform


def test_a_model_in_python_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "model.py").write_text("x = 1")
    with pytest.raises(
        ModelBroken, match=r"model\.py is a model in Python, which this server cannot serve yet"
    ):
        open_session(ModelFile(path=tmp_path / "model.py"))


def test_a_file_of_no_known_kind_is_refused_with_the_names_to_use(tmp_path):
    (tmp_path / "weights.bin").write_text("x")
    with pytest.raises(ModelBroken, match=r"name it model\.onnx or model\.pt"):
        open_session(ModelFile(path=tmp_path / "weights.bin"))


def test_a_platform_that_nothing_here_serves_is_named(tmp_path):
    (tmp_path / "model.plan").write_text("x")
    with pytest.raises(ModelBroken, match="'tensorrt_plan'"):
        open_session(ModelFile(path=tmp_path / "model.plan", platform="tensorrt_plan"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelBroken, match=r"there is no file model\.onnx"):
        open_session(ModelFile(path=tmp_path / "model.onnx"))


def test_without_onnxruntime_the_extra_to_install_is_named(tmp_path):
    said = said_without({"onnxruntime"}, onnx_mlp(tmp_path))
    assert "RuntimeMissing" in said
    assert "pip install 'tercet[cpu]'" in said


def test_without_torch_the_extra_to_install_is_named(tmp_path):
    said = said_without({"torch"}, torch_mlp(tmp_path))
    assert "RuntimeMissing" in said
    assert "pip install 'tercet[torch]'" in said


def test_an_onnx_model_is_served_without_torch_and_never_loads_it(tmp_path):
    assert said_without({"torch"}, onnx_mlp(tmp_path)).splitlines() == ["opened", "['onnxruntime']"]


def test_a_torchscript_model_is_served_without_onnxruntime_and_never_loads_it(tmp_path):
    assert said_without({"onnxruntime"}, torch_mlp(tmp_path)).splitlines() == ["opened", "['torch']"]


def test_a_device_that_the_installed_package_cannot_use_is_refused_in_a_sentence(tmp_path):
    import onnxruntime
    import torch

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        said = said_without(set(), onnx_mlp(tmp_path), "cuda")
        assert "RuntimeMissing" in said
        assert "pip install 'tercet[gpu]'" in said
    if torch.version.cuda is None:
        said = said_without(set(), torch_mlp(tmp_path), "cuda")
        assert "RuntimeMissing" in said
        assert "built without CUDA" in said
