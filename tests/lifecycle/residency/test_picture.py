"""What metrics show of memory."""

from server.lifecycle.residency.accountant import Accountant
from server.lifecycle.residency.eviction import GreedyDual
from server.lifecycle.residency.picture import picture
from server.observe.metrics import DeviceMemory, MemoryCollector, VersionMemory, exposition, registry

A, B = ("a", 1), ("b", 2)


def test_a_picture_has_every_device_with_a_budget_and_every_version_in_memory():
    accountant, policy = Accountant({"cpu": 100, "cuda:0": 50}), GreedyDual()
    for key, taken in ((A, {"cpu": 40}), (B, {"cpu": 30, "cuda:1": 7}), (("c", 1), {"cpu": 20})):
        accountant.settle(accountant.reserve(key, taken), taken)
    accountant.leaving(("c", 1))
    policy.note_use(A, now=5.0)
    policy.note_use(B, now=9.0)
    seen = picture(accountant, policy, {A: {"cpu": 1.25}}, now=12.0)
    assert list(seen.devices) == [
        DeviceMemory("cpu", 100, 90, 20),
        DeviceMemory("cuda:0", 50, 0, 0),
        DeviceMemory("cuda:1", None, 7, 0),
    ]
    assert list(seen.versions) == [
        VersionMemory("a", 1, "cpu", 40, 1.25),
        VersionMemory("b", 2, "cpu", 30),
        VersionMemory("b", 2, "cuda:1", 7),
    ]
    assert seen.lru_age_s == 7.0


def test_metrics_leave_out_what_nobody_knows():
    accountant = Accountant({"cpu": 100})
    accountant.settle(accountant.reserve(A, {"cpu": 10}), {"cpu": 120, "cuda:1": 7})
    seen = picture(accountant, GreedyDual(), {}, now=1.0)
    lines = exposition(registry([MemoryCollector(lambda: seen)])).decode().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        'tercet_memory_budget_bytes{device="cpu"} 100.0',
        'tercet_memory_counted_bytes{device="cpu"} 120.0',
        'tercet_memory_counted_bytes{device="cuda:1"} 7.0',
        'tercet_memory_leaving_bytes{device="cpu"} 0.0',
        'tercet_memory_leaving_bytes{device="cuda:1"} 0.0',
        'tercet_memory_free_bytes{device="cpu"} -20.0',
        'tercet_model_memory_bytes{device="cpu",model="a",version="1"} 120.0',
        'tercet_model_memory_bytes{device="cuda:1",model="a",version="1"} 7.0',
    ]
