"""The commands that ask a server how models came and went: `tercet versions`, `label` and `events`."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx
from rich.console import Console
from rich.table import Table

from server.app.client import ask, parser_of, server_of
from server.app.command import CommandFailed, UsageError

EVENTS = "/v2/repository/events"
LONGEST_SILENCE_S = 60.0
"""A stream that says nothing for so long, not even that it is there, is dead."""

AGAIN_S = 1.0


def versions(words: Sequence[str]) -> int:
    """Print what became of each version and content of a model."""
    parser = parser_of("versions", "Show what became of a model's versions and their contents.")
    parser.add_argument("model", metavar="MODEL")
    asked = parser.parse_args(words)
    with server_of(asked) as server:
        told = ask(server, "GET", f"{_path(asked.model)}/versions")["versions"]
    for each in told:
        print("\n    ".join(_became(each)))
    return 0


def _became(version: dict[str, Any]) -> Iterator[str]:
    """Of one content of a version: what it is, what it did, and why it left."""
    labels = f" [{', '.join(version['labels'])}]" if version["labels"] else ""
    since = f"{version['state']} since {_moment(version['since'])}"
    yield f"version {version['version']} {version['content'] or 'without content'}{labels} {since}"
    took = [
        f"{what} in {version[key]:.3f} s"
        for what, key in (("verified", "verified_s"), ("loaded", "loaded_s"))
        if key in version
    ]
    yield ", ".join([*took, f"{version['requests']} requests, {version['failures']} failed by it"])
    if "reason" in version:
        yield version["reason"]


def label(words: Sequence[str]) -> int:
    """Put labels on versions of a model, or show those that it has."""
    parser = parser_of("label", "Put labels on versions of a model. Without any, show those that there are.")
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument(
        "labels", metavar="LABEL=VERSION", nargs="*", help="such as canary=3; canary= takes it back"
    )
    asked = parser.parse_args(words)
    change = dict(_pin(each) for each in asked.labels)
    with server_of(asked) as server:
        path = f"{_path(asked.model)}/labels"
        if change:
            found = ask(server, "POST", path, json.dumps(change).encode(), "application/json")["labels"]
        else:
            found = ask(server, "GET", path)["labels"]
    table = Table("label", "version", "serves", "from")
    for name, each in found.items():
        table.add_row(name, each["version"], "yes" if each["serves"] else "no", each["from"])
    Console(highlight=False, markup=False).print(table)
    return 0


def _pin(written: str) -> tuple[str, int | None]:
    name, equals, number = written.partition("=")
    if not (name and equals) or (number and not (number.isascii() and number.isdigit())):
        raise UsageError(f"{written}: must be LABEL=VERSION, as in canary=3, or LABEL= to take it back")
    return name, int(number) if number else None


# events


def events(words: Sequence[str]) -> int:
    """Print what happened to models, a line each; with --follow, go on as it happens."""
    parser = parser_of("events", "Show what happened to models, the latest last.")
    parser.add_argument("--model", default="", help="of this model alone")
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="so many; default: %(default)s")
    parser.add_argument("--follow", action="store_true", help="go on as it happens, until interrupted")
    parser.add_argument("--json", action="store_true", help="print a JSON object for each")
    asked = parser.parse_args(words)
    only = f"&model={quote(asked.model, safe='')}" if asked.model else ""
    with server_of(asked) as server:
        page = ask(server, "GET", f"{EVENTS}?limit={asked.limit}{only}")
        for event in page["events"]:
            _print(event, asked.json)
        if asked.follow:
            for event in _followed(server, page["last"], only):
                _print(event, asked.json)
    return 0


def _followed(server: httpx.Client, since: int, only: str) -> Iterator[dict[str, Any]]:
    """Events after this number, without an end; a connection that is cut off is made anew."""
    while True:
        try:
            with server.stream(
                "GET",
                f"{EVENTS}?since={since}{only}",
                headers={"accept": "text/event-stream"},
                timeout=LONGEST_SILENCE_S,
            ) as answer:
                if answer.is_error:
                    answer.read()
                    raise CommandFailed(f"{answer.url} answered {answer.status_code}: {answer.text}")
                kind = ""
                for line in answer.iter_lines():
                    field, _, value = line.partition(": ")
                    if field == "event":
                        kind = value
                    elif field == "data" and kind == "missed":
                        print(f"tercet: events were missed: {value}", file=sys.stderr)
                    elif field == "data":
                        event = json.loads(value)
                        since = event["sequence"]
                        yield event
        except httpx.TransportError as error:
            print(f"tercet: the connection is lost ({error}), and made anew", file=sys.stderr)
        time.sleep(AGAIN_S)


def _print(event: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(event, ensure_ascii=False), flush=True)
        return
    took = f" after {event['duration_s']:.3f} s" if "duration_s" in event else ""
    version = f" version {event['version']}" if "version" in event else ""
    content = f" ({event['content']})" if "content" in event else ""
    why = f": {event['reason']}" if "reason" in event else ""
    print(
        f"{_moment(event['at'])} {event['event']:12} {event['model']}{version}{content}{took}{why}",
        flush=True,
    )


def _path(model: str) -> str:
    return f"/v2/repository/models/{quote(model, safe='')}"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
