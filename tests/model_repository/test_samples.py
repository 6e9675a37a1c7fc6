"""What the sample repository promises, proved on its files alone: no server, only their runtimes."""

import base64
import io
import json
import os
import runpy
import struct
import subprocess
import sys
import zlib
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from model_repository.heldout import held_out, trained_on

REPOSITORY = Path(__file__).parents[2] / "model_repository"
DIGITS = ["digits/1", "digits/2", "digits_onnx/1"]
EXAMPLES = [str(path.relative_to(REPOSITORY)) for path in sorted(REPOSITORY.glob("*/*/examples/*.json"))]

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


def run(version, inputs):
    """The model file of one version folder, and nothing around it."""
    if (version / "model.onnx").exists():
        session = onnxruntime.InferenceSession(version / "model.onnx", providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))
    model = torch.jit.load(version / "model.pt")
    with torch.inference_mode():
        return {"OUTPUT__0": model(torch.from_numpy(inputs["INPUT__0"])).numpy()}


def ask(version, inputs):
    """The whole way of a request through one version folder: pre.py, model and post.py, where it has them."""
    if (version / "pre.py").exists():
        inputs = runpy.run_path(version / "pre.py")["preprocess"](inputs)
    outputs = run(version, inputs)
    if (version / "post.py").exists():
        outputs = runpy.run_path(version / "post.py")["postprocess"](outputs)
    return outputs


def preprocess(*files):
    images = np.array([[file] for file in files], object).reshape(-1, 1)
    return runpy.run_path(REPOSITORY / "digits" / "1" / "pre.py")["preprocess"]({"IMAGE": images})["INPUT__0"]


def array(tensor):
    dtype = {"BYTES": object, "FP32": np.float32, "INT64": np.int64}[tensor["datatype"]]
    data = [base64.b64decode(value["b64"]) if dtype is object else value for value in tensor["data"]]
    return np.array(data, dtype).reshape(tensor["shape"])


