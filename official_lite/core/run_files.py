"""params.yaml and run.json: what a run was, and whether another one may go on in its place."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import platform
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from official_lite import __version__, errors
from official_lite.core import config_definitions as cfg
from official_lite.modeling import hyperparams
from official_lite.modeling.hyperparams import yaml_files
from official_lite.modeling.hyperparams.places import MISSING
from official_lite.modeling.hyperparams.sources import SourcedDict
from official_lite.modeling.optimization.configs import epoch_fields

__all__ = [
    'METRICS_FILE',
    'PARAMS_FILE',
    'RUN_FILE',
    'check_resume',
    'find_changes',
    'load_params',
    'read_versions',
    'save_params',
    'save_run_info',
    'split_params',
    'to_tree',
    'write_text',
]

PARAMS_FILE = 'params.yaml'
RUN_FILE = 'run.json'
METRICS_FILE = 'metrics.jsonl'
_CHECKPOINT_LIST = 'checkpoint'  # names the complete checkpoints; not there before the first
# What a field that is not set holds.
_NOTHING: tuple[Any, ...] = (None, [], {})
PACKAGES = ('tensorflow', 'keras', 'numpy', 'pycocotools')
_HEADER = '# Reproduces this run: train.py --config_file={path} --mode=... --model_dir=...\n'


@dataclasses.dataclass
class Params:
    """The contents of a params.yaml, or of any config file.

    Attributes:
        experiment: Name of the experiment. '' if the file does not name it.
        imports: Modules to import first.
        overrides: The config's values, as read from the file.
    """

    experiment: str
    imports: list[str]
    overrides: dict[str, Any]


def load_params(path: str) -> Params:
    """Reads a config file.

    Raises:
        ConfigError: If it cannot be read, or `experiment` or `imports` are not what they should be.
    """
    return split_params(yaml_files.load_yaml(path), path)


def split_params(contents: dict[str, Any], path: str) -> Params:
    """Takes `experiment` and `imports` out of the contents of a config file.

    Args:
        contents: A mapping, read from a file or made by `Hyperparameters.to_params`.
        path: The file, for messages.

    Raises:
        ConfigError: As `load_params`.
    """
    overrides = contents if isinstance(contents, SourcedDict) else dict(contents)
    experiment = overrides.pop('experiment', None)
    imports = overrides.pop('imports', None)
    if experiment is not None and not isinstance(experiment, str):
        raise errors.UsageError(
            where=f'{path}: experiment',
            expected='the name of an experiment',
            received=repr(experiment),
        )
    if _is_null(imports):
        imports = []
    if not isinstance(imports, list) or not all(isinstance(name, str) for name in imports):
        raise errors.UsageError(
            where=f'{path}: imports', expected='a list of modules', received=repr(imports)
        )
    name = '' if _is_null(experiment) else str(experiment)
    return Params(name, [str(module) for module in imports], overrides)


def save_params(
    config: hyperparams.Config, model_dir: str, experiment: str = '', imports: Iterable[str] = ()
) -> str:
    """Writes params.yaml, which alone gives the same config again, and returns its path.

    Steps that were worked out from epochs are left out: the epochs are there.

    Args:
        config: The config of the run.
        model_dir: The folder, made if need be.
        experiment: Name of the experiment. '' leaves it out.
        imports: Modules that the config needs.
    """
    path = join(model_dir, PARAMS_FILE)
    tree: dict[str, Any] = {}
    if experiment:
        tree['experiment'] = experiment
        tree['imports'] = list(imports)
    tree.update(to_tree(config))
    make_dir(model_dir)
    text = _HEADER.format(path=path) if experiment else ''
    write_text(path, text + yaml_files.dump_yaml(tree))
    return path


def to_tree(config: hyperparams.Config) -> dict[str, Any]:
    """Returns a config as params.yaml has it: without steps that were worked out from epochs."""
    tree = config.to_dict()
    _drop_derived(config, tree)
    return tree


def _drop_derived(config: hyperparams.Config, tree: dict[str, Any]) -> None:
    """Removes the steps that epochs decide over."""
    for owner, node, steps_field, _ in epoch_fields.iterate_epoch_fields(config):
        if epoch_fields.is_derived(node, steps_field):
            branch = tree
            for key in owner.split('.') if owner else []:
                branch = branch[key]
            branch.pop(steps_field, None)


def save_run_info(
    model_dir: str, argv: Sequence[str], data: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Writes run.json: versions, command line, data and time; returns what it wrote.

    What an earlier run left there is kept under `earlier`.

    Args:
        model_dir: The folder, made if need be.
        argv: The command line.
        data: What is known of the data, its fingerprint for one.
    """
    path = join(model_dir, RUN_FILE)
    earlier = load_run_info(model_dir)
    history = earlier.pop('earlier', []) if earlier else []
    info = {
        'command': shlex.join(argv),
        'started': datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds'),
        'working_dir': os.getcwd(),
        'versions': read_versions(),
        'data': dict(data or {}),
        'earlier': [*history, earlier] if earlier else history,
    }
    make_dir(model_dir)
    write_text(path, json.dumps(info, indent=2, default=str) + '\n')
    return info


def load_run_info(model_dir: str) -> dict[str, Any]:
    """Returns the contents of run.json, {} if there is none or it is damaged."""
    path = join(model_dir, RUN_FILE)
    if not exists(path):
        return {}
    try:
        info = json.loads(yaml_files.read_text(path))
    except ValueError:
        return {}
    return info if isinstance(info, dict) else {}


def read_versions() -> dict[str, str]:
    """Versions of Python, this package and those it computes with, without importing them."""
    from importlib import metadata  # takes 10 ms

    versions = {'python': platform.python_version(), 'official-lite': __version__}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = 'not installed'
    return versions


