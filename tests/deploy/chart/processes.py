"""A rendered Deployment as its process reads it."""

from functools import cache

from server.cli import read_serve
from server.settings import Settings, read
from tests.deploy.chart.render import Object, arguments, component, of_kind


def deployments(objects: list[Object]) -> dict[str, Object]:
    """By their roles."""
    return {component(each): each for each in of_kind(objects, "Deployment").values()}


def settings_of(deployment: Object) -> Settings:
    """As its process reads them. Raises what the process would say."""
    return settings_from(tuple(arguments(deployment)))


@cache
def settings_from(given: tuple[str, ...]) -> Settings:
    asked = read_serve(list(given))
    assert not asked.idle
    return read(asked.given, {}, asked.fallback)


def has_tls(deployment: Object) -> bool:
    """Of its doors, which the metrics are one of."""
    return any(word.startswith("--tls-certificate=") for word in arguments(deployment))
