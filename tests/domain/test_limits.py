import pytest

from server.domain.errors import InvalidRequest
from server.domain.limits import LIMITS, MOST_HARMLESS_BYTES, OPTIONS, Limits, check_name
from server.settings import options


def test_a_request_that_is_too_small_to_be_over_a_limit_is_harmless():
    assert LIMITS.harmless_bytes == MOST_HARMLESS_BYTES
    assert Limits(name_length=40).harmless_bytes == 40
    assert Limits(json_depth=10).harmless_bytes == 20
    assert Limits(tensors=3, elements=1).harmless_bytes == 3


def test_however_generous_the_limits_a_large_request_is_looked_at():
    """Its shape might have a million sizes."""
    generous = dict.fromkeys(OPTIONS, 2**40)
    assert Limits(**generous).harmless_bytes == MOST_HARMLESS_BYTES


def test_every_limit_names_an_option_that_there_is():
    flags = {option.flag: option for option in options().values()}
    assert set(OPTIONS) == set(Limits.__slots__) - {"harmless_bytes"}
    for field, flag in OPTIONS.items():
        assert flags[flag].default == str(getattr(LIMITS, field))


def test_a_name_that_is_too_long_is_refused_and_not_repeated():
    check_name("n" * 1024, "the model", LIMITS)
    with pytest.raises(InvalidRequest) as caught:
        check_name("n" * 1025, "the model", LIMITS)
    assert str(caught.value) == (
        "the name of the model has 1025 characters, more than the 1024 that --max-name-length allows"
    )
