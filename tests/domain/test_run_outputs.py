"""What a run gave in one piece, and what each who went with it gets."""

import numpy as np
import pytest

from server.domain.run_outputs import RunOutputs, share_of

ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_rows_are_views_of_every_output():
    shared = RunOutputs({"Y": ROWS, "Z": np.arange(3)})
    mine = shared.rows(1, 2)
    assert {name: array.tolist() for name, array in mine.items()} == {"Y": ROWS[1:].tolist(), "Z": [1, 2]}
    assert np.shares_memory(mine["Y"], ROWS)


@pytest.mark.parametrize("whole", [ROWS, np.asfortranarray(ROWS), np.repeat(ROWS, 2, 1)[:, ::2]])
def test_the_bytes_of_a_request_are_cut_out_of_those_of_all(whole):
    shared = RunOutputs({"Y": whole})
    for at, count in ((0, 1), (1, 2), (2, 1), (0, 3)):
        kind, size, stride = share_of("Y", ROWS[at : at + count])
        content = shared.content(kind)
        assert content is not None
        assert content[at * stride : at * stride + size] == ROWS[at : at + count].tobytes()


@pytest.mark.parametrize(
    ("name", "array"),
    [("Z", ROWS), ("Y", ROWS.astype(np.float64)), ("Y", ROWS[:, :3]), ("Y", ROWS[:, None])],
    ids=["another name", "another datatype", "another shape", "another dimension"],
)
def test_of_another_kind_there_are_no_bytes(name, array):
    kind, _, _ = share_of(name, array)
    shared = RunOutputs({"Y": ROWS})
    assert shared.content(kind) is None
    assert shared.content(share_of("Y", ROWS)[0]) == ROWS.tobytes()
    assert shared.content(kind) is None, "nor once they were written"


def test_of_two_outputs_neither_is_the_one():
    assert RunOutputs({"Y": ROWS, "Z": ROWS}).content(share_of("Y", ROWS)[0]) is None


def test_rows_without_elements_and_answers_without_rows_have_no_bytes():
    assert share_of("Y", np.zeros((2, 0), np.float32))[1:] == (0, 0)
    assert share_of("Y", np.float32(1).reshape(()))[1:] == (4, 0)
