"""Configs, registries and the trainer; knows nothing about vision.

`registry`, `exp_factory`, `task_factory`, `config_definitions`, `plugins`, `run_files` and
`train_utils` work without TensorFlow.
"""

from official_lite import _lazy

__getattr__, __dir__ = _lazy.attach(
    __name__,
    submodules=(
        'actions',
        'base_task',
        'base_trainer',
        'best_checkpoint',
        'checkpoints',
        'config_definitions',
        'data_info',
        'dry_run',
        'epochs',
        'exp_factory',
        'parsing',
        'plugins',
        'registry',
        'run_checks',
        'run_files',
        'task_factory',
        'train_lib',
        'train_utils',
    ),
)
