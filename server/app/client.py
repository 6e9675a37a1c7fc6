"""Asking a server that runs, over HTTP, for the commands that do: their common options, and its answers."""

import argparse
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx

from server.app.command import CommandFailed


def parser_of(command: str, purpose: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"tercet {command}", description=purpose)
    parser.add_argument("--url", default="http://localhost:8000", help="the server; default: %(default)s")
    parser.add_argument("--key", default="", help="to show to it; default: what TERCET_KEY has")
    parser.add_argument("--ca-cert", metavar="FILE", help="who signs its certificate (PEM)")
    parser.add_argument("--timeout", type=float, default=60, metavar="SECS", help="default: %(default)s")
    return parser


def model_path(model: str, number: str = "") -> str:
    return f"/v2/models/{quote(model, safe='')}" + (f"/versions/{quote(number, safe='')}" if number else "")


@contextmanager
def server_of(asked: argparse.Namespace) -> Iterator[httpx.Client]:
    url = asked.url if "://" in asked.url else f"http://{asked.url}"
    key = asked.key or os.environ.get("TERCET_KEY", "")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        trusted = ssl.create_default_context(cafile=asked.ca_cert) if asked.ca_cert else True
    except (OSError, ssl.SSLError) as error:
        raise CommandFailed(f"--ca-cert={asked.ca_cert} cannot be used: {error}") from None
    try:
        with httpx.Client(base_url=url, timeout=asked.timeout, headers=headers, verify=trusted) as server:
            yield server
    except httpx.ConnectError as error:
        raise CommandFailed(f"no server answers at {url} ({error}); `tercet serve REPO` starts one") from None
    except httpx.TimeoutException:
        raise CommandFailed(f"{url} did not answer within {asked.timeout:g} seconds") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CommandFailed(f"asking {url} failed: {error}") from None


def ask(server: httpx.Client, verb: str, path: str, body: bytes = b"", media_type: str = "") -> Any:
    """The answer's JSON. Raises `CommandFailed` with the server's own sentence if it refuses."""
    headers = {"content-type": media_type} if media_type else {}
    response = server.request(verb, path, content=body, headers=headers)
    try:
        answer = response.json()
    except ValueError:
        raise CommandFailed(f"{response.url} answered {response.status_code}, and not in JSON") from None
    if response.is_error:
        sentence = answer.get("error") if isinstance(answer, dict) else None
        raise CommandFailed(sentence or f"{response.url} answered {response.status_code}: {answer}")
    return answer
