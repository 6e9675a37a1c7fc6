"""The processes that a test has started: other tests have servers of their own in the meantime."""

import psutil


class Family:
    """Those that are not among the children there were when this was made."""

    def __init__(self) -> None:
        self._others = {child.pid for child in psutil.Process().children(recursive=True)}

    def members(self) -> list[psutil.Process]:
        children = psutil.Process().children(recursive=True)
        return [child for child in children if child.pid not in self._others]

    def left_after(self, seconds: float) -> list[str]:
        """Those that are still there, in words."""
        _, alive = psutil.wait_procs(self.members(), seconds)
        return [str(process) for process in alive]
