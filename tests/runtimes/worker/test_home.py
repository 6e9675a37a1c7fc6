"""Where a model lives: as it says itself, else as the server does."""

import pytest

from runtimes.errors import ModelBroken
from runtimes.worker.home import ALL_TOGETHER, HERE, OWN, Home, home_of


@pytest.mark.parametrize(("default", "home"), [("off", HERE), ("each", OWN), ("group", ALL_TOGETHER)])
def test_a_model_that_says_nothing_lives_where_the_server_says(default, home):
    assert home_of({}, default) == home


@pytest.mark.parametrize("default", ["off", "each", "group"])
def test_what_a_model_says_goes_before(default):
    assert home_of({"runtime_worker": "none"}, default) == HERE
    assert home_of({"runtime_worker": "own"}, default) == OWN
    assert home_of({"runtime_worker": "group:a.b-1"}, default) == Home(in_worker=True, group="a.b-1")


@pytest.mark.parametrize("said", ["", "Own", "group:", "group:a b", "group:*", "shared"])
def test_anything_else_is_refused_with_what_it_can_be(said):
    with pytest.raises(ModelBroken, match=r"can be own, none, or group:NAME"):
        home_of({"runtime_worker": said}, "off")
