"""How often Python's garbage collector looks at what there is.

A scan of the repository and a request make values by the thousand and leave few cycles behind. At Python's
usual step the collector would walk again and again through what is there to stay: a sixth of the first scan
of ten thousand models.
"""

import gc

YOUNG_OBJECTS = 20_000
"""New objects between two looks at the youngest; Python's own default is 700."""


def come_seldom() -> None:
    """From the beginning of a process on."""
    gc.set_threshold(YOUNG_OBJECTS, 20, 50)


def spare_what_stands() -> None:
    """Once a process is to serve: what stands by now will stand to the end, and is not looked at again."""
    gc.collect()
    gc.freeze()
