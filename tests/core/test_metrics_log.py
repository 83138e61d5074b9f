"""metrics.jsonl, TensorBoard events and the progress line."""

from __future__ import annotations

import io
import json
import math
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

from official_lite.core import metrics_log, progress


def _lines(folder: pathlib.Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]


def _events(folder: pathlib.Path) -> dict[str, list[tuple[int, float]]]:
    events = event_accumulator.EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: [(e.step, float(tf.make_ndarray(e.tensor_proto))) for e in events.Tensors(tag)]
        for tag in events.Tags()['tensors']
    }


def test_d8_metrics_go_to_jsonl_by_path_and_to_events_by_name(tmp_path: pathlib.Path) -> None:
    log = metrics_log.MetricsLog(str(tmp_path), 'val')
    log.write_train(2, {'training_loss': 1.5, 'cls_loss': np.float32(0.5), 'learning_rate': 0.1})
    log.write_validation(2, {'AP': 0.25, 'validation_loss': 2.0, 'box': {'AP50': 0.5}})
    log.close()
    assert _lines(tmp_path) == [
        {'step': 2, 'loss': 1.5, 'loss/cls': 0.5, 'learning_rate': 0.1},
        {'step': 2, 'eval/AP': 0.25, 'eval/loss': 2.0, 'eval/box/AP50': 0.5},
    ]
    assert _events(tmp_path / 'train')['training_loss'] == [(2, 1.5)]
    assert _events(tmp_path / 'train')['cls_loss'] == [(2, 0.5)]
    assert _events(tmp_path / 'val')['AP'] == [(2, 0.25)]


def test_lines_are_json_even_for_what_is_not_finite(tmp_path: pathlib.Path) -> None:
    log = metrics_log.MetricsLog(str(tmp_path))
    log.write_train(1, {'training_loss': math.nan, 'note': 'text', 'curve': np.arange(3.0)})
    log.close()
    text = (tmp_path / 'metrics.jsonl').read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {'step': 1, 'loss': None}


def test_a_resumed_run_drops_what_it_computes_again(tmp_path: pathlib.Path) -> None:
    log = metrics_log.MetricsLog(str(tmp_path))
    for step in (0, 10, 20, 30):
        log.write_train(step, {'training_loss': step})
    with (tmp_path / 'metrics.jsonl').open('a') as file:
        file.write('{"step": 2')  # The process died while it wrote.
    log.drop_after(20)
    log.write_train(25, {'training_loss': 25})
    log.close()
    assert [line['step'] for line in _lines(tmp_path)] == [0, 10, 20, 25]


def test_a_log_without_folder_writes_nothing() -> None:
    log = metrics_log.MetricsLog(None)
    log.write_train(1, {'training_loss': 1.0})
    log.drop_after(0)
    log.close()


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _make(stream: io.StringIO) -> progress.Progress:
    times = iter([0.0, 30.0, 31.0, 32.0, 33.0])
    return progress.Progress(100, batch_size=8, stream=stream, clock=lambda: next(times))


def test_the_line_has_step_loss_rate_and_time_left() -> None:
    stream = io.StringIO()
    line = _make(stream)
    logs = {'training_loss': 1.23456, 'learning_rate': 0.008}
    line.update(1, logs, is_logged=True)
    line.update(11, logs)
    line.update(21, logs, is_logged=True)
    assert stream.getvalue().splitlines() == [
        'step 1/100  loss 1.235  lr 8.00e-03',
        'step 21/100  loss 1.235  lr 8.00e-03  80.0 images/s  0:08 left',
    ]


def test_on_a_terminal_one_line_is_rewritten() -> None:
    stream = _Terminal()
    line = _make(stream)
    line.update(1, {'training_loss': 1.0})
    line.update(11, {'training_loss': 0.5})
    line.message('saved')
    first, second, rest = (
        stream.getvalue().lstrip('\r').split('\r')[0],
        *stream.getvalue().split('\r')[2:],
        '',
    )
    assert first == 'step 1/100  loss 1'
    assert second.startswith('step 11/100  loss 0.5')
    assert second.endswith('left\nsaved\n')
    assert rest == ''


def test_other_workers_print_nothing() -> None:
    stream = io.StringIO()
    line = progress.Progress(10, stream=stream, is_enabled=False)
    line.update(1, {}, is_logged=True)
    line.message('x')
    assert stream.getvalue() == ''


@pytest.mark.parametrize(
    ('secs', 'text'), [(0, '0:00'), (59.6, '1:00'), (61, '1:01'), (3600, '1:00:00'), (-5, '0:00')]
)
def test_seconds(secs: float, text: str) -> None:
    assert progress.format_secs(secs) == text
