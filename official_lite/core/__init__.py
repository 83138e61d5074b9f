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
        'checkpoint_metadata',
        'checkpoints',
        'config_definitions',
        'data_info',
        'dry_run',
        'epochs',
        'exp_factory',
        'export_base',
        'file_writers',
        'hyperparameter_files',
        'hyperparameter_logger',
        'hyperparameters',
        'initialization',
        'interruption',
        'metrics_log',
        'parsing',
        'plugins',
        'progress',
        'randomness',
        'registry',
        'replicas',
        'run_checks',
        'run_files',
        'runtime',
        'task_factory',
        'tf_example_builder',
        'tf_example_feature_key',
        'train_lib',
        'train_utils',
    ),
    absent={
        'input_reader': (
            'use official_lite.vision.dataloaders.input_reader with a source and your parser, or '
            'return a tf.data.Dataset; see "Data" in docs/from_model_garden.md'
        ),
    },
)
