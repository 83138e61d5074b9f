"""`Hyperparameters`: which settings made this? As a flat dict, as a tree, as a table.

`model.hyperparameters` of a model that a task built, `trainer.hyperparameters`, and what
`load_hyperparameters` finds at a path are all of this class. Works without TensorFlow.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from official_lite import errors
from official_lite.core import config_definitions as cfg
from official_lite.core import exp_factory, plugins, run_files
from official_lite.modeling import hyperparams
from official_lite.modeling.hyperparams import config_checker, values
from official_lite.modeling.hyperparams import errors as config_errors
from official_lite.modeling.hyperparams import tree as tree_lib

__all__ = ['Hyperparameters', 'UnknownHyperparameterError', 'flatten', 'format_value']


class UnknownHyperparameterError(errors.UsageError, KeyError):
    """There is no hyperparameter of this name."""

    __str__ = errors.UsageError.__str__


class Hyperparameters(Mapping[str, Any]):
    """An immutable mapping of dotted paths to values, `hp['task.model.num_classes']`.

    Attributes:
        experiment: Name of the experiment, '' if it is not known.
        imports: Modules that the experiment needs.
        live: What changes while a model trains, by name: `learning_rate`, `step`, `epoch`,
            `batch_size`. {} for what does not train.
        given: Paths that somebody set, rather than a class or the experiment; None if not known.
    """

    def __init__(
        self,
        tree: Mapping[str, Any],
        *,
        experiment: str = '',
        imports: Iterable[str] = (),
        live: Mapping[str, Any] | None = None,
        given: Iterable[str] | None = None,
        saved_tree: Mapping[str, Any] | None = None,
    ) -> None:
        """Keeps a copy.

        Args:
            tree: Nested values.
            experiment: See the attributes.
            imports: See the attributes.
            live: See the attributes.
            given: See the attributes.
            saved_tree: What `to_params` returns instead of the tree.
        """
        self.experiment = experiment
        self.imports = tuple(imports)
        self.live = dict(live or {})
        self.given = None if given is None else frozenset(given)
        self._tree = copy.deepcopy(dict(tree))
        self._saved_tree = self._tree if saved_tree is None else dict(saved_tree)
        self._flat = {**dict(flatten(self._tree)), **self.live}

    @classmethod
    def of(cls, config: Any, live: Mapping[str, Any] | None = None) -> Hyperparameters:
        """Returns the hyperparameters that a config holds now.

        Args:
            config: An `ExperimentConfig`, or the config of a task, which is put under `task`. Other
                configs and mappings become the tree as they are.
            live: See the attributes.
        """
        if not isinstance(config, hyperparams.Config):
            plain = config.as_dict() if hasattr(config, 'as_dict') else dict(config)
            return cls(plain, live=live)
        prefix = 'task' if isinstance(config, cfg.TaskConfig) else ''
        tree, saved = config.to_dict(), run_files.to_tree(config)
        given = [path for path, _, source in config.leaves() if source.is_given]
        return cls(
            {prefix: tree} if prefix else tree,
            experiment=exp_factory.find_experiment(config),
            imports=plugins.imported(),
            live=live,
            given=[f'{prefix}.{path}' for path in given] if prefix else given,
            saved_tree={prefix: saved} if prefix else saved,
        )

    @classmethod
    def from_params(cls, params: run_files.Params) -> Hyperparameters:
        """Returns the hyperparameters that a params.yaml holds."""
        tree = values.to_python(params.overrides)
        return cls(tree, experiment=params.experiment, imports=params.imports)

    def __getitem__(self, path: str) -> Any:
        try:
            return self._flat[path]
        except KeyError:
            near = config_errors.find_nearest(path, self._flat)
            raise UnknownHyperparameterError(
                'there is no such hyperparameter',
                where=str(path),
                hint=f'did you mean {near!r}?' if near else '',
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._flat)

    def __len__(self) -> int:
        return len(self._flat)

    def __contains__(self, path: object) -> bool:
        return path in self._flat

    def __repr__(self) -> str:
        name = f'{self.experiment!r}, ' if self.experiment else ''
        return f'<Hyperparameters {name}{len(self)} values; .table() shows them>'

    def flat(self) -> dict[str, Any]:
        """Returns dotted path -> value, live values by their names."""
        return dict(self._flat)

    def tree(self) -> dict[str, Any]:
        """Returns the values as nested dicts."""
        return {**_without_classes(self._tree), **self.live}

    def changed(self) -> dict[str, Any]:
        """Returns the flat values that somebody set, and the live ones; all if that is not known."""
        if self.given is None:
            return self.flat()
        return {
            path: value
            for path, value in self._flat.items()
            if path in self.live or any(tree_lib.is_inside(path, given) for given in self.given)
        }

    def table(self, *, only_changed: bool = False) -> str:
        """Returns a text with a line for each value.

        Args:
            only_changed: Whether the lines are those of `changed`.
        """
        shown = self.changed() if only_changed else self._flat
        width = max(map(len, shown), default=0)
        return '\n'.join(f'{path:<{width}}  {format_value(value)}' for path, value in shown.items())

    def to_config(self) -> cfg.ExperimentConfig:
        """Returns the typed config.

        Raises:
            UsageError: The experiment is not known, or there is none of its name.
            ConfigError: The values do not fit the experiment any more.
        """
        if not self.experiment:
            raise errors.UsageError(
                'it is not known of which experiment these are',
                where='to_config',
                hint='apply them to a config yourself: config.override(hyperparameters.tree())',
            )
        plugins.import_modules(self.imports)
        config = exp_factory.get_exp_config(self.experiment)
        config.override(self._saved_tree)
        return config

    def to_params(self) -> dict[str, Any]:
        """Returns the contents of a params.yaml: what `from_params` and --config_file read."""
        head = {'experiment': self.experiment, 'imports': list(self.imports)}
        return {**(head if self.experiment else {}), **self._saved_tree}

    def to_yaml(self) -> str:
        """Returns the text of a params.yaml."""
        return hyperparams.dump_yaml(self.to_params())


def flatten(tree: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """Yields dotted path and value of every leaf; lists are leaves unless they hold mappings."""
    if isinstance(tree, Mapping) and (tree or not path):
        for key, value in tree.items():
            if key != config_checker.CLASS_KEY:
                yield from flatten(value, f'{path}.{key}' if path else str(key))
    elif isinstance(tree, (list, tuple)) and any(isinstance(item, Mapping) for item in tree):
        for index, item in enumerate(tree):
            yield from flatten(item, f'{path}[{index}]')
    else:
        yield path, tree


def format_value(value: Any) -> str:
    """A value on one line."""
    is_blank = (isinstance(value, str) and value.strip() != value) or value == ''
    return repr(value) if is_blank else str(value)


def _without_classes(tree: Any) -> Any:
    """A tree without the names of classes that `to_dict` leaves where they are needed to read it."""
    if isinstance(tree, Mapping):
        return {
            key: _without_classes(value)
            for key, value in tree.items()
            if key != config_checker.CLASS_KEY
        }
    if isinstance(tree, (list, tuple)):
        return type(tree)(_without_classes(item) for item in tree)
    return tree
