"""Headers of image files, against what Pillow says of the same files."""

from __future__ import annotations

import io
import pathlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from official_lite.vision.dataloaders import image_decoding, image_headers


def make_picture() -> Image.Image:
    """30 x 40, smooth, of many colours."""
    pixels = np.random.default_rng(0).integers(0, 256, [6, 8, 3], np.uint8)
    return Image.fromarray(pixels).resize((40, 30), Image.Resampling.BICUBIC)


def encode(image: Image.Image, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def make_exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = 'a maker'
    return exif


def make_alpha() -> Image.Image:
    picture = make_picture().convert('RGBA')
    picture.putalpha(make_picture().convert('L'))
    return picture


_PICTURE = make_picture()
_DEEP = np.asarray(_PICTURE.convert('L')).astype(np.uint16) * 257
# Bytes, unusual kind, whether Pillow must decode it.
IMAGES: dict[str, tuple[bytes, str, bool]] = {
    'jpeg': (encode(_PICTURE, 'JPEG', quality=95), '', False),
    'progressive jpeg': (encode(_PICTURE, 'JPEG', progressive=True, quality=95), '', False),
    'jpeg with a large profile': (
        encode(_PICTURE, 'JPEG', quality=95, icc_profile=b'x' * 200_000),
        '',
        False,
    ),
    'grey jpeg': (encode(_PICTURE.convert('L'), 'JPEG', quality=95), 'grey', False),
    'cmyk jpeg': (encode(_PICTURE.convert('CMYK'), 'JPEG', quality=95), 'CMYK', False),
    'png': (encode(_PICTURE, 'PNG'), '', False),
    'grey png': (encode(_PICTURE.convert('L'), 'PNG'), 'grey', False),
    'grey png with alpha': (encode(make_alpha().convert('LA'), 'PNG'), 'grey with alpha', False),
    'png with alpha': (encode(make_alpha(), 'PNG'), 'alpha', False),
    'palette png': (encode(_PICTURE.convert('P'), 'PNG'), 'palette', False),
    'palette png, one transparent': (
        encode(_PICTURE.convert('P'), 'PNG', transparency=3),
        'palette',
        False,
    ),
    'png of 1 bit': (encode(_PICTURE.convert('1'), 'PNG'), 'grey', False),
    'png of 16 bits': (encode(Image.fromarray(_DEEP), 'PNG'), '16-bit grey', False),
    'gif': (encode(_PICTURE.convert('P'), 'GIF'), 'palette', False),
    'gif of two frames': (
        encode(
            _PICTURE.convert('P'), 'GIF', save_all=True, append_images=[Image.new('P', (40, 30))]
        ),
        'several frames, the first one counts',
        False,
    ),
    'bmp': (encode(_PICTURE, 'BMP'), '', False),
    'grey bmp': (encode(_PICTURE.convert('L'), 'BMP'), 'grey', False),
    'palette bmp': (encode(_PICTURE.convert('P'), 'BMP'), 'BMP palette', True),
    'bmp of 1 bit': (encode(_PICTURE.convert('1'), 'BMP'), 'BMP grey', True),
    'webp': (encode(_PICTURE, 'WEBP', lossless=True), '', False),
    'tiff': (encode(_PICTURE, 'TIFF'), 'TIFF', True),
    'tiff of 16 bits': (encode(Image.fromarray(_DEEP), 'TIFF'), 'TIFF I;16', True),
    'ppm': (encode(_PICTURE, 'PPM'), 'PPM', True),
    'jpeg 2000': (encode(_PICTURE, 'JPEG2000'), 'JPEG2000', True),
}


def to_rgb(content: bytes) -> np.ndarray:
    """What Pillow makes of it; of 16 bits the upper 8."""
    image = Image.open(io.BytesIO(content))
    if image.mode.startswith('I;16'):
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, -1)
    return np.asarray(image.convert('RGB'))


