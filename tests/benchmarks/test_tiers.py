"""The promises of tiers, and what is measured of them."""

import numpy as np
import onnx

from benchmarks.findings import verdicts
from benchmarks.tiers.aims import AIMS
from benchmarks.tiers.models import lay_identity, lay_photos, one_file, photo
from runtimes.code import Context, open_pre
from server.lifecycle.part import Part


def test_every_promise_has_one_line_whether_it_was_measured_or_not():
    lines = list(verdicts(AIMS, {"pre processes": 1.9, "digits share": 0.5}))
    assert len(lines) == len(AIMS) == len(set(lines))
    assert [line for line in lines if line.endswith(" met")] == [
        line for line in lines if line.startswith("pre of 20 ms")
    ]
    assert sum("falls short" in line for line in lines) == 1
    assert sum("not measured" in line for line in lines) == len(AIMS) - 2


def test_the_code_of_the_photos_reads_a_file_as_its_network_wants_it(tmp_path):
    lay_photos(tmp_path)
    version = tmp_path / "photos" / "1"
    context = Context(model="photos", version=1, directory=version, parameters={})
    code = Part(open_pre(version / "pre.py", context), "photos", 1, "pre")
    image = code.run(one_file("FILE", photo()), "", {}, 0)["INPUT"]
    assert (image.shape, image.dtype) == ((1, 3, 224, 224), np.float32)
    assert -1 <= image.min() < image.max() <= 1


def test_the_payload_of_the_copies_is_4_mib(tmp_path):
    lay_identity(tmp_path)
    model = onnx.load(tmp_path / "identity" / "1" / "model.onnx")
    assert model.graph.input[0].type.tensor_type.shape.dim[1].dim_value * 4 == 4 * 2**20
