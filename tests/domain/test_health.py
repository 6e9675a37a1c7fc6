"""Live, ready, leaving: three answers that mean different things, over the phases of a server."""

import pytest

from server.domain.errors import ServerStopping
from server.domain.health import Health
from server.domain.phase import Phase, Station


@pytest.mark.parametrize(
    ("phase", "live", "ready", "leaving", "admits"),
    [
        (Phase.STARTING, True, False, False, True),
        (Phase.SERVING, True, True, False, True),
        (Phase.LEAVING, True, False, True, True),
        (Phase.STOPPING, False, False, True, False),
    ],
)
def test_each_phase_has_its_answers(phase, live, ready, leaving, admits):
    station = Station()
    station.move_to(phase)
    health = Health(station, lambda: True)
    assert (health.live, health.ready, health.leaving) == (live, ready, leaving)
    if admits:
        station.admit()
    else:
        with pytest.raises(ServerStopping):
            station.admit()


def test_a_server_whose_models_are_not_ready_is_not_ready_and_says_why():
    station = Station()
    health = Health(station, lambda: False)
    assert "still starting" in health.reason
    station.move_to(Phase.SERVING)
    assert not health.ready
    assert "repository index says why" in health.reason
    station.move_to(Phase.LEAVING)
    assert "stopping" in health.reason


def test_a_server_moves_only_ever_forward():
    station = Station()
    station.move_to(Phase.LEAVING)
    station.move_to(Phase.SERVING)
    assert station.phase is Phase.LEAVING
