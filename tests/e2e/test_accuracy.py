"""The sample models answer through the server as well as they were trained."""

import asyncio

import httpx
import numpy as np
import pytest

from model_repository.heldout import held_out
from tests.e2e.golden import EXAMPLES, array, golden
from tests.server_process import Server


@pytest.mark.parametrize("path", EXAMPLES)
def test_a_golden_example_posted_as_it_is_written_gets_its_golden_answer(server: Server, path: str):
    example = golden(path)
    answer = server.client.post(
        f"/v2/models/{example.model}/versions/{example.version}/infer", json=example.request
    )
    assert answer.status_code == 200
    told = answer.json()
    assert (told["model_name"], told["model_version"]) == (example.model, example.version)
    found = {output["name"]: array(output) for output in told["outputs"]}
    assert found.keys() == example.outputs.keys()
    for name, expected in example.outputs.items():
        np.testing.assert_allclose(found[name], expected, rtol=example.tolerance, atol=example.tolerance)


@pytest.mark.parametrize("version", ["digits/versions/1", "digits/versions/2", "digits_onnx/versions/1"])
async def test_of_100_held_out_images_posted_as_files_97_are_read_rightly(server: Server, version: str):
    digits = held_out()
    limits = httpx.Limits(max_connections=16)
    async with httpx.AsyncClient(base_url=f"http://{server.http}", limits=limits, timeout=30) as client:
        answers = await asyncio.gather(
            *(
                client.post(
                    f"/v2/models/{version}/predict",
                    content=digit.png,
                    headers={"Content-Type": "image/png"},
                )
                for digit in digits
            )
        )
    read = [answer.json()["digit"] for answer in answers]
    assert np.mean([found == digit.label for found, digit in zip(read, digits, strict=True)]) >= 0.97
