"""Model Garden's fields of TensorFlow Datasets: `tfds_name` and those beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from official_lite import errors
from official_lite.vision.dataloaders import source as source_lib

# Arguments of builders -> the fields that they come from.
_FIELDS = {'name': 'tfds_name', 'split': 'tfds_split', 'data_dir': 'tfds_data_dir'}


def build(
    build_source: Callable[..., source_lib.Source], name: str, data_config: Any
) -> source_lib.Source:
    """Builds the source that `tfds_name` names; one that is not prepared is downloaded.

    Args:
        build_source: A `build_tfds_source`.
        name: The data set.
        data_config: The config that names it.

    Raises:
        UsageError: There is no such data set, split or folder; the place is the config's field.
    """
    try:
        return build_source(
            name,
            data_config.tfds_split,
            data_dir=data_config.tfds_data_dir,
            download=True,
            skipped_features=data_config.tfds_skip_decoding_feature,
            skip_corrupt=data_config.skip_corrupt,
            cache=data_config.cache,
        )
    except errors.UsageError as error:
        error.where = _FIELDS.get(error.where, error.where)
        raise