def check_experiment(model_dir: str, experiment: str) -> None:
    """Refuses a model_dir that holds a run of another experiment.

    Raises:
        UsageError: If its params.yaml names another experiment.
    """
    path = join(model_dir, PARAMS_FILE)
    if not exists(path):
        return
    saved = load_params(path).experiment
    if saved and experiment and saved != experiment:
        raise errors.UsageError(
            f'the folder holds a run of the experiment {saved!r}, not of {experiment!r}',
            where=f'--model_dir={model_dir}',
            hint='choose another folder, or delete this one',
        )


def find_changes(config: cfg.ExperimentConfig, model_dir: str) -> list[tuple[str, Any, Any]]:
    """Returns (path, value of the run in model_dir, value now) of all that differs.

    Raises:
        UsageError: If params.yaml does not fit the experiment any more.
    """
    path = join(model_dir, PARAMS_FILE)
    if not exists(path):
        return []
    saved = load_params(path).overrides
    before = config.replace()
    try:
        before.override(saved, is_strict=True)
    except hyperparams.ConfigError as error:
        raise errors.UsageError(
            f'its {PARAMS_FILE} does not fit this experiment: {error}',
            where=f'--model_dir={model_dir}',
            hint='choose another folder, or delete this one',
        ) from error
    return [
        (name, old, new)
        for name, old, new in hyperparams.diff(before, config)
        if not _is_derived_path(config, name)
    ]


def check_resume(config: cfg.ExperimentConfig, model_dir: str) -> list[str]:
    """Compares a config with the one of the run in model_dir.

    Args:
        config: The config, with all that the data decides.
        model_dir: The folder, which may be new.

    Returns:
        One line per field that differs, to be printed; of an entry that a list has gained or lost,
        only the fields that are set.

    Raises:
        UsageError: If what differs changes the shapes of weights, or the classes, and the run has
            saved some already.
    """
    changes = find_changes(config, model_dir)
    told = [_format_change(change) for change in changes if _is_told(config, change)]
    if not exists(join(model_dir, _CHECKPOINT_LIST)):
        return told
    fatal = [change for change in changes if _decides_weights(config, change[0])]
    if fatal:
        raise errors.UsageError(
            'the run in this folder has weights or classes that this config does not fit:\n'
            + '\n'.join(f'  {_format_change(change)}' for change in fatal),
            where=f'--model_dir={model_dir}',
            hint='choose another folder, or take these changes back',
        )
    return told


def _is_told(config: cfg.ExperimentConfig, change: tuple[str, Any, Any]) -> bool:
    """Whether a field that has come or gone with an entry of a list is set; other fields always are told."""
    path, old, new = change
    if old is MISSING:
        source = config.source_of(path)
        return new not in _NOTHING and (source is None or source.is_given)
    return new is not MISSING or old not in _NOTHING


def _format_change(change: tuple[str, Any, Any]) -> str:
    path, old, new = change
    return f'{path}: {old!r} -> {new!r}'


def _is_derived_path(config: hyperparams.Config, path: str) -> bool:
    owner, _, name = path.rpartition('.')
    node = _get_node(config, owner)
    return name in epoch_fields.get_epoch_fields(node) and epoch_fields.is_derived(node, name)


def _decides_weights(config: hyperparams.Config, path: str) -> bool:
    """Whether a field is in `_weight_fields` or `_class_fields` of the config that holds it."""
    node: Any = config
    for name in path.replace('[', '.[').split('.'):
        declared = (
            *getattr(type(node), '_weight_fields', ()),
            *getattr(type(node), '_class_fields', ()),
        )
        if name in declared:
            return True
        if isinstance(node, hyperparams.OneOfConfig) and name == node.type:
            node = node.get()
        else:
            node = getattr(node, name, None)
        if not isinstance(node, hyperparams.Config):
            return False
    return False


def _get_node(config: hyperparams.Config, path: str) -> Any:
    node: Any = config
    for name in path.split('.') if path else []:
        node = getattr(node, name, None)
    return node


def _is_null(value: Any) -> bool:
    return value is None or str(value) in ('', '~', 'null')


def join(model_dir: str, name: str) -> str:
    """Path of a file in model_dir, which may be remote."""
    return (
        f'{model_dir.rstrip("/")}/{name}' if '://' in model_dir else os.path.join(model_dir, name)
    )


def exists(path: str) -> bool:
    """Whether a local or remote file exists."""
    if '://' not in path:
        return os.path.exists(path)
    import tensorflow as tf

    return bool(tf.io.gfile.exists(path))


def is_dir(path: str) -> bool:
    """Whether a local or remote folder exists."""
    if '://' not in path:
        return os.path.isdir(path)
    import tensorflow as tf

    return bool(tf.io.gfile.isdir(path))


def write_text(path: str, text: str) -> None:
    """Writes a file of the run; a local one under another name first, so that it is never half there."""
    is_local = '://' not in path
    temporary = f'{path}.tmp{os.getpid()}' if is_local else path
    try:
        yaml_files.write_text(temporary, text)
        if is_local:
            os.replace(temporary, path)
    except OSError as error:
        raise errors.UsageError(
            f'{os.path.basename(path)} cannot be written: {error.strerror}',
            where=f'--model_dir={os.path.dirname(path)}',
        ) from error


def make_dir(path: str) -> None:
    """Makes a local or remote folder, unless it exists.

    Raises:
        UsageError: If it cannot be made.
    """
    if '://' in path:
        import tensorflow as tf

        tf.io.gfile.makedirs(path)
        return
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise errors.UsageError(
            f'the folder cannot be made: {error.strerror}', where=f'--model_dir={path}'
        ) from error
