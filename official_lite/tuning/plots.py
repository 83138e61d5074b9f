"""Plots of a study by Optuna: each as PNG (Matplotlib) and as HTML (Plotly)."""

from __future__ import annotations

import importlib.util
import pathlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from official_lite.tuning.search_space import shorten_paths
from official_lite.tuning.study_config import Objective

if TYPE_CHECKING:
    import optuna

__all__ = ['PLOTS_SUBDIR', 'save_plots']

PLOTS_SUBDIR = 'plots'
_FEWEST_TRIALS = 2
_PIXELS_PER_INCH = 120

# Arguments of Optuna's plotting functions beside the study.
_Arguments = dict[str, Any]


def save_plots(
    study: optuna.Study, objectives: Sequence[Objective], study_dir: pathlib.Path
) -> tuple[list[pathlib.Path], list[str]]:
    """Plots history, importance, parallel coordinates, slices and, of several objectives, the front.

    Args:
        study: The study.
        objectives: What was optimised.
        study_dir: Its folder; the plots go into `plots`.

    Returns:
        The files, and what could not be plotted with the reason.
    """
    folder = study_dir / PLOTS_SUBDIR
    shortened = _copy_with_short_names(study)
    complete = [t for t in shortened.trials if t.state.name == 'COMPLETE']
    if len(complete) < _FEWEST_TRIALS:
        return [], [f'plots need {_FEWEST_TRIALS} complete trials, there are {len(complete)}']
    folder.mkdir(parents=True, exist_ok=True)
    files: list[pathlib.Path] = []
    skipped: list[str] = []
    for save in (_save_png, _save_html):
        package = 'matplotlib' if save is _save_png else 'plotly'
        if importlib.util.find_spec(package) is None:
            line = "pip install 'official-lite[tune]'"
            skipped.append(f'{package} is not installed; install it: {line}')
            continue
        for name, function, arguments in _iterate_plots(complete, objectives):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter('ignore')
                    files.append(save(folder / name, function, shortened, arguments))
            except (ValueError, RuntimeError, ZeroDivisionError) as error:
                skipped.append(f'{name}: {error}')
    return files, list(dict.fromkeys(skipped))


def _iterate_plots(
    complete: Sequence[optuna.trial.FrozenTrial], objectives: Sequence[Objective]
) -> Iterator[tuple[str, str, _Arguments]]:
    """Yields the name of a file, Optuna's function and its arguments."""
    varying = _list_varying(complete)
    common = [n for n in varying if all(n in trial.params for trial in complete)]
    for index, objective in enumerate(objectives):
        several = len(objectives) > 1
        label = objective.metric.replace('/', '_')
        suffix = f'_{label}' if several else ''
        target: _Arguments = {'target_name': objective.metric}
        if several:
            target['target'] = _make_target(index)
        yield f'history{suffix}', 'plot_optimization_history', target
        if common:
            yield f'importance{suffix}', 'plot_param_importances', {'params': common, **target}
            yield f'parallel{suffix}', 'plot_parallel_coordinate', {'params': common, **target}
        if varying:
            yield f'slices{suffix}', 'plot_slice', {'params': varying, **target}
    if len(objectives) in (2, 3):
        names = {'target_names': [objective.metric for objective in objectives]}
        yield 'pareto', 'plot_pareto_front', names


def _make_target(index: int) -> Callable[[Any], float]:
    return lambda trial: float(trial.values[index])


def _list_varying(trials: Sequence[optuna.trial.FrozenTrial]) -> list[str]:
    """Parameters with more than one value among these trials."""
    values: dict[str, set[Any]] = {}
    for trial in trials:
        for name, value in trial.params.items():
            values.setdefault(name, set()).add(value)
    return [name for name, found in values.items() if len(found) > 1]


def _save_png(
    path: pathlib.Path, function: str, study: optuna.Study, arguments: _Arguments
) -> pathlib.Path:
    import matplotlib.pyplot as plt
    import numpy as np
    from optuna.visualization import matplotlib as plots

    backend = plt.get_backend()
    plt.switch_backend('agg')  # no window
    try:
        axes = getattr(plots, function)(study, **arguments)
        figure = np.asarray(axes).ravel()[0].figure
        target = path.with_suffix('.png')
        figure.savefig(target, dpi=_PIXELS_PER_INCH, bbox_inches='tight')
        plt.close(figure)
    finally:
        plt.switch_backend(backend)
    return target


def _save_html(
    path: pathlib.Path, function: str, study: optuna.Study, arguments: _Arguments
) -> pathlib.Path:
    from optuna import visualization

    figure = getattr(visualization, function)(study, **arguments)
    target = path.with_suffix('.html')
    figure.write_html(target, include_plotlyjs='directory')
    return target


def _copy_with_short_names(study: optuna.Study) -> optuna.Study:
    """A copy in memory whose parameters have the shortest names that tell them apart."""
    import optuna

    trials = [trial for trial in study.trials if trial.state.is_finished()]
    names = shorten_paths({path: None for trial in trials for path in trial.params})
    copy = optuna.create_study(directions=study.directions)
    for trial in trials:
        copy.add_trial(
            optuna.trial.create_trial(
                state=trial.state,
                values=trial.values if trial.state.name == 'COMPLETE' else None,
                params=_rename(trial.params, names),
                distributions=_rename(trial.distributions, names),
                intermediate_values=trial.intermediate_values,
            )
        )
    return copy


def _rename(mapping: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names[path]: value for path, value in mapping.items()}
