"""Whose fault it is that a stage behind pre-processing refuses a request."""

from pathlib import Path

from server.domain.errors import InvalidRequest, QueueFull, StageFailed
from server.stages.hop.blame import blamed
from server.wire.fault import error_of, fault_of
from tests.lifecycle.life import living


async def test_what_the_model_refuses_is_the_codes_fault_and_what_post_processing_refuses_is_not(
    tmp_path: Path,
):
    async with living(tmp_path) as life:
        life.model("m")
        await life.apply()
        facts = life.manager.facts("m")
    misfit = error_of(fault_of(InvalidRequest("unexpected shape for input 'x'"), "predict"))
    failed = blamed(misfit, facts, "7")
    assert isinstance(failed, StageFailed)
    assert str(failed).startswith("the pre stage of model 'm' version 1 failed")
    assert str(failed).endswith("under request id 7")
    refused = error_of(fault_of(InvalidRequest("nothing weighs 8 kg"), "post"))
    full = error_of(fault_of(QueueFull("m", 9, 1.0), "predict"))
    assert [blamed(error, facts, "7") for error in (refused, full)] == [refused, full]
