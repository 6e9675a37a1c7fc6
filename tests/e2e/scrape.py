"""What Prometheus would read from the metrics port."""

import re

import httpx

from tests.server_process import Server

_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")


def scrape(server: Server) -> list[tuple[str, dict[str, str], float]]:
    """Every sample as it is written: name, labels, value.

    The parser of prometheus_client would not do: it puts `_total` behind the names of counters.
    """
    return samples_of(server.metrics)


def samples_of(address: str) -> list[tuple[str, dict[str, str], float]]:
    """The same of whoever shows metrics there."""
    return samples_in(_text_of(address))


def samples_in(text: str) -> list[tuple[str, dict[str, str], float]]:
    return [(name, _labels(written), float(value)) for name, written, value in _SAMPLE.findall(text)]


def _labels(written: str) -> dict[str, str]:
    plain = {"n": "\n"}
    return {
        name: _ESCAPED.sub(lambda found: plain.get(found[1], found[1]), value)
        for name, value in _LABEL.findall(written)
    }


def metric(server: Server, name: str, **labels: str) -> float:
    """The one sample of that name with at least these labels."""
    of_that_name = "\n".join(
        line for line in _text_of(server.metrics).splitlines() if line.startswith((f"{name}{{", f"{name} "))
    )
    (value,) = [value for _, own, value in samples_in(of_that_name) if labels.items() <= own.items()]
    return value


def _text_of(address: str) -> str:
    """Asked often while something is under way: so without the certificates that httpx reads each time."""
    return httpx.get(f"http://{address}/metrics", timeout=30, verify=False).text
