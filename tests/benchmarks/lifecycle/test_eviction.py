"""The promises of eviction, on shorter traces than the benchmark's, and its yardsticks by hand."""

import json

import pytest

from benchmarks.lifecycle import zipf
from benchmarks.lifecycle.__main__ import main
from benchmarks.lifecycle.eviction import CROWDS
from benchmarks.lifecycle.policies import Clairvoyant, ClassicGreedyDual, Lfu, Lru
from benchmarks.lifecycle.replay import best_fixed_set, replay
from benchmarks.lifecycle.zipf import Trace
from server.lifecycle.residency.eviction import GreedyDual


def trace(*requests: int, room_for: int) -> Trace:
    return Trace(name="by hand", sizes=[1] * 4, loads_s=[1.0] * 4, requests=requests, budget=room_for)


def test_the_yardsticks_do_what_their_names_say():
    by_hand = trace(0, 1, 0, 2, 0, 1, 3, 0, room_for=2)
    assert replay(by_hand, Lru()).hit_rate == 2 / 8
    assert replay(by_hand, Clairvoyant(by_hand)).hit_rate == 3 / 8
    assert best_fixed_set(by_hand).hit_rate == 6 / 8
    counted = trace(0, 0, 1, 2, 1, room_for=2)
    assert replay(counted, Lfu()).hit_rate == 1 / 5
    assert replay(counted, Lru()).hit_rate == 2 / 5


def test_a_seed_gives_the_same_trace_again():
    for make in (zipf.equal, zipf.unequal, zipf.drifting, zipf.scanned):
        first, again, other = (make(models=9, room_for=2, requests=700, seed=seed) for seed in (1, 1, 2))
        assert first == again
        assert first.requests != other.requests
        assert len(first.requests) == 700
        assert max(first.sizes) <= first.budget


@pytest.mark.parametrize("seed", [1, 2])
def test_on_equal_models_it_is_a_fifth_better_than_lru_and_near_the_best_fixed_set(seed):
    crowd = zipf.equal(models=100, room_for=10, requests=3_000, seed=seed)
    ours = replay(crowd, GreedyDual()).hit_rate
    assert ours >= 1.2 * replay(crowd, Lru()).hit_rate
    assert ours >= 0.88 * best_fixed_set(crowd).hit_rate
    assert ours <= replay(crowd, Clairvoyant(crowd)).hit_rate


def test_where_popularity_drifts_it_is_still_better_than_what_others_do():
    crowd = zipf.drifting(models=100, room_for=10, requests=3_000, seed=1)
    ours = replay(crowd, GreedyDual()).hit_rate
    assert ours >= 1.1 * max(replay(crowd, other()).hit_rate for other in (Lru, Lfu, ClassicGreedyDual))


def test_on_unequal_models_it_spends_at_most_four_fifths_of_the_seconds_of_lru():
    crowds = [zipf.unequal(models=100, room_for=10, requests=2_000, seed=seed) for seed in CROWDS]
    ours, lru = (sum(replay(crowd, make()).reload_s for crowd in crowds) for make in (GreedyDual, Lru))
    assert ours <= 0.8 * lru


def test_a_part_is_measured_told_and_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("benchmarks.lifecycle.eviction.MODELS", 20)
    monkeypatch.setattr("benchmarks.lifecycle.eviction.ROOM_FOR", 4)
    out = tmp_path / "results" / "lifecycle.json"
    assert main(["--quick", "--parts", "eviction", "--out", str(out)]) == 0
    written = json.loads(out.read_text())
    assert written["eviction"]["equal sizes"].keys() >= {"tercet", "LRU", "LFU", "best fixed set", "Belady"}
    assert len(written["promises"]) == 3
    assert "hit rate over LRU's" in capsys.readouterr().out
