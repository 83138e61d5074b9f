"""Model Garden's own tests, renamed, pass here, except those that exceptions.yaml lists."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest

from tests.garden_suite import exceptions, rename, runner

# Minutes: tests export detectors for 640 px, or build ResNet 50 again and again.
_SLOW = (
    'augmentation',
    'backbones',
    'classification',
    'data',
    'decoders',
    'deeplab',
    'detection',
    'rcnn',
    'segmentation',
    'serving',
)


@pytest.mark.garden
@pytest.mark.parametrize(
    'group',
    [
        pytest.param(group, marks=[pytest.mark.slow] if group in _SLOW else [])
        for group in sorted(runner.GROUPS)
    ],
)
def test_group_fails_exactly_where_the_list_says(
    group: str, record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    result = runner.run_group(group)
    record_property('pass_rate', result.summary())
    with capsys.disabled():
        print(f'\n{result.summary()}')
    unexpected = [f'{test}: {result.outcomes[test].error}' for test in result.unexpected]
    assert not unexpected, '\n'.join(unexpected)
    assert not result.stale, 'listed as exceptions, but they pass or do not exist'
    assert result.is_as_expected, f'no test ran:\n{result.output}'


@pytest.mark.parametrize(
    ('text', 'renamed'),
    [
        ('import tensorflow as tf, tf_keras\n', 'import tensorflow as tf, keras\n'),
        ('from official.core import x\n', 'from official_lite.core import x\n'),
        ('import official.core.x as y\n', 'import official_lite.core.x as y\n'),
        ('m = tf_keras.Model()\n', 'm = keras.Model()\n'),
        ("patch('official.core.x')\n", "patch('official_lite.core.x')\n"),
        ("x.official = 'official'  # official\n", "x.official = 'official'  # official\n"),
        ("p = 'official/vision/a.txt'\n", "p = 'official/vision/a.txt'\n"),
        ('tf_keras(official, tf_keras)\n', 'keras(official_lite, keras)\n'),
        ("assertEqual(x['a'].shape, [1, 2])\n", "assertSequenceEqual(x['a'].shape, [1, 2])\n"),
        ('assertEqual(f(x), [1, 2])\n', 'assertEqual(f(x), [1, 2])\n'),
        ('from official.vision.modeling import factory_3d\n', 'factory_3d = None\n'),
        ('from official.vision.configs import video_classification as cfg\n', 'cfg = None\n'),
        (
            'from official.vision.configs import maskrcnn2\n',
            'from official_lite.vision.configs import maskrcnn2\n',
        ),
    ],
)
def test_rename_touches_packages_only(text: str, renamed: str) -> None:
    assert rename.rename_source(text) == renamed


def _judge(outcomes: dict[str, str], patterns: dict[str, str]) -> runner.GroupResult:
    listed = exceptions.Exceptions({'why': 'Because.'}, patterns)
    judged = {test: runner.Outcome(status) for test, status in outcomes.items()}
    return runner.judge('core', ['a_test.py'], judged, listed)


def test_a_failure_that_is_not_listed_is_unexpected() -> None:
    result = _judge({'a_test.py::T::x': 'failed', 'a_test.py::T::y': 'crashed'}, {})
    assert result.unexpected == ('a_test.py::T::x', 'a_test.py::T::y')
    assert not result.is_as_expected


def test_a_listed_test_that_passes_is_stale() -> None:
    result = _judge(
        {'a_test.py::T::x0': 'passed', 'a_test.py::T::x1': 'failed'}, {'a_test.py::T::x*': 'why'}
    )
    assert result.unexpected == ()
    assert result.stale == ('a_test.py::T::x0',)
    assert result.summary() == (
        'core: 1 of 2 pass (50.0%), 1 listed exceptions, 0 skipped, 0 unexpected failures, '
        '1 stale exceptions'
    )


def test_a_listed_test_that_does_not_exist_is_stale() -> None:
    patterns = {'a_test.py::T::gone': 'why', 'b_test.py::T::of_another_group': 'why'}
    result = _judge({'a_test.py::T::x': 'passed'}, patterns)
    assert result.stale == ('a_test.py::T::gone',)


def test_no_test_at_all_is_not_a_success() -> None:
    assert not _judge({}, {}).is_as_expected


def test_tests_of_a_file_that_cannot_be_imported_are_all_counted(tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'a_test.py'
    path.write_text('class T:\n  def test_x(self): pass\n  def help(self): pass\n', 'utf-8')
    assert runner.list_tests(path, 'core/a_test.py') == ['core/a_test.py::T::test_x']


def test_reasons_must_be_listed(tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'exceptions.yaml'
    path.write_text('reasons: {a: Because.}\nexceptions: {b: [x]}\n', 'utf-8')
    with pytest.raises(ValueError, match=r"used but not listed: \['a', 'b'\]"):
        exceptions.load_exceptions(path)
