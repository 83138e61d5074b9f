"""Every sampler and pruner in a study; what they cannot do is said."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import pathlib

import pytest

from official_lite import errors
from official_lite.core import exp_factory
from official_lite.tuning import (
    Choice,
    LogUniform,
    samplers,
    search_space,
    space_checks,
    study_config,
)
from tests.tuning import studies

optuna = pytest.importorskip('optuna')


def make_space() -> search_space.SearchSpace:
    config = exp_factory.get_exp_config('retinanet_custom')
    return space_checks.check_space(config, space_checks.make_parameters(studies.SPACE))


def build(name: str, seed: int = 3) -> optuna.samplers.BaseSampler:
    config = study_config.SamplerConfig(type=name)
    return samplers.build_sampler(config, seed)


def ask(study: optuna.Study) -> dict[str, object]:
    """The values of one trial, told as a result."""
    trial = study.ask()
    config = exp_factory.get_exp_config('retinanet_custom')
    make_space().build_config(config, lambda p: p.domain.suggest(trial, p.path))
    value = abs(float(trial.params[studies.RATE]) - 1e-3)
    study.tell(trial, [value] * len(study.directions))
    return dict(trial.params)


def make_study(name: str, storage: optuna.storages.BaseStorage, count: int) -> optuna.Study:
    """The study in this storage, opened as a new process would."""
    samplers.silence_optuna()
    return optuna.create_study(
        storage=storage,
        study_name='s',
        directions=['minimize'] * count,
        sampler=build(name),
        load_if_exists=True,
    )


@pytest.mark.parametrize(
    ('name', 'count', 'package'),
    [
        ('random', 1, 'optuna'),
        ('tpe', 1, 'optuna'),
        ('tpe', 2, 'optuna'),
        ('nsga2', 2, 'optuna'),
        ('nsga3', 3, 'optuna'),
        ('cmaes', 1, 'cmaes'),
        ('gp', 1, 'torch'),
        ('gp', 2, 'torch'),
    ],
)
def test_a_study_that_is_opened_again_goes_on_as_if_it_had_not_ended(
    name: str, count: int, package: str
) -> None:
    pytest.importorskip(package)
    whole = make_study(name, optuna.storages.InMemoryStorage(), count)
    expected = [ask(whole) for _ in range(14)]
    storage = optuna.storages.InMemoryStorage()
    received = [ask(make_study(name, storage, count)) for _ in range(14)]
    assert received == expected
    assert len({str(params) for params in expected}) == 14
    kinds = {params[f'{studies.OPTIMIZER}.type'] for params in expected}
    assert kinds == {'sgd', 'adamw'}
    for params in expected:
        is_sgd = params[f'{studies.OPTIMIZER}.type'] == 'sgd'
        assert (studies.MOMENTUM in params) == is_sgd


def test_another_seed_gives_other_values() -> None:
    first = make_study('random', optuna.storages.InMemoryStorage(), 1)
    second = make_study('random', optuna.storages.InMemoryStorage(), 1)
    second.sampler = build('random', seed=4)
    assert ask(first) != ask(second)


@pytest.mark.parametrize(
    ('sampler', 'package', 'extra'),
    [('cmaes', 'cmaes', 'tune'), ('gp', 'torch', 'tune-gp'), ('gp', 'scipy', 'tune-gp')],
)
def test_a_sampler_that_is_not_installed_is_refused_before_the_first_trial(
    sampler: str,
    package: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
) -> None:
    find = importlib.util.find_spec
    there = importlib.machinery.ModuleSpec('there', None)
    monkeypatch.setattr(
        importlib.util,
        'find_spec',
        lambda name: None if name == package else there if name == 'torch' else find(name),
    )
    message = (
        rf"needs '{package}', which is not installed; .*pip install 'official-lite\[{extra}\]'"
    )
    with pytest.raises(errors.UsageError, match=message):
        studies.run(tmp_path / 'study', n_trials=1, sampler={'type': sampler})
    assert not (tmp_path / 'study').exists()


@pytest.mark.parametrize(
    ('sampler', 'ignored'),
    [
        ('random', []),
        ('tpe', []),
        ('nsga2', [studies.MOMENTUM]),
        ('gp', [studies.MOMENTUM]),
        ('cmaes', [f'{studies.OPTIMIZER}.type', studies.MOMENTUM]),
    ],
)
def test_a_sampler_that_does_not_model_parameters_says_so(sampler: str, ignored: list[str]) -> None:
    said = samplers.describe_ignored(sampler, make_space())
    assert said.endswith(', '.join(ignored))
    assert bool(said) == bool(ignored)
    flat = {studies.RATE: LogUniform(1e-5, 1e-3), studies.BATCH: Choice([8, 16])}
    config = exp_factory.get_exp_config('retinanet_custom')
    space = space_checks.check_space(config, space_checks.make_parameters(flat))
    assert samplers.describe_ignored('gp', space) == ''
    assert samplers.describe_ignored('cmaes', space).endswith(studies.BATCH)


@pytest.mark.parametrize(
    ('name', 'cls'),
    [
        ('none', optuna.pruners.NopPruner),
        ('median', optuna.pruners.MedianPruner),
        ('asha', optuna.pruners.SuccessiveHalvingPruner),
        ('hyperband', optuna.pruners.HyperbandPruner),
    ],
)
def test_pruners(name: str, cls: type) -> None:
    assert isinstance(samplers.build_pruner(study_config.PrunerConfig(type=name)), cls)


@pytest.mark.parametrize('name', ['median', 'asha', 'hyperband'])
def test_pruners_end_bad_trials_and_never_the_best(name: str) -> None:
    samplers.silence_optuna()
    config = study_config.PrunerConfig(type=name)
    if name == 'median':
        config.median.n_warmup_evaluations = 2
    pruner = samplers.build_pruner(config)
    study = optuna.create_study(study_name='s', direction='maximize', pruner=pruner)
    qualities = [0.5, 0.6, 0.4, 0.7, 0.3, 0.9, 0.2, 0.1, 0.8, 0.05, 0.15, 0.25]
    ended = []
    for quality in qualities:
        trial = study.ask()
        for evaluation in range(1, 10):
            trial.report(quality * evaluation / 9, evaluation)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                ended.append(quality)
                assert name != 'median' or evaluation == 3  # two are not looked at
                break
        else:
            study.tell(trial, quality)
    assert ended
    assert 0.9 not in ended
    assert study.best_value == 0.9
