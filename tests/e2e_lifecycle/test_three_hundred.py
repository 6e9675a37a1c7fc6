"""Three hundred files, each spoilt at another place: none is taken for good that does not answer rightly."""

import asyncio
import random
from pathlib import Path

import pytest

from server.lifecycle.ending import Limits
from server.lifecycle.trials import Trials
from server.lifecycle.verdicts import Verdicts
from server.repository.scanner import Scanner
from tests.e2e_lifecycle.candidates import SEED, PlusOne, example, scripted, torch_config
from tests.lifecycle.shelf import plus

FILES = {
    "model.onnx": (plus(1), "", "y"),
    "model.pt": (scripted(PlusOne()), torch_config(), "OUTPUT__0"),
}
CUTS, BLOCKS = 75, 75
"""Of each file: cut short at so many places, and overwritten by random bytes at so many."""


def spoilt(content: bytes, number: int) -> bytes:
    if number < CUTS:
        return content[: len(content) * number // CUTS]
    random_bytes = random.Random(SEED + number)
    at = random_bytes.randrange(len(content) - 64)
    return content[:at] + random_bytes.randbytes(64) + content[at + 64 :]


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
async def test_no_spoilt_file_is_served_with_a_wrong_answer(name: str, tmp_path: Path):
    content, config, output = FILES[name]
    for number in range(CUTS + BLOCKS):
        folder = tmp_path / f"m{number:03}" / "1"
        (folder / "examples").mkdir(parents=True)
        (folder / name).write_bytes(spoilt(content, number))
        (folder / "examples" / "good.json").write_bytes(example([1, 2], [2, 3], output))
        if config:
            (folder.parent / "config.pbtxt").write_text(config)
    offers = Scanner([tmp_path], settle_s=0).scan().offers
    trials = Trials(Verdicts(), limits=Limits(timeout_s=20, memory_bytes=2**30), at_once=4)
    try:
        verdicts = await asyncio.gather(
            *(trials.verdict(offer, offer.versions[1]) for offer in offers.values() if offer.versions)
        )
    finally:
        trials.close()
    assert len(verdicts) == CUTS + BLOCKS
    for verdict in verdicts:  # a block may fall where nothing reads, and then the example is answered rightly
        assert verdict.reason or "golden example 'good'" in verdict.checked
        assert "internal error" not in verdict.reason
        assert "could not be tried" not in verdict.reason
    assert sum(bool(verdict.reason) for verdict in verdicts) > CUTS + BLOCKS // 2
