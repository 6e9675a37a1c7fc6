"""Builds what tries candidates, from the options of a process."""

from server.lifecycle.ending import Limits
from server.lifecycle.memory import memory_limit
from server.lifecycle.trials import Trials
from server.lifecycle.verdicts import Verdicts
from server.repository.content import holds
from server.settings import Settings


def trials(settings: Settings) -> Trials:
    return Trials(
        Verdicts(settings.state_dir / "verdicts" if settings.state_dir is not None else None),
        limits=Limits(
            timeout_s=settings.verify_timeout_secs,
            memory_bytes=settings.verify_memory_bytes or memory_limit() // 2,
        ),
        at_once=settings.model_load_thread_count,
        auto_complete=not settings.disable_auto_complete_config,
        same_content=holds,
    )
