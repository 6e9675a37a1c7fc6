import pytest

from server.lifecycle.residency.amount import amount


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (812 * 2**20, "812 MiB"),
        (3 * 2**29, "1.5 GiB"),
        (1000 * 2**30, "1000 GiB"),
        (1024 * 2**30 - 1, "1 TiB"),
        (-(2**20), "-1 MiB"),
    ],
)
def test_bytes_are_said_with_few_digits(count, said):
    assert amount(count) == said
