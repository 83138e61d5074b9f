"""The loop of a study: asks for values, starts trials, reports their evaluations, tells results.

One process watches all of its trials by looking at their files, so that a trial does the same as a
run by hand, and so that nothing is lost when this process is killed: what a trial has written is read
again by the next one.
"""

from __future__ import annotations

import contextlib
import math
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from official_lite import errors
from official_lite.modeling import hyperparams
from official_lite.tuning import (
    config_files,
    objective_checks,
    records,
    trial_files,
    trial_process,
    worker_locks,
)
from official_lite.tuning.search_space import SearchSpace
from official_lite.tuning.study_config import Objective, StudyConfig

if TYPE_CHECKING:
    import optuna

__all__ = ['StudyRunner', 'TooManyFailures']

_POLL_SECS = 0.25
_SHOW_SECS = 1.0
_TIME_IS_OVER = 'stopped: the time of the study is over'
_INTERRUPTED = 'stopped: the study was interrupted'
_DEVICES = 'CUDA_VISIBLE_DEVICES'


class TooManyFailures(errors.OfficialLiteError):
    """Trials failed one after the other."""


class _Running:
    """A trial at work: its Optuna trial, its process, and what has been reported."""

    def __init__(
        self,
        trial: optuna.Trial,
        process: trial_process.TrialProcess,
        slot: int,
        num_reported: int,
    ) -> None:
        attributes = trial.user_attrs
        self.trial = trial
        self.process = process
        self.slot = slot
        self.num_reported = num_reported
        self.num_seen = 0
        self.size_bytes = -1
        self.earlier_secs = float(attributes.get(records.WALL_SECS_KEY, 0.0))

    @property
    def wall_secs(self) -> float:
        return self.earlier_secs + self.process.wall_secs


