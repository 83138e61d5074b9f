"""From flags to the config of a run.

Later layers win: the experiment's factory, each --config_file in order, each --hparams_overrides in
order, each --params_override in order, then flags of their own (--tpu, --tf_data_service), which count
only if they are given.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import pathlib
from collections.abc import Iterable
from typing import Any

from official_lite import errors
from official_lite.core import config_definitions as cfg
from official_lite.core import exp_factory, plugins, run_files
from official_lite.modeling import hyperparams
from official_lite.modeling.hyperparams import tree

__all__ = [
    'ExperimentParser',
    'ParseConfigOptions',
    'ParsedExperiment',
    'find_config_file',
    'list_config_files',
    'parse_experiment',
]

_BY_NAMES = '--hparams_overrides'
_PACKAGE = pathlib.Path(__file__).resolve().parent.parent
# Where config files live that are found by name: in an installed package, and in a checkout.
CONFIG_FOLDERS = (_PACKAGE / 'packaged_configs', _PACKAGE.parent / 'configs')
_EXPERIMENTS = 'experiments'


@dataclasses.dataclass
class ParseConfigOptions:
    """Stands in for flags.

    Attributes:
        experiment: Name of the experiment. '' if a config file names it.
        config_file: Config files, in order.
        tpu: Name or address of a TPU. '' means not given.
        tf_data_service: Address of a tf.data service. '' means not given.
        params_override: Overrides: one text, or several in order.
        imports: Modules to import first.
        hparams_overrides: Overrides by short names: one text, or several in order.
    """

    experiment: str
    config_file: list[str]
    tpu: str = ''
    tf_data_service: str = ''
    params_override: str | list[str] = ''
    imports: list[str] = dataclasses.field(default_factory=list)
    hparams_overrides: str | list[str] = ''

    def __contains__(self, name: object) -> bool:
        return name in {field.name for field in dataclasses.fields(self)}


@dataclasses.dataclass(frozen=True)
class ParsedExperiment:
    """A config and what is needed to get it again.

    Attributes:
        config: The config, checked but not locked.
        experiment: Name of the experiment.
        imports: Modules that were asked for.
    """

    config: cfg.ExperimentConfig
    experiment: str
    imports: tuple[str, ...]


class ExperimentParser:
    """Puts the layers of a config on top of each other; `parse` does all of it.

    Args:
        flags_obj: Flags, or a `ParseConfigOptions`, or anything with these attributes.
    """

    def __init__(self, flags_obj: Any) -> None:
        self._flags_obj = flags_obj
        self._files: list[tuple[str, run_files.Params]] | None = None
        self._named: list[str] = []

    def parse(self) -> cfg.ExperimentConfig:
        """Returns the config, neither checked as a whole nor locked."""
        params = self.base_experiment()
        params = self.parse_config_file(params)
        params = self.parse_hparams_overrides(params)
        params = self.parse_params_override(params)
        self._check_names_in_force(params)
        params = self.parse_runtime(params)
        return self.parse_data_service(params)

    @property
    def experiment(self) -> str:
        """The experiment's name: the flag, or what the last config file that names one says."""
        given = self._get('experiment')
        if given:
            return str(given)
        named = [params.experiment for _, params in self._read_files() if params.experiment]
        if named:
            return named[-1]
        raise errors.UsageError(
            'no experiment is named',
            where='--experiment',
            hint='give --experiment=NAME (`official-lite experiments` lists them), or --config_file with a '
            'params.yaml, which names its experiment',
        )

    @property
    def imports(self) -> tuple[str, ...]:
        """Modules to import: those of config files, then those of flags."""
        from_files = [name for _, params in self._read_files() for name in params.imports]
        return tuple(dict.fromkeys([*from_files, *_as_list(self._get_imports())]))

    def base_experiment(self) -> cfg.ExperimentConfig:
        """Returns the config that the experiment's factory makes."""
        for path, params in self._read_files():
            plugins.import_modules(params.imports, source=f'{path}: imports')
        plugins.import_modules(_as_list(self._get_imports()))
        return exp_factory.get_exp_config(self.experiment)

    def parse_config_file(self, params: cfg.ExperimentConfig) -> cfg.ExperimentConfig:
        """Overrides with each config file."""
        for path, contents in self._read_files():
            params.override(contents.overrides, is_strict=True, source=path)
        return params

    def parse_hparams_overrides(self, params: cfg.ExperimentConfig) -> cfg.ExperimentConfig:
        """Overrides with each --hparams_overrides, by short names."""
        for text in _as_list(self._get('hparams_overrides')):
            self._named += hyperparams.override_by_names(params, text, source=_BY_NAMES)
        return params

    def _check_names_in_force(self, params: cfg.ExperimentConfig) -> None:
        """Refuses names whose branch a later flag has left: they would have no effect."""
        leaves = [path for path, _, _ in params.leaves()]
        hint = 'give it in --params_override, after the branch'
        lost = [
            path
            for path in self._named
            if not any(tree.is_inside(path, leaf) or tree.is_inside(leaf, path) for leaf in leaves)
        ]
        problems = [
            hyperparams.Problem(
                path=path,
                message=f'{_BY_NAMES} sets it, but --params_override chooses another branch',
                hint=hint,
            )
            for path in lost
        ]
        if problems:
            raise hyperparams.ConfigError(problems)

    def parse_params_override(self, params: cfg.ExperimentConfig) -> cfg.ExperimentConfig:
        """Overrides with each --params_override."""
        for text in _as_list(self._get('params_override')):
            hyperparams.override_params_dict(
                params, text, is_strict=True, source='--params_override'
            )
        return params

    def parse_runtime(self, params: cfg.ExperimentConfig) -> cfg.ExperimentConfig:
        """Sets runtime.tpu if --tpu is given, and otherwise leaves it alone."""
        tpu = self._get('tpu')
        if tpu:
            params.override({'runtime': {'tpu': tpu}}, source='--tpu')
        return params

    def parse_data_service(self, params: cfg.ExperimentConfig) -> cfg.ExperimentConfig:
        """Sets the tf.data service of both data configs if --tf_data_service is given."""
        address = self._get('tf_data_service')
        if address and isinstance(params.task, cfg.TaskConfig):
            data = {'tf_data_service_address': address}
            params.override(
                {'task': {'train_data': data, 'validation_data': dict(data)}},
                source='--tf_data_service',
            )
        return params

    def _read_files(self) -> list[tuple[str, run_files.Params]]:
        if self._files is None:
            names = _as_list(self._get('config_file'))
            paths = [find_config_file(name) for name in names]
            self._files = [(path, run_files.load_params(path)) for path in paths]
        return self._files

    def _get(self, name: str) -> Any:
        return getattr(self._flags_obj, name, None)

    def _get_imports(self) -> Any:
        return self._get('import') or self._get('imports')


