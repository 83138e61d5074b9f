"""Names of metrics as paths: `loss/cls`, `eval/AP`."""

from __future__ import annotations

__all__ = ['TRAIN_LOSS', 'VALIDATION_LOSS', 'train_path', 'validation_path']

TRAIN_LOSS = 'training_loss'
VALIDATION_LOSS = 'validation_loss'


def train_path(name: str) -> str:
    """`training_loss` is `loss`, `cls_loss` is `loss/cls`; paths and other names stay."""
    if name in (TRAIN_LOSS, 'loss'):
        return 'loss'
    if name.endswith('_loss') and '/' not in name:
        return f'loss/{name.removesuffix("_loss")}'
    return name


def validation_path(name: str) -> str:
    """`AP` is `eval/AP`, `validation_loss` is `eval/loss`, `cls_loss` is `eval/loss/cls`.

    Parts of nested metrics may be joined by `|`, as in `trainer.best_checkpoint_eval_metric`.
    """
    name = 'loss' if name == VALIDATION_LOSS else train_path(name.replace('|', '/'))
    return name if name.startswith('eval/') else f'eval/{name}'