@pytest.mark.parametrize('name', IMAGES)
def test_header_and_pixels(name: str, tmp_path: pathlib.Path):
    content, kind, needs_pillow = IMAGES[name]
    path = tmp_path / 'image'  # the suffix does not matter
    path.write_bytes(content)
    header = image_headers.read_header(path)
    assert header == image_headers.Header(30, 40, 1, kind, needs_pillow)
    reading = image_headers.BY_PILLOW * needs_pillow
    pixels = image_decoding.decode_image(content, reading).numpy()
    assert pixels.dtype == np.uint8
    difference = np.abs(pixels.astype(int) - to_rgb(content).astype(int))
    # JPEG decoders may differ in their arithmetic, nothing else may.
    is_jpeg = 'jpeg' in name and not needs_pillow
    assert difference.mean() <= (3.0 if is_jpeg else 0)
    assert image_decoding.check_image(content, reading) == ''
    if not needs_pillow:
        without_reading = image_decoding.decode_image(content).numpy()
        np.testing.assert_array_equal(without_reading, pixels)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('image_format', ['JPEG', 'PNG', 'WEBP'])
def test_orientation_is_read(image_format: str, orientation: int, tmp_path: pathlib.Path):
    path = tmp_path / 'image'
    exif = make_exif(orientation)
    path.write_bytes(encode(_PICTURE, image_format, exif=exif))
    header = image_headers.read_header(path)
    assert (header.orientation, header.height_px, header.width_px) == (orientation, 30, 40)


@pytest.mark.parametrize('orientation', [0, 9, 300])
def test_an_impossible_orientation_is_none(orientation: int, tmp_path: pathlib.Path):
    path = tmp_path / 'image'
    path.write_bytes(encode(_PICTURE, 'JPEG', exif=make_exif(orientation)))
    assert image_headers.read_header(path).orientation == 1


@pytest.mark.filterwarnings('ignore:Corrupt EXIF')
def test_exif_that_is_damaged_is_ignored(tmp_path: pathlib.Path):
    content = encode(_PICTURE, 'JPEG', exif=b'Exif\0\0MM\0*\0\0\xff\xff')
    (tmp_path / 'image').write_bytes(content)
    assert image_headers.read_header(tmp_path / 'image').orientation == 1


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', r'the image is empty \(0 bytes\)'),
        (b'<html>not found</html>', 'the image cannot be decoded .cannot identify'),
        (b'\xff\xd8\xff\xe0', 'the image is damaged: a JPEG without size'),
        (IMAGES['jpeg'][0][:100], 'the image is damaged'),
        (IMAGES['png'][0][:20], 'the image is damaged: it ends within its header'),
    ],
)
def test_what_is_no_image(content: bytes, message: str, tmp_path: pathlib.Path):
    path = tmp_path / 'image.jpg'
    path.write_bytes(content)
    with pytest.raises(OSError, match=message):
        image_headers.read_header(path)
    scan = image_headers.scan_images([str(path)])
    assert list(scan.problems) == [0]
    assert (scan.heights_px[0], scan.widths_px[0]) == (0, 0)


def test_scan_counts_kinds_and_is_kept(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    paths = []
    for name in ('jpeg', 'png of 16 bits', 'cmyk jpeg', 'grey jpeg', 'grey png', 'tiff'):
        paths.append(str(tmp_path / name))
        pathlib.Path(paths[-1]).write_bytes(IMAGES[name][0])
    first = image_headers.scan_images(paths)
    assert first.kinds == {'grey': 2, '16-bit grey': 1, 'CMYK': 1, 'TIFF': 1}
    np.testing.assert_array_equal(first.needs_pillow, [False] * 5 + [True])
    np.testing.assert_array_equal(first.heights_px, [30] * 6)

    def refuse(path: str) -> None:
        raise AssertionError('read again')

    with monkeypatch.context() as patch:
        patch.setattr(image_headers, 'read_header', refuse)
        again = image_headers.scan_images(paths)
    assert again.kinds == first.kinds
    np.testing.assert_array_equal(again.widths_px, first.widths_px)
    pathlib.Path(paths[0]).write_bytes(encode(_PICTURE.resize((7, 9)), 'PNG'))
    assert image_headers.scan_images(paths).heights_px[0] == 9  # a changed file is read again


def test_scan_of_nothing():
    scan = image_headers.scan_images([])
    assert (len(scan.heights_px), scan.problems, scan.kinds) == (0, {}, {})
