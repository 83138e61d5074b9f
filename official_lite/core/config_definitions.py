"""The configs of an experiment: data, runtime, trainer and task.

Fields and defaults are Model Garden's. What is ours comes last in each class. Lengths are in steps
(one step is one update on one global batch) unless a name says otherwise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Optional, Union, get_args

from official_lite.modeling import hyperparams
from official_lite.modeling.layer_overrides import configs as layer_cfg
from official_lite.modeling.optimization.configs import (
    epoch_fields,
    optimization_config,
    peak_learning_rate,
)
from official_lite.modeling.privacy import configs as dp_configs

__all__ = [
    'MODES',
    'NUM_EXAMPLES_UNKNOWN',
    'DataConfig',
    'ExperimentConfig',
    'Mode',
    'OptimizationConfig',
    'RuntimeConfig',
    'TaskConfig',
    'TrainerConfig',
]

OptimizationConfig = optimization_config.OptimizationConfig

Mode = Literal[
    'train',
    'eval',
    'train_and_eval',
    'continuous_eval',
    'continuous_train_and_eval',
    'train_and_post_eval',
]
MODES: tuple[str, ...] = get_args(Mode)
# In Model Garden's files: as many as there are.
NUM_EXAMPLES_UNKNOWN = -1


@dataclasses.dataclass
class DataConfig(hyperparams.Config):
    """Where examples come from and how they are batched.

    Attributes:
        input_path: Files to read: a path or pattern, several of them joined by commas, a list of
            those, or a mapping of names to those for a mixture. '' means none; not together with
            `tfds_name`.
        tfds_name: Name of a TensorFlow dataset, or a mapping of such names. '' means none.
        tfds_split: Split of `tfds_name`, for example 'train[:80%]'. Required with it.
        global_batch_size: Examples of one step over all replicas. 0 means not set.
        is_training: Whether examples are repeated, shuffled and augmented. None means not set.
        drop_remainder: Whether a last batch that is not full is left out of training. Evaluation
            never leaves examples out: it pads the last batch and masks what it padded.
        shuffle_buffer_size: Examples in the buffer from which a shuffled stream is drawn.
        cache: Whether the encoded examples are kept in memory; what is random stays random.
        cycle_length: Files read in turn. None means 8, or as many as there are.
        block_length: Consecutive examples taken from one file before the next one's turn.
        ram_budget: GB of host memory that tf.data may use, within which it tunes parallelism and
            buffers. None means no limit.
        deterministic: Whether examples keep their order when one takes longer than the next. None
            means yes.
        sharding: Whether each worker reads its own share of the examples.
        enable_tf_data_service: Whether a tf.data service does the preprocessing, if there is an
            address of one.
        tf_data_service_address: The service's address, 'protocol://host:port'. None means none.
        tf_data_service_job_name: Jobs of the same name share one stream. None: a job of its own.
        tfds_data_dir: Where TensorFlow datasets are kept. '' means their default folder.
        tfds_as_supervised: Whether a TensorFlow dataset yields (input, label) pairs.
        tfds_skip_decoding_feature: Features left undecoded, joined by commas.
        enable_shared_tf_data_service_between_parallel_trainers: Whether trainers that run side by
            side read one and the same service job.
        apply_tf_data_service_before_batching: Whether the service hands over single examples.
        trainer_id: Which of several trainers that share a service this one is. None: the only one.
        seed: Seed of order and augmentation. None means `runtime.seed`.
        prefetch_buffer_size: Batches prepared ahead. None means two, or what tf.data finds best where
            it tunes.
        autotune_algorithm: tf.data's way of tuning parallelism and buffers. None without a ram_budget:
            it does not tune, and decodes as many examples at a time as there are processors.
        num_examples: Number of examples, which overrides the count that is taken from the data.
            None means count; so does -1, as Model Garden's files have it.
        skip_corrupt: Whether records and images that cannot be read are skipped and counted. If
            not, the first one ends the run with its file and position.
    """

    input_path: Union[Sequence[str], str, hyperparams.Config] = ''
    tfds_name: Union[str, hyperparams.Config] = ''
    tfds_split: str = ''
    global_batch_size: int = 0
    is_training: Optional[bool] = None
    drop_remainder: bool = True
    shuffle_buffer_size: int = 100
    cache: bool = False
    cycle_length: Optional[int] = None
    block_length: int = 1
    ram_budget: Optional[int] = None
    deterministic: Optional[bool] = None
    sharding: bool = True
    enable_tf_data_service: bool = False
    tf_data_service_address: Optional[str] = None
    tf_data_service_job_name: Optional[str] = None
    tfds_data_dir: str = ''
    tfds_as_supervised: bool = False
    tfds_skip_decoding_feature: str = ''
    enable_shared_tf_data_service_between_parallel_trainers: bool = False
    apply_tf_data_service_before_batching: bool = False
    trainer_id: Optional[str] = None
    seed: Optional[int] = None
    prefetch_buffer_size: Optional[int] = None
    autotune_algorithm: Optional[
        Literal['DEFAULT', 'HILL_CLIMB', 'GRADIENT_DESCENT', 'MAX_PARALLELISM', 'STAGE_BASED']
    ] = None
    # Ours.
    num_examples: Optional[int] = None
    skip_corrupt: bool = False

    def _check(self, report: hyperparams.Report) -> None:
        for name in ('global_batch_size', 'shuffle_buffer_size'):
            if getattr(self, name) < 0:
                report(name, expected='0 or more')
        for name in ('cycle_length', 'block_length', 'ram_budget', 'num_examples'):
            value = getattr(self, name)
            is_unknown = value is None or (name == 'num_examples' and value == NUM_EXAMPLES_UNKNOWN)
            if not is_unknown and value < 1:
                report(name, expected='1 or more')
        if self.prefetch_buffer_size is not None and self.prefetch_buffer_size < 0:
            report('prefetch_buffer_size', expected='0 or more')
        if self.input_path and self.tfds_name:
            report(
                'tfds_name', expected='not set, because input_path is', hint='choose one of them'
            )
        if self.tfds_name and not self.tfds_split:
            report('tfds_split', expected='a split, because tfds_name is set', hint="e.g. 'train'")


@dataclasses.dataclass
class RuntimeConfig(hyperparams.Config):
    """On what a run computes, and how.

    Attributes:
        distribution_strategy: 'mirrored' uses `num_gpus` GPUs of this machine (0: all that are
            visible, or the CPU), 'one_device' one of them, 'multi_worker_mirrored' several machines,
            'tpu' a TPU, 'off' no strategy.
        enable_xla: Whether the train step is compiled by XLA. Not on CPUs alone, where that is slower.
        gpu_thread_mode: Who launches kernels on a GPU. None leaves TF_GPU_THREAD_MODE alone.
        dataset_num_private_threads: Threads of the input pipeline's own pool. None: the shared pool.
        per_gpu_thread_count: Threads that launch kernels on each GPU. 0 leaves the default.
        tpu: Name or address of a TPU. None means no TPU; 'local' the one of this machine.
        num_gpus: Number of GPUs to use. 0 means all that are visible.
        worker_hosts: host:port of every worker, joined by commas. None: TF_CONFIG decides.
        task_index: Which of `worker_hosts` this process is. -1: TF_CONFIG decides.
        all_reduce_alg: How gradients are summed: 'nccl' or 'hierarchical_copy' when mirrored,
            'nccl' or 'ring' over several workers. None lets TensorFlow decide.
        num_packs: Packs into which gradients are put for the sum. 0 means no packing.
        mixed_precision_dtype: Number format of activations. 'auto' is bfloat16 where the processor
            computes in it (AVX512-BF16 or AMX, a TPU, an Ampere or newer GPU), else float32.
            None means float32.
        loss_scale: With float16: 'dynamic', or a fixed factor. None means 'dynamic'.
        run_eagerly: Whether steps run operation by operation, for debugging.
        batchnorm_spatial_persistent: Whether cuDNN's persistent BatchNorm kernels are used.
        tpu_enable_xla_dynamic_padder: Whether XLA pads dynamic shapes on a TPU. None: its default.
        num_cores_per_replica: TPU cores that hold one replica of the model.
        default_shard_dim: Dimension along which a model-parallel TPU run splits. -1 means none.
        use_tpu_mp_strategy: Whether a TPU run is model parallel.
        seed: Seed of initial weights, dropout and, where `seed` of the data is None, the data.
        deterministic: Whether the same seed gives the same weights bit for bit (slower).
    """

    distribution_strategy: Literal[
        'off', 'one_device', 'mirrored', 'multi_worker_mirrored', 'tpu', 'parameter_server'
    ] = 'mirrored'
    enable_xla: bool = False
    gpu_thread_mode: Optional[Literal['global', 'gpu_shared', 'gpu_private']] = None
    dataset_num_private_threads: Optional[int] = None
    per_gpu_thread_count: int = 0
    tpu: Optional[str] = None
    num_gpus: int = 0
    worker_hosts: Optional[str] = None
    task_index: int = -1
    all_reduce_alg: Optional[Literal['nccl', 'hierarchical_copy', 'ring']] = None
    num_packs: int = 1
    mixed_precision_dtype: Optional[Literal['auto', 'float32', 'float16', 'bfloat16']] = None
    loss_scale: Union[Literal['dynamic'], float, None] = None
    run_eagerly: bool = False
    batchnorm_spatial_persistent: bool = False
    tpu_enable_xla_dynamic_padder: Optional[bool] = None
    num_cores_per_replica: int = 1
    default_shard_dim: int = -1
    use_tpu_mp_strategy: bool = False
    # Ours.
    seed: int = 0
    deterministic: bool = False

    def model_parallelism(self) -> dict[str, int]:
        """The two settings of a model-parallel TPU run."""
        return {
            'num_cores_per_replica': self.num_cores_per_replica,
            'default_shard_dim': self.default_shard_dim,
        }

    def _check(self, report: hyperparams.Report) -> None:
        if self.distribution_strategy == 'parameter_server':
            report(
                'distribution_strategy',
                expected='a strategy other than parameter_server, which Keras 3 does not support',
                hint='use multi_worker_mirrored',
            )
        for name in ('per_gpu_thread_count', 'num_gpus', 'num_packs', 'seed'):
            if getattr(self, name) < 0:
                report(name, expected='0 or more')
        if self.dataset_num_private_threads is not None and self.dataset_num_private_threads < 1:
            report('dataset_num_private_threads', expected='1 or more')
        if self.num_cores_per_replica < 1:
            report('num_cores_per_replica', expected='1 or more')
        for name in ('task_index', 'default_shard_dim'):
            if getattr(self, name) < -1:
                report(name, expected='0 or more, or -1')
        self._check_together(report)

    def _check_together(self, report: hyperparams.Report) -> None:
        strategy = self.distribution_strategy
        reductions = {
            'mirrored': ('nccl', 'hierarchical_copy'),
            'multi_worker_mirrored': ('nccl', 'ring'),
        }
        if self.all_reduce_alg is not None and strategy in reductions:
            choices = reductions[strategy]
            if self.all_reduce_alg not in choices:
                report('all_reduce_alg', expected=f'{" or ".join(choices)} with {strategy}')
        if isinstance(self.loss_scale, (int, float)) and self.loss_scale <= 0:
            report('loss_scale', expected="'dynamic' or more than 0")
        if strategy == 'one_device' and self.num_gpus > 1:
            report('num_gpus', expected='0 or 1 with one_device', hint='use mirrored')
        if self.run_eagerly and self.enable_xla:
            report('enable_xla', expected='false, because run_eagerly is on')


@dataclasses.dataclass
class TrainerConfig(hyperparams.Config):
    """How long to train, how often to report, evaluate and save, and with which optimizer.

    Every `*_epochs` is another way to give the steps or the interval beside it, in passes over the
    training data; None means that those count. Setting both is an error.

    Attributes:
        optimizer_config: Optimizer, learning rate, warm-up and moving average.
        train_tf_while_loop: Whether `steps_per_loop` steps run in one call of the compiled loop.
        train_tf_function: Whether the train step is compiled.
        eval_tf_function: Whether the evaluation step is compiled.
        eval_tf_while_loop: Whether the whole evaluation is one compiled loop. Needs
            `validation_steps`.
        allow_tpu_summary: Whether summaries may be written from inside a step on a TPU.
        steps_per_loop: Steps between two looks at the loss: the grain of logs and actions.
        summary_interval: Steps between two summaries written from inside a step.
        checkpoint_interval: Steps between two checkpoints.
        max_to_keep: Checkpoints kept; older ones are deleted.
        continuous_eval_timeout: Seconds that continuous evaluation waits for a new checkpoint.
            None means for ever.
        train_steps: Steps in all, each one batch; with gradient accumulation, an update takes
            several. 0 means not set.
        validation_steps: Batches of one evaluation. -1 means all of the validation data.
        validation_interval: Steps between two evaluations.
        best_checkpoint_export_subdir: Folder inside model_dir for the best checkpoint. '' means none.
        best_checkpoint_eval_metric: Metric that decides which one is best, for example 'AP'; levels
            of nested metrics are joined by '|'.
        best_checkpoint_metric_comp: Whether a 'higher' or a 'lower' metric is better.
        loss_upper_bound: A loss above this, or not a number, counts as a blow-up.
        recovery_begin_steps: Blow-ups before this step do not count.
        recovery_max_trials: What follows a blow-up: 0 ends the run, n goes back to the last
            checkpoint up to n times, a negative number lets it pass.
        validation_summary_subdir: Folder inside model_dir for the summaries of evaluations.
        preemption_on_demand_checkpoint: Whether a machine about to be taken away saves first.
        train_epochs: Passes over the training data in all; may be a fraction. None: `train_steps`.
        validation_interval_epochs: Passes between two evaluations. None: `validation_interval`.
        checkpoint_interval_epochs: Passes between two checkpoints. None: `checkpoint_interval`.
        summary_interval_epochs: Passes between two summaries. None: `summary_interval`.
        early_stopping_patience: Evaluations in a row without a better
            `best_checkpoint_eval_metric` after which training ends. None means never.
        max_train_secs: Seconds after which this process ends training, with a checkpoint and a
            last evaluation; the same command goes on. None means no limit.
        log_hyperparameters_to: Where hyperparameters are written when training begins, and those that
            change (learning rate, step, epoch) with every log: the output, files in model_dir
            ('jsonl', 'csv'), TensorBoard's HParams, MLflow, Weights & Biases. [] means nowhere.
    """

    optimizer_config: OptimizationConfig = dataclasses.field(default_factory=OptimizationConfig)
    train_tf_while_loop: bool = True
    train_tf_function: bool = True
    eval_tf_function: bool = True
    eval_tf_while_loop: bool = False
    allow_tpu_summary: bool = False
    steps_per_loop: int = 1000
    summary_interval: int = 1000
    checkpoint_interval: int = 1000
    max_to_keep: int = 5
    continuous_eval_timeout: Optional[int] = 60 * 60
    train_steps: int = 0
    validation_steps: int = -1
    validation_interval: int = 1000
    best_checkpoint_export_subdir: str = ''
    best_checkpoint_eval_metric: str = ''
    best_checkpoint_metric_comp: Literal['higher', 'lower'] = 'higher'
    loss_upper_bound: float = 1e6
    recovery_begin_steps: int = 0
    recovery_max_trials: int = 0
    validation_summary_subdir: str = 'validation'
    preemption_on_demand_checkpoint: bool = True
    # Ours.
    train_epochs: Optional[float] = None
    validation_interval_epochs: Optional[float] = None
    checkpoint_interval_epochs: Optional[float] = None
    summary_interval_epochs: Optional[float] = None
    early_stopping_patience: Optional[int] = None
    max_train_secs: Optional[float] = None
    log_hyperparameters_to: list[
        Literal['log', 'jsonl', 'csv', 'tensorboard', 'mlflow', 'wandb']
    ] = dataclasses.field(default_factory=list)

    _epoch_fields: ClassVar[dict[str, str]] = {
        'train_steps': 'train_epochs',
        'validation_interval': 'validation_interval_epochs',
        'checkpoint_interval': 'checkpoint_interval_epochs',
        'summary_interval': 'summary_interval_epochs',
    }

    def _check(self, report: hyperparams.Report) -> None:
        for name in ('train_steps', 'recovery_begin_steps'):
            if getattr(self, name) < 0:
                report(name, expected='0 or more')
        for name in (
            'steps_per_loop',
            'summary_interval',
            'checkpoint_interval',
            'validation_interval',
            'max_to_keep',
        ):
            if getattr(self, name) < 1:
                report(name, expected='1 or more')
        if self.validation_steps != -1 and self.validation_steps < 1:
            report('validation_steps', expected='1 or more, or -1 for all of the data')
        if self.continuous_eval_timeout is not None and self.continuous_eval_timeout < 0:
            report('continuous_eval_timeout', expected='0 or more seconds, or null')
        if not self.loss_upper_bound > 0:
            report('loss_upper_bound', expected='more than 0')
        if self.early_stopping_patience is not None and self.early_stopping_patience < 1:
            report('early_stopping_patience', expected='1 or more, or null')
        if self.max_train_secs is not None and not self.max_train_secs > 0:
            report('max_train_secs', expected='more than 0, or null')
        if len(set(self.log_hyperparameters_to)) < len(self.log_hyperparameters_to):
            report('log_hyperparameters_to', expected='each output once')
        epoch_fields.check_epoch_fields(self, report)
        self._check_together(report)

    def _check_together(self, report: hyperparams.Report) -> None:
        if self.eval_tf_while_loop and self.validation_steps == -1:
            report('validation_steps', expected='a number, because eval_tf_while_loop is on')
        if self.eval_tf_while_loop and not self.eval_tf_function:
            report('eval_tf_function', expected='true, because eval_tf_while_loop is on')
        if self.train_tf_while_loop and not self.train_tf_function:
            report(
                'train_tf_function',
                expected='true, because train_tf_while_loop is on',
                hint='set train_tf_while_loop=false too',
            )
        if self.early_stopping_patience and not self.best_checkpoint_eval_metric:
            report(
                'best_checkpoint_eval_metric',
                expected='a metric, because early_stopping_patience is set',
            )
        if self.best_checkpoint_export_subdir and not self.best_checkpoint_eval_metric:
            report(
                'best_checkpoint_eval_metric',
                expected='a metric, because best_checkpoint_export_subdir is set',
                hint="e.g. 'AP'",
            )


def _expand_learning_rate(config: Any, peak: float) -> dict[str, Any]:
    where = 'trainer.optimizer_config'
    changes = peak_learning_rate.scale_to_peak(config.trainer.optimizer_config, peak)
    return {f'{where}.{path}': value for path, value in changes.items()}


def _get_learning_rate(config: Any) -> float | None:
    return peak_learning_rate.find_peak(config.trainer.optimizer_config.learning_rate)


_BATCH_SIZE = hyperparams.short_names.alias(
    'task.train_data.global_batch_size', int, 'examples of one training step, over all replicas'
)


@dataclasses.dataclass
class TaskConfig(hyperparams.Config):
    """What is learned: model, data, and where its weights start.

    Attributes:
        init_checkpoint: Checkpoint, or folder of checkpoints, to start from, of ours or of Model
            Garden. '' means from scratch.
        model: The model. None in tasks that build it without a config.
        train_data: Examples to learn from.
        validation_data: Examples to evaluate on.
        name: Name of the task, a prefix in logs. None means its class's name.
        differential_privacy_config: Clips and noises gradients. None means neither.
        allow_image_summary: Whether evaluation writes images to TensorBoard.
        init_checkpoint_averages: Ours. Whether moving averages (`trainer.optimizer_config.ema`) are
            taken from it for weights.
        freeze: Ours. Variables that are not trained: prefixes of variable keys (`backbone`), or
            regular expressions that match a key or a prefix of it as a whole
            (`backbone/stage_[12].*`). BatchNorm layers frozen as a whole use their moving statistics.
        layer_overrides: Ours. What is different in some layers: learning rates, weight decay, training,
            regularizers, activations, dropout, normalization, initial values, precision.
    """

    init_checkpoint: str = ''
    model: Optional[hyperparams.Config] = None
    train_data: DataConfig = dataclasses.field(default_factory=DataConfig)
    validation_data: DataConfig = dataclasses.field(default_factory=DataConfig)
    name: Optional[str] = None
    differential_privacy_config: Optional[dp_configs.DifferentialPrivacyConfig] = None
    allow_image_summary: bool = False
    # Ours.
    init_checkpoint_averages: bool = False
    freeze: list[str] = dataclasses.field(default_factory=list)
    layer_overrides: list[layer_cfg.LayerOverride] = dataclasses.field(default_factory=list)

    # Names in `--hparams_overrides`; a subclass adds its own.
    _short_names: ClassVar[dict[str, hyperparams.ShortName]] = {
        'learning_rate': hyperparams.ShortName(
            float,
            _expand_learning_rate,
            'peak of the schedule, with which all of its values scale',
            current=_get_learning_rate,
        ),
        'batch_size': _BATCH_SIZE,
        'global_batch_size': _BATCH_SIZE,
    }

    def list_metrics(self) -> Optional[Sequence[str]]:
        """Names of the metrics that an evaluation logs, so that a wrong one is refused early.

        `<...>` in a name stands for what only the data knows (`iou/<class>`). The trainer's
        `validation_loss` need not be listed. A class that does not define this itself says nothing.

        Returns:
            None: it is not known.
        """
        return None


@dataclasses.dataclass
class ExperimentConfig(hyperparams.Config):
    """All of an experiment.

    Attributes:
        task: What is learned.
        trainer: How it is learned.
        runtime: On what it is computed.
    """

    task: TaskConfig = dataclasses.field(default_factory=TaskConfig)
    trainer: TrainerConfig = dataclasses.field(default_factory=TrainerConfig)
    runtime: RuntimeConfig = dataclasses.field(default_factory=RuntimeConfig)
