"""`POST /v2/models/NAME/predict`: a file or a business object in, plain JSON out."""

import base64
import io
from typing import Any

import pytest
from PIL import Image

from tests.e2e.golden import golden
from tests.server_process import Server

MEASURED = golden("iris/1/examples/one_of_each.json").inputs["measurements"].tolist()
PATIENTS = golden("diabetes/1/examples/two_patients.json")
PATIENT = {name: column[0, 0].item() for name, column in PATIENTS.inputs.items()}


def jpeg(png: bytes) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(png)).resize((64, 64), Image.Resampling.NEAREST).save(file, "JPEG")
    return file.getvalue()


# Files


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("digits", "image/png"),
        ("digits", "image/jpeg"),
        ("digits/versions/1", "image/png"),
        ("digits_onnx", "image/jpeg"),
        ("digits_onnx", "application/octet-stream"),
    ],
)
def test_a_file_is_the_whole_question(server: Server, seven: bytes, version: str, kind: str):
    file = jpeg(seven) if kind == "image/jpeg" else seven
    answer = server.client.post(f"/v2/models/{version}/predict", content=file, headers={"Content-Type": kind})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert told.keys() == {"digit", "probability"}
    assert told["digit"] == 7
    assert 0.9 < told["probability"] <= 1


def test_a_file_that_is_no_image_is_refused_by_its_row(server: Server):
    answer = server.client.post(
        "/v2/models/digits/predict", content=b"seven", headers={"Content-Type": "image/png"}
    )
    assert answer.status_code == 400
    assert answer.json() == {"error": "row 0 of IMAGE is not a readable PNG or JPEG file"}


def test_a_file_for_a_model_that_takes_none_is_refused(server: Server, seven: bytes):
    answer = server.client.post(
        "/v2/models/iris/predict", content=seven, headers={"Content-Type": "image/png"}
    )
    assert answer.status_code == 400
    assert "model 'iris' takes 'measurements' (FP32 [-1,4])" in answer.json()["error"]


# Plain objects


def test_an_object_is_answered_by_an_object(server: Server):
    answer = server.client.post("/v2/models/iris/predict", json={"measurements": MEASURED[1]})
    assert answer.json()["label"] == 1
    assert len(answer.json()["probabilities"]) == 3


def test_every_field_of_a_business_object_is_an_input(server: Server):
    answer = server.client.post("/v2/models/diabetes/predict", json=PATIENT)
    assert answer.json() == {"progression": pytest.approx(PATIENTS.outputs["progression"][0, 0], rel=1e-4)}


def test_the_one_input_of_a_model_needs_no_name(server: Server):
    assert server.client.post("/v2/models/iris/predict", json=MEASURED[2]).json()["label"] == 2


@pytest.mark.parametrize("wrapped", [False, True], ids=["a list", "instances"])
def test_a_list_of_objects_is_answered_by_a_list(server: Server, wrapped: bool):
    rows: list[Any] = [{"measurements": row} for row in MEASURED]
    answer = server.client.post("/v2/models/iris/predict", json={"instances": rows} if wrapped else rows)
    assert [row["label"] for row in answer.json()] == [0, 1, 2]


def test_a_list_of_one_is_answered_by_a_list_of_one(server: Server):
    assert len(server.client.post("/v2/models/diabetes/predict", json=[PATIENT]).json()) == 1


def test_files_may_be_rows_of_json_in_base64(server: Server, seven: bytes):
    row = {"IMAGE": {"b64": base64.b64encode(seven).decode()}}
    answer = server.client.post("/v2/models/digits/predict", json=[row, row])
    assert [told["digit"] for told in answer.json()] == [7, 7]


def test_curl_without_a_content_type_is_understood(server: Server):
    answer = server.client.post(
        "/v2/models/iris/predict",
        content=b'{"measurements": [5.1, 3.5, 1.4, 0.2]}',
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.json()["label"] == 0


@pytest.mark.parametrize(
    ("model", "body", "sentence"),
    [
        (
            "iris",
            [{"measurements": MEASURED[0]}, {"measurements": [1, 2, 3]}],
            "row 1: field 'measurements' of model 'iris' must be a list of shape [4], but is of shape [3]",
        ),
        (
            "iris",
            {"instances": [{"measurements": MEASURED[0]}, {"measurments": MEASURED[0]}]},
            "row 1: 'measurments' is no field of model 'iris', which takes 'measurements'",
        ),
        (
            "diabetes",
            [PATIENT, PATIENT, {**PATIENT, "bmi": "high"}],
            "row 2: field 'bmi' of model 'diabetes' is FP32, but element 0 of its data is a string: 'high'",
        ),
        (
            "diabetes",
            [PATIENT, {name: PATIENT[name] for name in PATIENT if name != "glu"}],
            "row 1: field 'glu' is missing; model 'diabetes' takes "
            + ", ".join(repr(name) for name in PATIENT),
        ),
        (
            "digits",
            [{"IMAGE": "seven"}],
            "row 0 of IMAGE is not a readable PNG or JPEG file",
        ),
        ("iris", {"instances": []}, "the list of objects for model 'iris' is empty"),
    ],
)
def test_wrong_content_is_refused_in_a_sentence_that_names_the_row_and_the_field(
    server: Server, model: str, body: Any, sentence: str
):
    answer = server.client.post(f"/v2/models/{model}/predict", json=body)
    assert answer.status_code == 400
    assert answer.json() == {"error": sentence}


def test_one_bad_file_among_good_ones_is_named_by_its_row(server: Server, seven: bytes):
    good = {"IMAGE": {"b64": base64.b64encode(seven).decode()}}
    answer = server.client.post("/v2/models/digits/predict", json=[good, good, {"IMAGE": "eight"}])
    assert answer.status_code == 400
    assert answer.json() == {"error": "row 2 of IMAGE is not a readable PNG or JPEG file"}


def test_an_unknown_model_or_another_verb_is_refused_in_the_one_shape(server: Server):
    unknown = server.client.post("/v2/models/nobody/predict", json={})
    assert (unknown.status_code, unknown.json()) == (
        404,
        {"error": "Request for unknown model: 'nobody' is not found"},
    )
    fetched = server.client.get("/v2/models/iris/predict")
    assert (fetched.status_code, fetched.headers["allow"]) == (405, "POST")
    assert fetched.json() == {"error": "GET is not allowed on /v2/models/iris/predict; use POST"}
