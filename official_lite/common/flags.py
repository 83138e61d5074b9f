"""The flags of a run, for `train.py` and for programs of your own (`app.run`).

Model Garden's flags are all known. Those that mean nothing here are refused, with what to use.
"""

from __future__ import annotations

from collections.abc import Mapping

from absl import flags

from official_lite.core import config_definitions as cfg

__all__ = ['MODES', 'REFUSED', 'define_config_flags', 'define_flags']

# Model Garden's flags without a meaning here -> what to use instead.
REFUSED: Mapping[str, str] = {
    'gin_file': 'there is no gin here: use --config_file with a YAML file',
    'gin_params': 'there is no gin here: use --params_override=a.b=1,c.d=2',
    'tpu_platform': 'the platform is found by itself: use --tpu with the name of the TPU',
    'tfhub_handle': 'nothing is published to TensorFlow Hub: export the best checkpoint yourself',
    'tflex_output_uri': 'there is no TFleX here: export the best checkpoint yourself',
    'params_overrides': 'use --params_override',
    'alsologtostderr': 'messages go to standard error as it is',
    'logtostderr': 'messages go to standard error as it is',
    'experiment_type': 'use --experiment',
}


# `train_and_validate` is Model Garden's second name for `train_and_eval`.
MODES = (*cfg.MODES, 'train_and_validate')


class _RefusedFlag(flags.Flag):
    """A flag that only says what to use instead of it, given with a value or without one."""

    def __init__(self, name: str, instead: str) -> None:
        help_text = f'Refused: {instead}.'
        super().__init__(flags.ArgumentParser(), None, name, None, help_text, boolean=True)

    def parse(self, argument: str) -> None:
        """Refuses the flag."""
        raise flags.IllegalFlagValueError(f'--{self.name} means nothing here; {REFUSED[self.name]}')


class _OptionalValueFlag(flags.Flag):
    """A flag that may stand alone (`--print_config`) or have a value (`--print_config=sources`)."""

    boolean = True

    def __init__(self, name: str, help_text: str, values: tuple[str, ...]) -> None:
        parser = flags.EnumParser(('false', 'true', *values))
        super().__init__(parser, None, name, 'false', help_text, boolean=True)


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines all flags; none of them is required.

    Args:
        flag_values: Where to define them.
    """
    values = {'flag_values': flag_values}
    define_config_flags(flag_values)
    flags.DEFINE_enum('mode', None, MODES, 'What to do.', **values)
    flags.DEFINE_string(
        'model_dir', None, 'Folder for checkpoints, logs, params.yaml and run.json.', **values
    )
    flags.DEFINE_boolean(
        'enable_async_checkpointing', True, 'Write checkpoints while training goes on.', **values
    )
    flags.DEFINE_boolean('list_experiments', False, 'Print all experiments and leave.', **values)
    flags.DEFINE_boolean(
        'dry_run',
        False,
        'Build everything, run one step on one batch, print parameters, FLOPs and memory, and '
        'leave; writes nothing.',
        **values,
    )
    flags.DEFINE_flag(
        _OptionalValueFlag(
            'print_config',
            'Print the config and leave; `=sources` tells who set each value.',
            ('sources',),
        ),
        flag_values,
    )
    for name, instead in REFUSED.items():
        if name not in flag_values:
            flags.DEFINE_flag(_RefusedFlag(name, instead), flag_values)


def define_config_flags(flag_values: flags.FlagValues) -> None:
    """What makes up the config."""
    values = {'flag_values': flag_values}
    flags.DEFINE_string('experiment', None, 'Name of the experiment.', **values)
    flags.DEFINE_multi_string(
        'config_file',
        None,
        "YAML file whose values replace the experiment's; a path, or the name of a file that comes "
        'with the package, such as retinanet/own_data.yaml. Repeat it for more; later ones win. The '
        'params.yaml of a run names its experiment itself.',
        **values,
    )
    flags.DEFINE_multi_string(
        'hparams_overrides',
        None,
        'Values by short names: learning_rate=0.001,batch_size=32,nms_iou_threshold=0.6. A name is one '
        "of the task's, a path or the unique ending of one. Comes after --config_file and before "
        '--params_override. Repeat it for more; later ones win.',
        **values,
    )
    flags.DEFINE_multi_string(
        'params_override',
        None,
        'Values that replace those of the experiment and of --config_file: a.b=1,c=[1,2], or YAML '
        'text, or a YAML file. Repeat it for more; later ones win.',
        **values,
    )
    flags.DEFINE_multi_string(
        'import',
        None,
        'Module of yours that registers something, as my_pkg.my_module. Repeat it for more.',
        **values,
    )
    flags.DEFINE_string('tpu', None, 'Name or address of a TPU: sets runtime.tpu.', **values)
    flags.DEFINE_string(
        'tf_data_service',
        None,
        'Address of a tf.data service: sets tf_data_service_address of both data configs.',
        **values,
    )
