"""Which data a command is about: that of an experiment, or what --source names."""

from __future__ import annotations

import dataclasses
import difflib
import os
from typing import TYPE_CHECKING, Any, Literal

from absl import flags

from official_lite import errors
from official_lite.common import flags as common_flags
from official_lite.core import config_definitions as cfg
from official_lite.core import parsing
from official_lite.modeling import hyperparams
from official_lite.vision.configs import (
    data_sources,
    image_classification_data,
    semantic_segmentation_data,
)

if TYPE_CHECKING:
    from official_lite.vision.dataloaders import source as source_lib

__all__ = ['ChosenData', 'build_source', 'check_png', 'define_data_flags', 'parse_data', 'save_png']

# What counts where no experiment is named: what a user with own data starts from.
_DEFAULT_CONFIG_FILE = 'retinanet/own_data.yaml'
# And with masks.
_MASK_CONFIG_FILE = 'maskrcnn/own_data.yaml'
# And with kinds of sources that only another task has.
_CONFIG_FILES = {
    'folder': 'image_classification/own_images.yaml',
    'csv': 'image_classification/own_images.yaml',
    'png_pairs': 'semantic_segmentation/own_data.yaml',
}
# What is labelled, by the config of sources.
_LABELLED: dict[type, Literal['boxes', 'images', 'pixels']] = {
    data_sources.DataSource: 'boxes',
    image_classification_data.ClassificationSource: 'images',
    semantic_segmentation_data.SegmentationSource: 'pixels',
}


@dataclasses.dataclass(frozen=True)
class ChosenData:
    """The data of a command.

    Attributes:
        config: The experiment's config; its data is the chosen one.
        is_training: Whether it is the training data.
    """

    config: cfg.ExperimentConfig
    is_training: bool

    @property
    def where(self) -> str:
        """Path of the data config."""
        return 'task.train_data' if self.is_training else 'task.validation_data'

    @property
    def data_config(self) -> Any:
        """The data config."""
        task: Any = self.config.task
        return task.train_data if self.is_training else task.validation_data

    @property
    def labelled(self) -> Literal['boxes', 'images', 'pixels']:
        """What has labels."""
        return _find_labelled(self.data_config)  # type: ignore[return-value]


def _find_labelled(data_config: Any) -> str | None:
    source = getattr(data_config, 'source', None)
    return next((what for cls, what in _LABELLED.items() if isinstance(source, cls)), None)


def define_data_flags(values: flags.FlagValues) -> None:
    """Defines the flags that say which data."""
    common_flags.define_config_flags(values)
    flags.DEFINE_enum(
        'split',
        'train',
        ('train', 'validation'),
        'Which data of the experiment.',
        flag_values=values,
    )
    flags.DEFINE_string(
        'source',
        None,
        'Data in place of that of the experiment, as KIND:PATH: coco:FILE.json[,IMAGE_FOLDER], '
        'folder:FOLDER, png_pairs:IMAGES,MASKS, tfrecord:PATTERN, embedded:digits, and so on for '
        'every kind of source; after KIND: come values of its first fields. Without --experiment and '
        f'--config_file, all else is as in the own_data.yaml of that kind, or {_DEFAULT_CONFIG_FILE}.',
        flag_values=values,
    )
    flags.DEFINE_multi_string(
        'source_override',
        None,
        'Other fields of the source, such as num_scenes=100.',
        flag_values=values,
    )
    _define_mask_flag(values)


def _define_mask_flag(values: flags.FlagValues) -> None:
    flags.DEFINE_boolean(
        'masks',
        False,
        'Read the masks of objects too, where no experiment says so: all else is as in '
        f'{_MASK_CONFIG_FILE}.',
        flag_values=values,
    )


