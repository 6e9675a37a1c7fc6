import pytest

from tests.deploy.chart.matrix import rows, values_of
from tests.deploy.chart.render import VALUES_FILES, Object, render

ROWS = rows()


@pytest.fixture(
    params=[*VALUES_FILES, *ROWS], ids=[*VALUES_FILES, *("-".join(row) for row in ROWS)], scope="module"
)
def objects(request: pytest.FixtureRequest) -> list[Object]:
    """One render after the other."""
    if isinstance(request.param, str):
        return render([request.param])
    return render(values=values_of(request.param))