def contents(repository):
    """A digest of every file that lies in a model's folder."""
    files = (path for path in repository.glob("*/**/*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(repository)): sha256(path.read_bytes()).hexdigest() for path in files}


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_header(width, height):
    """A PNG that declares its size and has no pixels."""

    def chunk(name, content):
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.fixture
def drawing():
    """A grey image, 16 by 16, of 8 by 8 squares in all shades."""
    shades = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    return Image.fromarray(shades).resize((16, 16), Image.Resampling.NEAREST)


# The files


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_golden_example_is_what_its_files_answer(example):
    golden = json.loads((REPOSITORY / example).read_text())
    request = {tensor["name"]: array(tensor) for tensor in golden["request"]["inputs"]}
    answer = ask((REPOSITORY / example).parents[1], request)
    expected = {tensor["name"]: array(tensor) for tensor in golden["response"]["outputs"]}
    assert answer.keys() == expected.keys()
    for name, tensor in expected.items():
        assert answer[name].dtype == tensor.dtype
        # iris's own label has no second dimension; a client sees the column that a server makes of it
        served = answer[name].reshape(tensor.shape)
        np.testing.assert_allclose(served, tensor, rtol=0, atol=golden["tolerance"])


def test_every_version_has_a_golden_example():
    versions = {path.parent for path in REPOSITORY.glob("*/*/model.*")}
    assert len(versions) == 5
    assert {(REPOSITORY / example).parents[1] for example in EXAMPLES} == versions


@pytest.mark.parametrize("version", DIGITS)
def test_clients_of_digits_send_and_get_what_pre_and_post_declare(version):
    golden = json.loads((REPOSITORY / version / "examples" / "zero_to_nine.json").read_text())
    declared = runpy.run_path(REPOSITORY / version / "pre.py")["INPUTS"]
    assert declared == [{"name": "IMAGE", "datatype": "BYTES", "shape": [-1, 1]}]
    declared += runpy.run_path(REPOSITORY / version / "post.py")["OUTPUTS"]
    seen = golden["request"]["inputs"] + golden["response"]["outputs"]
    assert [(tensor["name"], tensor["datatype"], tensor["shape"]) for tensor in seen] == [
        (tensor["name"], tensor["datatype"], [10, *tensor["shape"][1:]]) for tensor in declared
    ]


@pytest.mark.parametrize("file", ["pre.py", "post.py"])
def test_the_digits_versions_share_one_text(file):
    assert len({(REPOSITORY / version / file).read_text() for version in DIGITS}) == 1


def test_digits_onnx_is_version_2_of_digits():
    images = preprocess(*(digit.png for digit in held_out()))
    expected = run(REPOSITORY / "digits" / "2", {"INPUT__0": images})["OUTPUT__0"]
    logits = run(REPOSITORY / "digits_onnx" / "1", {"INPUT__0": images})["OUTPUT__0"]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)


def test_the_repository_is_small_enough_to_commit():
    sizes = [path.stat().st_size for path in REPOSITORY.rglob("*") if "__pycache__" not in path.parts]
    assert max(sizes) < 200_000
    assert sum(sizes) < 1_000_000


def test_no_model_file_tells_where_it_was_made():
    for path in REPOSITORY.glob("*/*/model.*"):
        assert b"site-packages" not in path.read_bytes(), path


def test_training_again_writes_the_same_bytes(tmp_path):
    """In a process of its own, with another hash seed; about 15 s."""
    subprocess.run(
        [sys.executable, REPOSITORY / "train.py", "--into", tmp_path],
        env=os.environ | {"PYTHONHASHSEED": "7"},
        check=True,
    )
    assert contents(tmp_path) == contents(REPOSITORY)


# Reading digits


@pytest.mark.parametrize("side", [8, 64])
@pytest.mark.parametrize("version", DIGITS)
def test_at_least_97_of_100_held_out_images_are_read_rightly(version, side):
    files, labels = zip(*held_out(side), strict=True)
    answer = ask(REPOSITORY / version, {"IMAGE": np.array(files, object).reshape(-1, 1)})
    assert np.mean(answer["digit"].ravel() == labels) >= 0.97


def test_no_held_out_image_was_trained_on():
    assert len(held_out()) == 360
    assert not {digit.png for digit in held_out()} & {digit.png for digit in trained_on()}


def test_a_probability_is_the_likeness_of_the_digit_among_all_ten():
    logits = np.full((2, 10), -2, np.float32)
    logits[0, 3] = logits[1, 8] = 1000
    logits[1, 4] = 1000
    answer = runpy.run_path(REPOSITORY / "digits" / "1" / "post.py")["postprocess"]({"OUTPUT__0": logits})
    np.testing.assert_array_equal(answer["digit"], [[3], [4]])
    np.testing.assert_array_equal(answer["probability"], np.array([[1], [0.5]], np.float32))


# Reading files


def test_a_jpeg_is_read_like_a_png():
    files, labels = zip(*held_out(64), strict=True)
    jpegs = [saved(Image.open(io.BytesIO(png)).convert("RGB"), "JPEG", quality=80) for png in files]
    np.testing.assert_allclose(preprocess(*jpegs), preprocess(*files), atol=0.05)
    answer = ask(REPOSITORY / "digits_onnx" / "1", {"IMAGE": np.array(jpegs, object).reshape(-1, 1)})
    assert np.mean(answer["digit"].ravel() == labels) >= 0.97


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA"])
def test_the_colour_mode_of_an_image_makes_no_difference(drawing, mode):
    expected = np.arange(64, dtype=np.float32).reshape(8, 8) * 4 / 255
    np.testing.assert_array_equal(preprocess(saved(drawing.convert(mode), "PNG"))[0, 0], expected)


def test_16_bit_grey_is_scaled_not_clipped(drawing):
    deep = Image.fromarray(np.asarray(drawing).astype(np.uint16) * 257)
    np.testing.assert_array_equal(preprocess(saved(deep, "PNG")), preprocess(saved(drawing, "PNG")))


def test_transparent_ground_is_dark_ground(drawing):
    drawing.putalpha(0)
    assert not preprocess(saved(drawing, "PNG")).any()


def test_rows_keep_their_order_and_their_own_sizes(drawing):
    files = [saved(drawing.resize((side, 2 * side), Image.Resampling.NEAREST), "PNG") for side in (8, 32)]
    files.append(saved(Image.new("1", (3, 5)), "PNG"))
    tensor = preprocess(*files)
    assert (tensor.shape, tensor.dtype) == ((3, 1, 8, 8), np.float32)
    np.testing.assert_array_equal(tensor[0], tensor[1])
    assert not tensor[2].any()


def test_no_rows_are_no_rows():
    assert preprocess().shape == (0, 1, 8, 8)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "gif", "not a file"])
def test_a_file_that_is_no_image_is_refused_by_its_row(drawing, damage):
    sound = saved(drawing, "PNG")
    broken = {
        "empty": b"",
        "text": b"seven",
        "cut": sound[: len(sound) // 2],
        "gif": saved(drawing, "GIF"),
        "not a file": 7,
    }
    with pytest.raises(ValueError, match=r"^row 2 of IMAGE is not a readable PNG or JPEG file$"):
        preprocess(sound, sound, broken[damage], sound)


@pytest.mark.parametrize("side", [4001, 20_000])
def test_an_image_of_too_many_pixels_is_refused_unread(drawing, side):
    with pytest.raises(ValueError, match=r"^row 1 of IMAGE has more than 16000000 pixels$"):
        preprocess(saved(drawing, "PNG"), png_header(side, side))
