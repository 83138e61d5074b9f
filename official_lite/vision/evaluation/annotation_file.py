"""Reading a COCO JSON as the ground truth of an evaluation."""

from __future__ import annotations

import json
from typing import Any

from official_lite import errors

_SECTIONS = ('images', 'annotations', 'categories')


def load_annotation_file(path: str) -> dict[str, Any]:
    """Reads the ground truth of a detection dataset in COCO's format.

    Args:
        path: A local file, or a path with a scheme that TensorFlow's filesystems know (gs://...).

    Returns:
        The file's dict, each annotation with `area` (its box's where it has none) and `iscrowd`.

    Raises:
        UsageError: The file does not exist, is not JSON, or is not in COCO's format.
    """
    try:
        dataset = json.loads(_read_text(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, 'strerror', None) or str(error)
        raise errors.UsageError(
            f'the file {path!r} cannot be read ({reason})',
            where='task.annotation_file',
            expected='a COCO JSON file',
        ) from error
    except json.JSONDecodeError as error:
        raise errors.UsageError(
            'is not JSON', where=path, expected='a COCO JSON', received=str(error)
        ) from error
    missing = [
        section
        for section in _SECTIONS
        if not isinstance(dataset, dict) or not isinstance(dataset.get(section), list)
    ]
    if missing:
        raise errors.UsageError(
            f'is not in COCO format: no {", ".join(missing)}',
            where=path,
            expected='an object with images, annotations and categories',
        )
    return {**dataset, 'annotations': [_complete(a, path) for a in dataset['annotations']]}


def _complete(annotation: dict[str, Any], path: str) -> dict[str, Any]:
    try:
        _, _, width, height = annotation['bbox']
        return {'area': width * height, 'iscrowd': 0, **annotation}
    except (KeyError, TypeError, ValueError) as error:
        raise errors.DataError(
            'an annotation has no usable box',
            where=path,
            expected='bbox: [x, y, width, height]',
            received=repr(annotation)[:200],
        ) from error


def _read_text(path: str) -> str:
    if '://' in path:
        import tensorflow as tf  # local files, the usual case, need no TensorFlow

        try:
            with tf.io.gfile.GFile(path) as remote_file:
                return remote_file.read()
        except tf.errors.OpError as error:
            raise OSError(error.message) from error
    with open(path, encoding='utf-8') as local_file:
        return local_file.read()
