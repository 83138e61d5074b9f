"""The list of classes beside TFRecord shards, because records tell only the labels that occur.

For `FOLDER/train-00000-of-00008.tfrecord` it is `FOLDER/train-classes.json`.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence

import tensorflow as tf

from official_lite import errors

__all__ = ['ClassList', 'get_class_file', 'load_class_list', 'save_class_list']

_SHARD = re.compile(r'(?P<prefix>.+)-\d{5}-of-\d{5}(\.[\w.]+)?')


@dataclasses.dataclass(frozen=True)
class ClassList:
    """All classes of a data set.

    Attributes:
        class_names: Names of the labels 1..K.
        category_ids: The data set's own ids of the labels 1..K.
    """

    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]


def get_class_file(shard: str) -> str | None:
    """Path of the list that belongs to a shard; None if the path is not named like a shard."""
    match = _SHARD.fullmatch(shard)
    return f'{match["prefix"]}-classes.json' if match else None


def save_class_list(classes: ClassList, path: str) -> None:
    """Writes a list of classes as JSON."""
    with tf.io.gfile.GFile(path, 'w') as file:
        file.write(json.dumps(dataclasses.asdict(classes), indent=2, ensure_ascii=False) + '\n')


def load_class_list(shards: Sequence[str]) -> ClassList | None:
    """The classes of the records in these files.

    Args:
        shards: Paths of TFRecord files.

    Returns:
        None unless there is a list for every one of them.

    Raises:
        DataError: A list cannot be read, or there are several that differ.
    """
    paths = sorted({get_class_file(shard) or '' for shard in shards})
    if not paths or not all(path and tf.io.gfile.exists(path) for path in paths):
        return None
    lists = [_load(path) for path in paths]
    for path, other in zip(paths, lists):
        if other != lists[0]:
            raise errors.DataError(
                f'the classes are not those of {paths[0]}',
                where=path,
                hint='write records that are read together from sources with the same classes',
            )
    return lists[0]


def _load(path: str) -> ClassList:
    try:
        with tf.io.gfile.GFile(path) as file:
            fields = json.loads(file.read())
        names = tuple(str(name) for name in fields['class_names'])
        ids = tuple(int(id_) for id_ in fields['category_ids'])
    except (tf.errors.OpError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise errors.DataError(
            f'not a list of classes ({error})',
            where=path,
            expected='{"class_names": [...], "category_ids": [...]}',
        ) from error
    if len(names) != len(ids):
        raise errors.DataError(f'{len(names)} class_names but {len(ids)} category_ids', where=path)
    return ClassList(names, ids)
