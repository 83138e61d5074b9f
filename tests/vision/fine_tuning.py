"""Two steps of classification that change no weights: what was loaded is what is saved."""

from __future__ import annotations

import pathlib

from tests import commands
from tests.vision.dataloaders import class_makers

NUM_CLASSES = 4
_LEARNING_RATE = 'trainer.optimizer_config.learning_rate'
_TWO_STEPS = (
    'trainer.train_steps=2,trainer.steps_per_loop=1,trainer.checkpoint_interval=2,'
    f'trainer.optimizer_config.warmup.type=null,{_LEARNING_RATE}.type=constant,'
    f'{_LEARNING_RATE}.constant.learning_rate=0.0'
)


def train(
    folder: pathlib.Path,
    size: list[int],
    *overrides: str,
    experiment: str = 'classification_custom',
    python_args: tuple[str, ...] = (),
) -> commands.Result:
    """Trains on four images of four classes, from the command line.

    Args:
        folder: Where the data is written to, and the run: `run/ckpt-2`.
        size: Height and width of the images in px.
        *overrides: `--params_override`, each.
        experiment: Of classification.
        python_args: Flags of the interpreter.
    """
    images = [
        class_makers.make_record(
            class_makers.make_image(n, label=n % NUM_CLASSES), [n % NUM_CLASSES]
        )
        for n in range(4)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    records = class_makers.write_records(folder / 'a.tfrecord', images)
    data = (
        f"task.train_data.source.type=null,task.train_data.input_path='{records}',"
        f'task.train_data.global_batch_size=2,task.model.num_classes={NUM_CLASSES},'
        f'task.model.input_size=[{size[0]},{size[1]},3],runtime.mixed_precision_dtype=float32'
    )
    flags = [f'--params_override={text}' for text in (data, _TWO_STEPS, *overrides)]
    return commands.run_train(
        f'--experiment={experiment}',
        '--mode=train',
        f'--model_dir={folder}/run',
        *flags,
        python_args=python_args,
    )