def parse_experiment(flags_obj: Any) -> ParsedExperiment:
    """Returns the config that flags describe, checked, with the name of its experiment.

    Raises:
        UsageError: If a flag, a file or a value is wrong; a ConfigError lists all wrong values.
    """
    parser = ExperimentParser(flags_obj)
    config = parser.parse()
    config.validate()
    return ParsedExperiment(config, parser.experiment, parser.imports)


def find_config_file(name: str, folder: str = _EXPERIMENTS, flag: str = '--config_file') -> str:
    """Returns the path of a config file: the name itself, or a file that comes with the package.

    Args:
        name: Path or name.
        folder: Which of the package's folders of configs.
        flag: The flag that names it, for messages.

    Raises:
        UsageError: If there is no such file; tells the nearest of those that there are.
    """
    if '://' in name or os.path.isfile(name):
        return name
    where = f'{flag}={name}'
    if os.path.isdir(name):
        params = os.path.join(name, run_files.PARAMS_FILE)
        hint = f'use {flag}={params}' if os.path.isfile(params) else 'name a file in it'
        raise errors.UsageError('this is a folder', where=where, hint=hint)
    for root in CONFIG_FOLDERS:
        if not os.path.isabs(name) and (root / folder / name).is_file():
            return str(root / folder / name)
    known = list_config_files(folder)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f'did you mean {near[0]!r}?' if near else ''
    raise errors.UsageError(
        'no such file, neither here nor among those that come with the package '
        f'({", ".join(known) or "none"})',
        where=where,
        hint=hint,
    )


def list_config_files(folder: str = _EXPERIMENTS) -> list[str]:
    """Names of the config files that come with the package."""
    names = {
        path.relative_to(root / folder).as_posix()
        for root in CONFIG_FOLDERS
        for path in (root / folder).rglob('*.yaml')
    }
    return sorted(names)


def _as_list(value: str | Iterable[str] | None) -> list[str]:
    if not value:
        return []
    return [value] if isinstance(value, str) else [text for text in value if text]
