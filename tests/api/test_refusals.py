"""The table of codes that counts what callers were told."""

from server.api.refusals import Refusals
from server.api.reply import refuse
from server.domain.errors import ModelNotFound, RouteNotFound
from server.observe.metrics import exposition, registry
from server.observe.refusals import RefusalCollector
from server.wire.codes import CODES
from tests.e2e.scrape import samples_in


def test_a_refusal_has_the_codes_of_the_table_and_is_counted_once():
    codes = Refusals(CODES)
    statuses = [refuse(ModelNotFound("m"), codes)[0], refuse(ModelNotFound("n"), codes)[0]]
    assert [*statuses, refuse(RouteNotFound("nothing there"), codes)[0]] == [404, 404, 404]
    assert codes.told() == {"ModelNotFound": 2, "RouteNotFound": 1}
    assert dict(codes.items()).keys() == CODES.keys()


def test_refusals_are_shown_by_door_and_error():
    shown = exposition(registry([RefusalCollector({"http": lambda: {"ModelNotFound": 2}, "grpc": dict})]))
    assert samples_in(shown.decode()) == [
        ("tercet_refusals_total", {"door": "http", "error": "ModelNotFound"}, 2.0)
    ]
