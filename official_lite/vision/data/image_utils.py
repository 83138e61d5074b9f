"""Encodes and decodes images with Pillow, for tools that write records."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
from PIL import Image

__all__ = [
    'ImageFormat',
    'decode_image',
    'decode_image_metadata',
    'encode_image',
    'validate_image_format',
]


@dataclasses.dataclass
class ImageFormat:
    """Names of the formats; 'RAW' is the bytes of the array."""

    bmp: str = 'BMP'
    png: str = 'PNG'
    jpeg: str = 'JPEG'
    raw: str = 'RAW'


def validate_image_format(format_str: str) -> str:
    """Returns the name of a format in capitals.

    Raises:
        ValueError: There is no such format.
    """
    name = format_str.upper()
    known = [field.default for field in dataclasses.fields(ImageFormat)]
    if name not in known:
        raise ValueError(f'Image format is invalid: {format_str}. Expected one of {known}.')
    return name


def encode_image(image_np: np.ndarray, image_format: str) -> bytes:
    """Encodes an image.

    Args:
        image_np: uint8 [height, width, 3], [height, width, 1] or [height, width]; of any dtype and
            shape for 'RAW'. Other numbers are taken as uint8 where there is one channel.
        image_format: See `ImageFormat`.

    Raises:
        ValueError: There is no such format.
    """
    name = validate_image_format(image_format)
    if name == 'RAW':
        return image_np.tobytes()
    if image_np.ndim == 3 and image_np.shape[2] == 1:
        image_np = image_np[..., 0].astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image_np).save(buffer, format=name)
    return buffer.getvalue()


def decode_image(
    image_bytes: bytes, image_format: str | None = None, image_dtype: str | np.dtype = 'uint8'
) -> np.ndarray:
    """Decodes an image.

    Args:
        image_bytes: The encoded image.
        image_format: 'RAW' for the bytes of an array. None or another name: the bytes tell.
        image_dtype: Of a 'RAW' array.

    Returns:
        [height, width, channels]; of a 'RAW' image its values, [n].
    """
    if image_format is not None and validate_image_format(image_format) == 'RAW':
        return np.frombuffer(image_bytes, dtype=image_dtype)
    with Image.open(io.BytesIO(image_bytes)) as image:
        pixels = np.array(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def decode_image_metadata(image_bytes: bytes) -> tuple[int, int, int, str]:
    """Height, width, number of channels and format of an encoded image; reads its header only.

    Raises:
        ValueError: Its format is none of `ImageFormat`.
    """
    with Image.open(io.BytesIO(image_bytes)) as image:
        num_channels = len(image.getbands())
        return image.height, image.width, num_channels, validate_image_format(image.format or '')
