"""How many bytes models may take of each device, from the options of a process and what the machine has."""

from collections.abc import Sequence

from runtimes.device import Device
from runtimes.device_memory import device_memory
from server.domain.configuration import SwapPolicy
from server.lifecycle.memory import memory_limit
from server.lifecycle.rules import Rules
from server.option_values import MemoryBudget
from server.settings import Settings, SettingsInvalid


def residency_rules(settings: Settings) -> Rules:
    """How memory is shared."""
    budgets = memory_budgets(settings.memory_budget)
    lazy = settings.load_on_request == "true" or (settings.load_on_request == "auto" and bool(budgets))
    return Rules(
        budgets=budgets,
        on_request=lazy or settings.idle_unload_secs > 0,
        lazy_start=lazy,
        swap=SwapPolicy(settings.swap_policy),
        pinned=settings.pinned_model,
        min_residency_s=settings.min_residency_secs,
        load_within_s=settings.verify_timeout_secs,
        host_cache_bytes=settings.host_cache_bytes,
        idle_unload_s=settings.idle_unload_secs,
    )


def memory_budgets(options: Sequence[MemoryBudget]) -> dict[str, int]:
    """Bytes by the name of a device: what `Accountant` wants. A device without an option has no budget.

    Raises `SettingsInvalid` for a share of a device that is not there.
    """
    return {option.device: option.of(_total(option)) for option in options}


def _total(option: MemoryBudget) -> int:
    if option.share is None:
        return 0
    if option.device == "cpu":
        return memory_limit()
    memory = device_memory(Device("cuda", int(option.device.removeprefix("cuda:"))))
    if memory is None:
        raise SettingsInvalid(
            [
                f"--memory-budget={option.device}={option.share:.0%}: this machine has no {option.device}, "
                "so nobody can tell how much that is"
            ]
        )
    return memory.total_bytes
