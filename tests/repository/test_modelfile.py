"""Choosing the file that the runtime opens."""

import pytest

from server.domain.configuration import Platform
from server.repository.modelfile import NoModelFile, choose_file


@pytest.mark.parametrize(
    ("names", "platform", "default", "chosen"),
    [
        (["model.onnx", "pre.py"], None, "", "model.onnx"),
        (["model.pt"], Platform.TORCHSCRIPT, "", "model.pt"),
        (["model.py", "helper.py"], None, "", "model.py"),
        (["model.onnx", "model.pt"], Platform.TORCHSCRIPT, "", "model.pt"),
        (["net.onnx", "pre.py", "weights.bin"], None, "", "net.onnx"),
        (["a.onnx", "b.onnx"], None, "b.onnx", "b.onnx"),
        (["model.onnx", "other.onnx"], None, "", "model.onnx"),
        (["weights"], Platform.ONNX, "weights", "weights"),
        (["model.sleep"], None, "", "model.sleep"),
        (["parts/x.onnx", "model.pt"], None, "", "model.pt"),
    ],
)
def test_the_file_is_the_one_configured_or_of_the_usual_name_or_the_only_one(
    names: list[str], platform: Platform | None, default: str, chosen: str
):
    assert choose_file(names, platform, default) == chosen


@pytest.mark.parametrize(
    ("names", "platform", "default", "said"),
    [
        ([], None, "", "holds no model.onnx or model.pt or model.py$"),
        ([], Platform.SLEEPING, "", "holds no model.sleep"),
        (["pre.py"], None, "", "holds no"),
        (["a.onnx", "b.onnx"], None, "", "holds a.onnx and b.onnx; name one"),
        (["model.onnx", "model.pt"], None, "", "holds model.onnx and model.pt; name one"),
        (["model.onnx"], None, "net.onnx", "holds no net.onnx, which default_model_filename names"),
        (["model.pt"], Platform.ONNX, "", "holds no model.onnx, though it holds model.pt"),
        (["model.pt"], Platform.ONNX, "model.pt", "configuration says onnxruntime_onnx"),
        (["weights"], None, "weights", "does not tell its platform"),
    ],
)
def test_a_folder_without_one_clear_file_is_refused_in_a_sentence(
    names: list[str], platform: Platform | None, default: str, said: str
):
    with pytest.raises(NoModelFile, match=said):
        choose_file(names, platform, default)
