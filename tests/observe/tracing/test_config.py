"""`--trace-config`, in Triton's words."""

import pytest

from server.observe.tracing.config import DEFAULT_URL, TraceConfig, TraceConfigInvalid, read
from server.observe.tracing.sampling import Sampling


def test_without_a_word_nothing_is_traced():
    assert read([]) == TraceConfig()
    assert not read([]).wants_traces


def test_a_start_line_of_triton_is_understood():
    config = read(
        [
            "mode=opentelemetry",
            "opentelemetry,url=http://c:4318/v1/traces",
            "opentelemetry,resource=service.name=mine",
            "opentelemetry,bsp_max_queue_size=100",
            "rate=100",
            "level=TIMESTAMPS",
            "count=7",
        ]
    )
    assert config == TraceConfig(
        mode="opentelemetry",
        url="http://c:4318/v1/traces",
        resource={"service.name": "mine"},
        sampling=Sampling(level="TIMESTAMPS", rate=100, count=7),
    )
    assert config.wants_traces


def test_a_file_of_tritons_own_mode_is_understood_and_not_written():
    config = read(
        ["triton,file=/tmp/trace.json", "triton,log-frequency=5", "level=TIMESTAMPS", "level=TENSORS"]
    )
    assert (config.mode, config.url, config.wants_traces) == ("triton", DEFAULT_URL, False)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["rate"], "write SETTING=VALUE"),
        (["jaeger,url=x"], "write SETTING=VALUE"),
        (["rate=often"], "whole number, at least 0"),
        (["count=-2"], "whole number, at least -1"),
        (["mode=jaeger"], "no such setting, or not this value"),
        (["opentelemetry,file=x"], "no such setting"),
        (["level=MAX"], "there are OFF and TIMESTAMPS"),
        (["mode=opentelemetry", "level=TENSORS"], "level=TENSORS is not offered"),
    ],
)
def test_what_makes_no_sense_is_refused(words, says):
    with pytest.raises(TraceConfigInvalid, match=says):
        read(words)
