"""Where hyperparameters are written to, by name: to each output its writer."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable

from official_lite import errors
from official_lite.core import hyperparameter_trackers
from official_lite.core import hyperparameter_writers as writers
from official_lite.modeling.hyperparams import errors as config_errors

__all__ = ['OUTPUTS', 'check_outputs', 'make_writers']

OUTPUTS = ('log', 'jsonl', 'csv', 'tensorboard', 'mlflow', 'wandb')
# Output -> package that it needs beyond what is always there; each is an extra of this package.
_PACKAGES = {'mlflow': 'mlflow', 'wandb': 'wandb'}


def make_writers(outputs: Iterable[str], folder: str | None) -> list[writers.Writer]:
    """Returns the writers of some outputs.

    Args:
        outputs: Names out of OUTPUTS.
        folder: Where files go; None is enough for 'log'.

    Raises:
        UsageError: An output is unknown, its package is not installed, or the folder is missing.
    """
    outputs = list(outputs)
    check_outputs(outputs)
    return [_make_writer(output, folder) for output in outputs]


def check_outputs(outputs: Iterable[str], where: str = 'outputs') -> None:
    """Refuses outputs that are unknown, and those whose package is not installed.

    Raises:
        UsageError: With the line that installs the package.
    """
    for output in outputs:
        if output not in OUTPUTS:
            near = config_errors.find_nearest(output, OUTPUTS)
            raise errors.UsageError(
                where=where,
                expected=f'one or more of {", ".join(OUTPUTS)}',
                received=repr(output),
                hint=f'did you mean {near!r}?' if near else '',
            )
        package = _PACKAGES.get(output)
        if package is not None and importlib.util.find_spec(package) is None:
            raise errors.UsageError(
                f'{output!r} needs the package {package}, which is not installed',
                where=where,
                hint=f"pip install 'official-lite[{output}]'",
            )


def _make_writer(output: str, folder: str | None) -> writers.Writer:
    if output == 'log':
        return writers.LogWriter()
    if folder is None:
        raise errors.UsageError(
            f'{output!r} needs a folder', where='log_dir', expected='a folder', received='None'
        )
    if output == 'jsonl':
        return writers.JsonLinesWriter(os.path.join(folder, writers.JSONL_NAME))
    if output == 'csv':
        return writers.CsvWriter(os.path.join(folder, writers.CSV_NAME))
    if output == 'tensorboard':
        return writers.TensorBoardWriter(folder)
    if output == 'mlflow':
        return hyperparameter_trackers.MlflowWriter(folder)
    return hyperparameter_trackers.WandbWriter(folder)
