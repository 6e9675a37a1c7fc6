"""The handwritten digits as image files, split into those trained on and those held out.

A digit is a grey PNG, light ink on dark ground, as the bytes that a client would send.
"""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HELD_OUT = 360  # of 1797


class Digit(NamedTuple):
    png: bytes
    label: int


def trained_on() -> list[Digit]:
    return _split(side=8)[0]


def held_out(side: int = 8) -> list[Digit]:
    """The images no network has seen, `side` pixels wide and high: 8, or a multiple of it."""
    return _split(side)[1]


def _split(side: int) -> tuple[list[Digit], list[Digit]]:
    images, labels = load_digits(return_X_y=True)
    digits = [Digit(_png(image, side), int(label)) for image, label in zip(images, labels, strict=True)]
    trained, held = train_test_split(digits, test_size=HELD_OUT, random_state=1, stratify=labels)
    return trained, held


def _png(image: np.ndarray, side: int) -> bytes:
    grey = np.rint(image.reshape(8, 8) * 255 / 16).astype(np.uint8)  # the data set counts ink from 0 to 16
    file = io.BytesIO()
    Image.fromarray(grey).resize((side, side), Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()
