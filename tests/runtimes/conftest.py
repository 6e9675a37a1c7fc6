import pytest

from runtimes.device import cuda_devices


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of CUDA run wherever a device is, and are deselected elsewhere."""
    if cuda_devices("onnxruntime_onnx") and cuda_devices("pytorch_libtorch"):
        return
    without = [item for item in items if item.get_closest_marker("cuda")]
    if without:
        config.hook.pytest_deselected(items=without)
        items[:] = [item for item in items if item not in without]
