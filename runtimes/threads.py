"""How the models share the threads that this process may keep busy.

Why so, with figures: docs/decisions/thread-budget.md.
"""

from runtimes.errors import ModelBroken
from runtimes.session import ModelFile

SMALL_MODEL_BYTES = 1 << 20
"""Up to this size of its files a model runs in its caller's thread alone: handing work to a second
thread costs a small model more than it gains."""


def threads_per_model(budget: int, models: int) -> int:
    """The threads of one run when so many models share the budget; the caller's own is one of them."""
    return max(1, budget // max(1, models))


def run_threads(model: ModelFile, parameter: str) -> int:
    """The threads of one run of this model: as configured under Triton's name for it, else its share.

    A model is as large as its folder, since weights may lie in a file beside it.
    """
    configured = model.parameters.get(parameter, "0")
    if not configured.isdecimal():
        raise ModelBroken(f"parameter {parameter} is '{configured}', which is no number of threads")
    if int(configured) > 0:
        return int(configured)
    size = sum(file.stat().st_size for file in model.path.parent.iterdir() if file.is_file())
    return 1 if size <= SMALL_MODEL_BYTES else model.threads
