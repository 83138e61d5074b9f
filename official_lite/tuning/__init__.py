"""Search over the values of a config, on Optuna: `official-lite tune`, or `tuning.tune` from Python."""

from official_lite.tuning.domains import Choice, Constant, Domain, Int, LogUniform, Uniform
from official_lite.tuning.records import TrialRecord
from official_lite.tuning.study import StudyResult, tune
from official_lite.tuning.study_config import Objective, StudyConfig

__all__ = [
    'Choice',
    'Constant',
    'Domain',
    'Int',
    'LogUniform',
    'Objective',
    'StudyConfig',
    'StudyResult',
    'TrialRecord',
    'Uniform',
    'tune',
]