class StudyRunner:
    """Runs the trials of one study on this machine.

    Args:
        study: Optuna's study.
        config: Settings.
        objectives: What is optimised.
        base: The config that trials vary.
        space: What is searched.
        experiment: Name of the experiment.
        imports: Modules that the config needs.
        study_dir: Folder of the study.
        num_trials: Trials in all; None for no limit.
        make_command: Makes the command line of a trial.
        on_change: Called with whether a trial has ended, then and every second.
        poll_secs: Time between two looks.
    """

    def __init__(
        self,
        study: optuna.Study,
        config: StudyConfig,
        *,
        objectives: Sequence[Objective],
        base: hyperparams.Config,
        space: SearchSpace,
        experiment: str,
        imports: Sequence[str],
        study_dir: pathlib.Path,
        num_trials: int | None,
        make_command: trial_process.MakeCommand = trial_process.make_train_command,
        on_change: Callable[[bool], None] = lambda has_ended: None,
        poll_secs: float = _POLL_SECS,
    ) -> None:
        self._study = study
        self._config = config
        self._objectives = tuple(objectives)
        self._base = base
        self._space = space
        self._experiment = experiment
        self._imports = tuple(imports)
        self._study_dir = study_dir
        self._num_trials = num_trials
        self._make_command = make_command
        self._on_change = on_change
        self._poll_secs = poll_secs
        self._running: list[_Running] = []
        self._orphans: list[optuna.trial.FrozenTrial] = []
        self._show_at = 0.0
        self._failures_in_a_row = 0
        self._error: errors.OfficialLiteError | None = None

    def run(self) -> None:
        """Runs trials until there are enough, the time is over, or somebody interrupts.

        Raises:
            MetricError: An objective is not among the metrics of an evaluation.
            TooManyFailures: Trials failed one after the other.
            KeyboardInterrupt: Somebody interrupted; the running trials have saved.
        """
        minutes = self._config.timeout_mins
        end = math.inf if minutes is None else time.monotonic() + 60.0 * minutes
        with worker_locks.WorkerLock(self._study_dir) as worker:
            try:
                self._loop(worker.name, end)
            except BaseException:
                self._stop_all(_INTERRUPTED)
                raise
            if not self._owns_trials(worker.name):
                worker.remove()
        if self._error is not None:
            raise self._error

    def _loop(self, worker: str, end: float) -> None:
        while True:
            if self._error is not None:
                self._stop_all(str(self._error))
                return
            if time.monotonic() >= end:
                self._stop_all(_TIME_IS_OVER)
                return
            self._fill_slots(worker)
            if not self._running:
                return
            time.sleep(self._poll_secs)
            ended = [running for running in self._running if self._look_at(running)]
            self._running = [running for running in self._running if running not in ended]
            if ended or time.monotonic() >= self._show_at:
                self._show_at = time.monotonic() + _SHOW_SECS
                self._on_change(bool(ended))

    # ---- starting -------------------------------------------------------------------------------

    def _fill_slots(self, worker: str) -> None:
        for slot in range(self._config.workers):
            if any(running.slot == slot for running in self._running):
                continue
            trial = self._get_next(worker)
            while trial is not None and not self._start(trial, slot):
                trial = self._get_next(worker)
            if trial is None:
                return

    def _get_next(self, worker: str) -> optuna.Trial | None:
        """A trial that lost its worker, else a new one; None if there are enough."""
        import optuna

        if self._error is not None:
            return None
        self._orphans += worker_locks.adopt_orphans(self._study, self._study_dir, worker)
        if self._orphans:
            return optuna.Trial(self._study, self._orphans.pop(0)._trial_id)
        if self._num_trials is not None and self._count() >= self._num_trials:
            return None
        trial = self._study.ask()
        trial.set_user_attr(worker_locks.WORKER_KEY, worker)
        if self._num_trials is not None and trial.number >= self._num_trials:
            self._tell_failure(trial, records.SURPLUS)  # another worker was faster
            return None
        return trial

    def _count(self) -> int:
        import optuna

        trials = self._study.get_trials(deepcopy=False)
        return sum(trial.state != optuna.trial.TrialState.WAITING for trial in trials)

    def _start(self, trial: optuna.Trial, slot: int) -> bool:
        """Starts the process of a trial; returns whether its values make a config."""
        trial_dir = trial_files.get_trial_dir(self._study_dir, trial.number)
        try:
            config = self._space.build_config(
                self._base, lambda parameter: parameter.domain.suggest(trial, parameter.path)
            )
        except hyperparams.ConfigError as error:
            self._tell_failure(trial, f'these values do not fit together: {error}')
            return False
        config_files.save_config(
            trial_dir / trial_files.CONFIG_FILE,
            config,
            experiment=self._experiment,
            imports=self._imports,
            header=f'# Trial {trial.number} of the study {self._study.study_name}.\n',
        )
        trial.set_user_attr(records.MODEL_DIR_KEY, str(trial_dir))
        num_starts = trial.user_attrs.get(records.NUM_STARTS_KEY, 0) + 1
        trial.set_user_attr(records.NUM_STARTS_KEY, num_starts)
        process = trial_process.TrialProcess(
            trial_dir,
            make_command=self._make_command,
            environment=_choose_device(slot, self._config.workers),
        )
        frozen = self._study.get_trials(deepcopy=False)[trial.number]
        num_reported = len(frozen.intermediate_values)
        self._running.append(_Running(trial, process, slot, num_reported))
        return True

    # ---- watching -------------------------------------------------------------------------------

    def _look_at(self, running: _Running) -> bool:
        """Reports what is new of a trial; returns whether it has ended."""
        # Before the files are read, so that they are whole if it has ended.
        outcome = running.process.poll()
        size_bytes = trial_files.get_size_bytes(running.process.trial_dir)
        if outcome is None and size_bytes == running.size_bytes:
            return False
        running.size_bytes = size_bytes
        evaluations = trial_files.load_evaluations(running.process.trial_dir)
        if len(evaluations) != running.num_seen:
            running.num_seen = len(evaluations)
            self._check_metrics(evaluations)
            self._record(running, evaluations, self._config.objective_value)
            self._report(running, evaluations)
        if outcome is None:
            return False
        self._finish(running, outcome, evaluations)
        return True

    def _check_metrics(self, evaluations: Sequence[trial_files.Evaluation]) -> None:
        if evaluations:
            names = sorted(evaluations[-1].metrics)
            error = objective_checks.find_metric_error(self._objectives, names)
            self._error = error or self._error

    def _record(
        self, running: _Running, evaluations: Sequence[trial_files.Evaluation], which: str
    ) -> None:
        """Keeps metrics and time in the study."""
        picked = trial_files.pick_evaluation(evaluations, self._objectives, which)
        if picked is not None:
            finite = {k: v for k, v in picked.metrics.items() if math.isfinite(v)}
            running.trial.set_user_attr(records.METRICS_KEY, finite)
            running.trial.set_user_attr(records.STEP_KEY, picked.step)
        running.trial.set_user_attr(records.WALL_SECS_KEY, round(running.wall_secs, 2))

    def _report(self, running: _Running, evaluations: Sequence[trial_files.Evaluation]) -> None:
        """Reports evaluations to the pruner, which may end the trial."""
        if len(self._objectives) > 1:
            return
        for index in range(running.num_reported, len(evaluations)):
            values = evaluations[index].get_values(self._objectives)
            # Pruners count evaluations: batch sizes vary, and with them what a step is.
            running.trial.report(math.nan if values is None else values[0], index + 1)
        running.num_reported = max(running.num_reported, len(evaluations))
        if evaluations and running.trial.should_prune():
            running.process.stop(f'pruned after {len(evaluations)} evaluations')

    def _finish(
        self,
        running: _Running,
        outcome: trial_process.Outcome,
        evaluations: Sequence[trial_files.Evaluation],
    ) -> None:
        import optuna

        trial = running.trial
        self._record(running, evaluations, self._config.objective_value)
        trial.set_user_attr(records.REASON_KEY, outcome.reason)
        trial.set_user_attr(records.EXIT_CODE_KEY, outcome.exit_code)
        if self._error is not None:
            return  # it goes on when the objective is mended
        if not outcome.is_success and running.process.stop_reason:
            self._failures_in_a_row = 0
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return
        which = self._config.objective_value
        picked = trial_files.pick_evaluation(evaluations, self._objectives, which)
        values = None if picked is None else picked.get_values(self._objectives)
        if not outcome.is_success:
            self._tell_failure(trial, outcome.reason)
        elif values is None:
            names = ', '.join(objective.metric for objective in self._objectives)
            self._tell_failure(trial, f'no evaluation has a number for {names}')
        else:
            self._failures_in_a_row = 0
            self._study.tell(trial, list(values))

    def _tell_failure(self, trial: optuna.Trial, reason: str) -> None:
        import optuna

        trial.set_user_attr(records.REASON_KEY, reason)
        self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        if reason == records.SURPLUS:
            return
        self._failures_in_a_row += 1
        if objective_checks.is_about_monitored(reason):
            self._error = objective_checks.MetricError(reason, where=f'trial {trial.number}')
            return
        most = self._config.max_failures_in_a_row
        if most is not None and self._failures_in_a_row >= most:
            self._error = TooManyFailures(
                f'{most} trials failed in a row, the last one with: {reason}',
                where=f'trial {trial.number}',
                hint='its trial.log has more; max_failures_in_a_row sets this limit',
            )

    # ---- stopping -------------------------------------------------------------------------------

    def _stop_all(self, reason: str) -> None:
        """Lets the running trials save and end; they stay open, for the next call."""
        for running in self._running:
            running.process.stop(reason)
        with _without_interruption():
            while self._running:
                for running in list(self._running):
                    if running.process.poll() is None:
                        continue
                    evaluations = trial_files.load_evaluations(running.process.trial_dir)
                    self._record(running, evaluations, self._config.objective_value)
                    running.trial.set_user_attr(records.REASON_KEY, reason)
                    self._running.remove(running)
                time.sleep(self._poll_secs)

    def _owns_trials(self, worker: str) -> bool:
        return any(
            trial.user_attrs.get(worker_locks.WORKER_KEY) == worker
            for trial in worker_locks.list_running(self._study)
        )


def _choose_device(slot: int, num_slots: int) -> Mapping[str, str]:
    """One GPU for each trial, if this process was given several."""
    devices = [name for name in os.environ.get(_DEVICES, '').split(',') if name.strip()]
    if num_slots < 2 or len(devices) < 2:
        return {}
    return {_DEVICES: devices[slot % len(devices)]}


@contextlib.contextmanager
def _without_interruption() -> Iterator[None]:
    """A second Ctrl-C while trials save is not heard."""
    import signal
    import threading

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
