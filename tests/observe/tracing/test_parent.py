"""The header `traceparent`, as W3C Trace Context has it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.observe.tracing.parent import Parent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@given(
    st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans(), st.sampled_from([str, str.encode])
)
def test_what_is_written_is_read_again(trace_id, span_id, sampled, form):
    parent = Parent(trace_id, span_id, sampled)
    assert Parent.read(form(str(parent))) == parent


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-02", False),
        (f"00-{TRACE}-{SPAN}-ff", True),
        (f"  00-{TRACE}-{SPAN}-01 ", True),
        (f"cc-{TRACE}-{SPAN}-01-what-is-to-come", True),
    ],
)
def test_only_the_last_bit_says_whether_it_is_sampled(text, sampled):
    parent = Parent.read(text)
    assert parent == Parent(int(TRACE, 16), int(SPAN, 16), sampled)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-0\u0661",
        b"\xff\xfe",
    ],
)
def test_what_is_none_counts_as_absent(text):
    assert Parent.read(text) is None


@given(st.text() | st.binary())
def test_nothing_that_comes_makes_it_fail(text):
    Parent.read(text)
