"""Budgets in bytes, from what the operator wrote and what the machine has."""

import pytest

from server.app.memory_budgets import memory_budgets
from server.lifecycle.memory import memory_limit
from server.option_values import MemoryBudget
from server.settings import SettingsInvalid


def test_a_share_is_of_what_the_process_may_use():
    budgets = memory_budgets([MemoryBudget("cpu", share=0.5), MemoryBudget("cuda:7", 5)])
    assert budgets == {"cpu": int(memory_limit() * 0.5), "cuda:7": 5}
    assert memory_budgets([]) == {}


def test_a_share_of_a_device_that_is_not_there_is_refused():
    with pytest.raises(SettingsInvalid, match=r"--memory-budget=cuda:999=80%: this machine has no cuda:999"):
        memory_budgets([MemoryBudget("cuda:999", share=0.8)])
