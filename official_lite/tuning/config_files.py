"""Configs of trials as files for `--config_file`: what somebody chose, on top of the experiment."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from official_lite.core import exp_factory
from official_lite.modeling import hyperparams
from official_lite.modeling.hyperparams import tree, values, yaml_files
from official_lite.modeling.hyperparams.places import MISSING
from official_lite.modeling.optimization.configs import epoch_fields
from official_lite.tuning import trial_files

__all__ = ['make_overrides', 'save_config']


def save_config(
    path: pathlib.Path,
    config: hyperparams.Config,
    *,
    experiment: str,
    imports: Sequence[str],
    header: str = '',
) -> None:
    """Writes a config as a file for `--config_file`, under another name first.

    Args:
        path: The file.
        config: The config, not locked.
        experiment: Name of the experiment.
        imports: Modules that it needs.
        header: Lines to begin with, comments.
    """
    content = {'experiment': experiment, 'imports': list(imports)}
    text = yaml_files.dump_yaml({**content, **make_overrides(config, experiment)})
    trial_files.write_atomically(path, header + text)


def make_overrides(config: hyperparams.Config, experiment: str) -> dict[str, Any]:
    """The smallest nested mapping that makes the experiment this config again.

    Values that nobody chose stay out: some of them follow from others (steps from epochs, a warm-up
    from the length of training) as long as nobody sets them.
    """
    paths = [path for path, _, source in config.leaves() if source.is_given]
    reference = exp_factory.get_exp_config(experiment)
    reference.override(_nest(config, paths), source='code: overrides')
    for path, _, value in hyperparams.diff(reference, config):
        if value is not MISSING:
            paths.append(path)
    return _nest(config, paths)


def _nest(config: hyperparams.Config, paths: Sequence[str]) -> dict[str, Any]:
    """Values at these paths as a nested mapping; of a list all or nothing."""
    derived = set(_iterate_derived(config))
    nested: dict[str, Any] = {}
    for path in dict.fromkeys(path.partition('[')[0] for path in paths):
        if path in derived:
            continue
        *owners, name = path.split('.')
        branch = nested
        for owner in owners:
            branch = branch.setdefault(owner, {})
        branch[name] = values.export(tree.value_at(config, path))
    return nested


def _iterate_derived(config: hyperparams.Config) -> Iterator[str]:
    """Yields lengths in steps over which the epochs beside them decide."""
    for owner, node, steps_field, _ in epoch_fields.iterate_epoch_fields(config):
        if epoch_fields.wins_over_steps(node, steps_field):
            yield f'{owner}.{steps_field}'
