"""Which devices there are: CUDA's own rule for what is visible, and nothing imported to find out."""

import subprocess
import sys

import pytest

from runtimes.device import CPU, Device, visible_count


def test_a_device_is_written_as_torch_writes_it():
    assert (str(CPU), str(Device("cuda", 1))) == ("cpu", "cuda:1")


@pytest.mark.parametrize(
    ("installed", "visible", "count"),
    [
        (4, None, 4),
        (4, "", 0),
        (4, "-1", 0),
        (4, "0,2", 2),
        (4, " 1 , 3 ", 2),
        (2, "0,5,1", 1),
        (4, "GPU-8932f937-d72c", 1),
        (4, "NoDevFiles", 0),
        (0, None, 0),
    ],
)
def test_the_list_of_visible_devices_ends_before_the_first_that_is_none(installed, visible, count):
    assert visible_count(installed, visible) == count


def test_looking_for_devices_loads_no_runtime():
    code = (
        "import sys\nfrom runtimes.device import cuda_devices\n"
        "cuda_devices('onnxruntime_onnx'), cuda_devices('pytorch_libtorch')\n"
        "print({'torch', 'onnxruntime'} & sys.modules.keys())"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said.strip() == "set()"
