"""A newcomer opens /docs, without the internet, finds the models and asks one."""

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.browser.conftest import HOST
from tests.server_process import SAMPLES, Server

pytestmark = pytest.mark.browser

MODELS = ("iris", "diabetes", "digits", "digits_onnx")


@pytest.fixture
def blocked() -> list[str]:
    """What the page asked of anybody but our server, and did not get."""
    return []


@pytest.fixture
def page(browser: Browser, server: Server, blocked: list[str]) -> Iterator[Page]:
    """The API page, open."""
    origin = f"http://{HOST}:{server.http.split(':')[1]}"

    def gate(route: Route) -> None:
        if route.request.url.startswith((f"{origin}/", "data:", "blob:")):
            route.continue_()
        else:
            blocked.append(route.request.url)
            route.abort()

    with browser.new_context() as context:
        context.route("**", gate)
        page = context.new_page()
        page.goto(f"{origin}/docs")
        yield page


def operation(page: Page, path: str) -> Locator:
    """The block of one path, opened."""
    block = page.locator(".opblock").filter(has=page.locator(f'[data-path="{path}"]'))
    block.locator(".opblock-summary").click()
    return block


def answer_to(block: Locator) -> object:
    """What the page shows once its button is pressed; the answer must be 200."""
    block.get_by_role("button", name="Execute").click()
    live = block.locator(".live-responses-table .response")
    expect(live.locator(".response-col_status")).to_have_text(re.compile("200"))
    return json.loads(live.locator(".response-col_description code").first.inner_text())


def test_every_model_is_shown_by_its_name(page: Page, blocked: list[str]):
    for model in MODELS:
        expect(page.locator(f'.opblock-tag[data-tag="{model}"]')).to_be_visible()
        expect(page.locator(f'[data-path="/v2/models/{model}/predict"]')).to_be_visible()
    assert blocked == []


def test_an_example_is_there_to_be_sent_and_its_answer_is_shown(page: Page, blocked: list[str]):
    answer = answer_to(operation(page, "/v2/models/iris/predict"))
    assert isinstance(answer, dict)
    assert answer["label"] == 0
    assert blocked == []


def test_a_file_can_be_chosen_and_sent(page: Page, blocked: list[str]):
    block = operation(page, "/v2/models/digits/predict")
    block.locator('input[type="file"]').set_input_files(SAMPLES / "digits" / "8.png")
    answer = answer_to(block)
    assert isinstance(answer, dict)
    assert answer["digit"] == 8
    assert blocked == []


def test_a_refusal_is_shown_in_its_words(page: Page):
    block = operation(page, "/v2/models/iris/predict")
    block.locator("textarea").fill('{"measurements": [1, 2, 3]}')
    block.get_by_role("button", name="Execute").click()
    live = block.locator(".live-responses-table .response")
    expect(live.locator(".response-col_status")).to_have_text(re.compile("400"))
    expect(live).to_contain_text("must be a list of shape [4], but is of shape [3]")
