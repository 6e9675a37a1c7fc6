"""Turns image files (PNG or JPEG, light ink on dark ground) into what the digits network reads."""

import io

import numpy as np
from PIL import Image

INPUTS = [{"name": "IMAGE", "datatype": "BYTES", "shape": [-1, 1]}]
MOST_PIXELS = 16_000_000


def preprocess(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """From IMAGE, one file a row, to INPUT__0 of shape (rows, 1, 8, 8): 0 is ground, 1 is ink."""
    files = inputs["IMAGE"].ravel()
    tensor = np.empty((len(files), 1, 8, 8), np.float32)
    for row, content in enumerate(files):
        try:
            tensor[row, 0] = ink(content)
        except Image.DecompressionBombError:
            raise ValueError(f"row {row} of IMAGE has more than {MOST_PIXELS} pixels") from None
        except Exception:  # whatever a decoder stumbles over, the file is at fault
            raise ValueError(f"row {row} of IMAGE is not a readable PNG or JPEG file") from None
    return {"INPUT__0": tensor}


def ink(content: bytes) -> np.ndarray:
    image: Image.Image = Image.open(io.BytesIO(content), formats=["PNG", "JPEG"])
    if image.width * image.height > MOST_PIXELS:  # known from the header: nothing is unpacked yet
        raise Image.DecompressionBombError
    if image.mode == "I;16":  # convert would clip 16-bit grey at 255
        image = image.point(lambda grey: grey / 256)
    pixels = np.asarray(image.convert("LA").resize((8, 8), Image.Resampling.BOX), np.float32) / 255
    return pixels[:, :, 0] * pixels[:, :, 1]  # where the image is transparent, the ground is dark