def parse_data(values: flags.FlagValues) -> ChosenData:
    """The data that the flags choose, checked; does not load TensorFlow.

    Raises:
        UsageError: A flag is wrong, or no data is named.
    """
    if not values.experiment and not values.config_file:
        if not values.source:
            raise errors.UsageError(
                'no data is named',
                where='--source',
                hint='give --source=KIND:PATH, or --experiment or --config_file',
            )
        kind = values.source.partition(':')[0]
        default = _MASK_CONFIG_FILE if values.masks else _DEFAULT_CONFIG_FILE
        values['config_file'].value = [_CONFIG_FILES.get(kind, default)]
    config = parsing.parse_experiment(values).config
    data = ChosenData(config, is_training=values.split == 'train')
    if not hasattr(config.task, 'train_data') or _find_labelled(data.data_config) is None:
        raise errors.UsageError(
            'this experiment has no data sets of images',
            where=f'--experiment={values.experiment}',
        )
    if values.source:
        _set_source(data, values.source)
    if values.source_override:
        _override_source(data, values.source_override)
    # Of what a training run keeps in memory nothing is needed twice here.
    fields: dict[str, Any] = {'cache': False}
    if hasattr(data.data_config, 'include_mask'):
        task: Any = config.task
        fields['include_mask'] = task.model.include_mask
    elif values.masks:
        raise errors.UsageError(
            'the task of this experiment has no masks of objects',
            where='--masks',
            hint='give an experiment such as maskrcnn_custom, or none',
        )
    config.override({'task': {_last(data.where): fields}}, source='official-lite data')
    config.validate()
    return data


def _last(path: str) -> str:
    return path.rsplit('.', 1)[-1]


def _set_source(data: ChosenData, text: str) -> None:
    kind, _, rest = text.partition(':')
    kinds = list(type(data.data_config.source).branches())
    if kind not in kinds:
        known = kinds if data.labelled != 'boxes' else [*kinds, *_CONFIG_FILES]
        near = difflib.get_close_matches(kind, known, n=1)
        raise errors.UsageError(
            where=f'--source={text}',
            expected=f'KIND:PATH with one of the kinds {", ".join(known)}',
            hint=f'did you mean {near[0]}:{rest}?' if near else 'as in coco:DIR/train.json',
        )
    branch = getattr(data.data_config.source, kind)
    # Nothing of the experiment's own source is carried over.
    fields = {'type': kind, kind: {**type(branch)().to_dict(), **_name_values(branch, rest, text)}}
    overrides = {'source': fields, 'input_path': '', 'tfds_name': ''}
    data.config.override({'task': {_last(data.where): overrides}}, source='--source')


def _name_values(branch: Any, rest: str, text: str) -> dict[str, str]:
    """Values separated by commas, by the names of the first fields of a source's config."""
    fields = dataclasses.fields(branch)
    if not rest:
        return {}
    takes_list = 'list[' in str(fields[0].type)  # whose commas are its own
    parts = [rest] if takes_list else rest.split(',')
    names = [field.name for field in fields]
    if len(parts) > len(names):
        raise errors.UsageError(
            where=f'--source={text}', expected=f'at most {len(names)} values: {", ".join(names)}'
        )
    return {name: part for name, part in zip(names, parts) if part}


def _override_source(data: ChosenData, texts: list[str]) -> None:
    source = data.data_config.source
    if source.type is None:
        raise errors.UsageError(
            'there is no source to override',
            where='--source_override',
            hint=f'give --source, or set {data.where}.source.type',
        )
    for text in texts:
        hyperparams.override_params_dict(
            source.get(), text, is_strict=True, source='--source_override'
        )


def build_source(data: ChosenData) -> source_lib.Source:
    """The source of the chosen data; loads TensorFlow.

    Raises:
        UsageError: It does not exist.
        DataError: It cannot be read, or is empty.
    """
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    from official_lite.core import data_info, task_factory
    from official_lite.vision.dataloaders import sources

    task: Any = data.config.task
    if data.labelled == 'boxes':
        source = sources.build_source(data.data_config, where=data.where)
    else:
        source = task_factory.get_task_cls(type(task)).build_source(task, data.is_training)
    data_info.check_not_empty(source.info)
    return source


def check_png(flag: str, path: str) -> None:
    """Raises UsageError unless a path ends with .png."""
    if not path.lower().endswith('.png'):
        raise errors.UsageError(
            where=flag, expected='a name that ends with .png', received=repr(path)
        )


def save_png(flag: str, picture: Any, path: str) -> str:
    """Writes a picture, uint8 [height, width, 3], and returns the path.

    Raises:
        UsageError: It cannot be written.
    """
    from official_lite.vision import visualization

    try:
        return visualization.save_png(picture, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise errors.UsageError(f'cannot be written ({reason})', where=f'{flag}={path}') from error
