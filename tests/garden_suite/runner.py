"""Copies a group of Model Garden's tests, runs it in a process of its own, judges the outcome."""

from __future__ import annotations

import ast
import dataclasses
import fnmatch
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from tests.garden_suite import exceptions as exceptions_lib
from tests.garden_suite import rename, wheel

REPO = pathlib.Path(__file__).resolve().parents[2]

# Group -> the test files, as patterns below `official/`.
GROUPS: dict[str, tuple[str, ...]] = {
    'hyperparams': ('modeling/hyperparams/*_test.py',),
    'core': ('core/*_test.py',),
    'configs': ('vision/configs/*_test.py',),
    'optimization': ('modeling/optimization/*_test.py', 'modeling/optimization/configs/*_test.py'),
    'backbones': (
        'vision/modeling/backbones/resnet_test.py',
        'vision/modeling/backbones/mobilenet_test.py',
        'vision/modeling/backbones/mobiledet_test.py',
        'vision/modeling/backbones/efficientnet_test.py',
        'vision/modeling/backbones/revnet_test.py',
        'vision/modeling/backbones/spinenet*_test.py',
        'vision/modeling/backbones/vit_test.py',
        'vision/modeling/backbones/factory_test.py',
        'vision/modeling/layers/nn_blocks_test.py',
        'vision/modeling/layers/nn_layers_test.py',
    ),
    'decoders': (
        'vision/modeling/decoders/fpn_test.py',
        'vision/modeling/decoders/nasfpn_test.py',
        'vision/modeling/decoders/factory_test.py',
    ),
    'detection': (
        'vision/modeling/heads/dense_prediction_heads_test.py',
        'vision/modeling/layers/detection_generator_test.py',
        'vision/modeling/retinanet_model_test.py',
        'vision/modeling/factory_test.py',
        'vision/ops/anchor*_test.py',
        'vision/ops/box_*_test.py',
        'vision/ops/iou_similarity_test.py',
        'vision/ops/target_gather_test.py',
    ),
    'rcnn': (
        'vision/losses/maskrcnn_losses_test.py',
        'vision/modeling/heads/instance_heads_test.py',
        'vision/modeling/layers/roi_aligner_test.py',
        'vision/modeling/maskrcnn_model_test.py',
        'vision/ops/mask_ops_test.py',
    ),
    'serving': ('vision/serving/detection_test.py', 'vision/serving/export_*_test.py'),
    'classification': (
        'vision/modeling/classification_model_test.py',
        'vision/serving/image_classification_test.py',
    ),
    'segmentation': (
        'vision/evaluation/iou_test.py',
        'vision/evaluation/segmentation_metrics_test.py',
        'vision/losses/segmentation_losses_test.py',
        'vision/serving/semantic_segmentation_test.py',
    ),
    'deeplab': (
        'vision/modeling/backbones/resnet_deeplab_test.py',
        'vision/modeling/backbones/resnet_unet_test.py',
        'vision/modeling/decoders/aspp_test.py',
        'vision/modeling/heads/segmentation_heads_test.py',
        'vision/modeling/layers/deeplab_test.py',
        'vision/modeling/segmentation_model_test.py',
    ),
    'augmentation': ('vision/ops/augment_test.py', 'vision/ops/preprocess_ops_test.py'),
    'data': (
        'vision/dataloaders/tf_example*_test.py',
        'vision/dataloaders/tfds*_test.py',
        'vision/dataloaders/utils_test.py',
        'vision/evaluation/coco_utils_test.py',
        'vision/data/*_test.py',
    ),
}
# What the tests import, and what is a helper of tests only. It is copied, not part of the package.
SUPPORT_FILES = (
    'core/test_utils.py',
    'utils/testing/mock_task.py',
    'vision/data/fake_feature_generator.py',
    'vision/dataloaders/tfexample_utils.py',
)
SUPPORT_PACKAGES = (
    'official_lite',
    'official_lite.core',
    'official_lite.vision.data',
    'official_lite.vision.dataloaders',
)
TIMEOUT_SECS = float(os.environ.get('GARDEN_SUITE_TIMEOUT_SECS', 900.0))


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one test did.

    Attributes:
        status: 'passed', 'failed', 'skipped', 'crashed' (the process ended during the test or
            before it) or 'uncollectable' (its file could not be imported).
        error: One line; empty when the test passed.
    """

    status: str
    error: str = ''


@dataclasses.dataclass(frozen=True)
class GroupResult:
    """The outcomes of one group, judged against the exceptions.

    Attributes:
        outcomes: Test id -> outcome. Ids are paths below `official/`, as pytest writes them.
        unexpected: Tests that fail and are not listed.
        stale: Listed tests that pass, and patterns of the group's files that match no test.
        output: What pytest printed.
    """

    group: str
    outcomes: dict[str, Outcome]
    unexpected: tuple[str, ...]
    stale: tuple[str, ...]
    output: str

    def count(self, *statuses: str) -> int:
        """Returns the number of tests with one of these statuses."""
        return sum(outcome.status in statuses for outcome in self.outcomes.values())

    @property
    def is_as_expected(self) -> bool:
        """True if exactly the listed tests fail."""
        return bool(self.outcomes) and not self.unexpected and not self.stale

    def summary(self) -> str:
        """Returns one line with the pass rate; skipped tests count in neither direction."""
        passed = self.count('passed')
        run = len(self.outcomes) - self.count('skipped')
        rate = 100.0 * passed / run if run else 0.0
        listed = run - passed - len(self.unexpected)
        return (
            f'{self.group}: {passed} of {run} pass ({rate:.1f}%), {listed} listed exceptions, '
            f'{self.count("skipped")} skipped, {len(self.unexpected)} unexpected failures, '
            f'{len(self.stale)} stale exceptions'
        )


def _copy(source: pathlib.Path, target: pathlib.Path, is_renamed: bool) -> None:
    text = source.read_text(encoding='utf-8')
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(rename.rename_source(text) if is_renamed else text, encoding='utf-8')


def copy_group(
    official: pathlib.Path,
    group: str,
    scratch: pathlib.Path,
    *,
    is_renamed: bool = True,
    files: str = '*',
) -> list[str]:
    """Copies the group's test files and the helpers to `scratch`; returns the tests' paths."""
    paths = sorted(
        path.relative_to(official).as_posix()
        for pattern in GROUPS[group]
        for path in official.glob(pattern)
        if fnmatch.fnmatchcase(path.name, files)
    )
    for path in paths:
        _copy(official / path, scratch / path, is_renamed)
    if is_renamed:
        for path in SUPPORT_FILES:
            _copy(official / path, scratch / 'support' / 'official_lite' / path, True)
    shutil.copy(pathlib.Path(__file__).parent / 'recorder.py', scratch / 'conftest.py')
    return paths


def _environment(scratch: pathlib.Path, is_renamed: bool) -> dict[str, str]:
    return {
        **os.environ,
        'GARDEN_SUITE_RECORDS': str(scratch / 'records.jsonl'),
        'GARDEN_SUITE_SUPPORT': ','.join(SUPPORT_PACKAGES) if is_renamed else '',
        'PYTHONPATH': os.pathsep.join(filter(None, [str(REPO), os.environ.get('PYTHONPATH')])),
        'PYTHONDONTWRITEBYTECODE': '1',
        'CUDA_VISIBLE_DEVICES': '',
        'TF_CPP_MIN_LOG_LEVEL': '3',
    }


def _run_pytest(scratch: pathlib.Path, paths: list[str], is_renamed: bool) -> str:
    """Runs pytest on the copies; returns what it printed. A hanging run is ended."""
    (scratch / 'pytest.ini').write_text('[pytest]\n', encoding='utf-8')
    command = [sys.executable, '-m', 'pytest', '-q', '--tb=short', '-p', 'no:cacheprovider']
    command += ['--import-mode=importlib', '--continue-on-collection-errors']
    command += ['--rootdir', str(scratch), *paths]
    environment = _environment(scratch, is_renamed)
    with (scratch / 'output.txt').open('w', encoding='utf-8') as output:
        process = subprocess.Popen(
            command, cwd=scratch, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            process.wait(TIMEOUT_SECS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return (scratch / 'output.txt').read_text(encoding='utf-8', errors='replace')


def list_tests(path: pathlib.Path, test_file: str) -> list[str]:
    """Returns the ids of the test functions of a file that cannot be imported, by parsing it."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    return [
        f'{test_file}::{node.name}::{item.name}'
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for item in node.body
        if isinstance(item, ast.FunctionDef) and item.name.startswith('test')
    ]


def _read_outcomes(scratch: pathlib.Path) -> dict[str, Outcome]:
    """Turns the recorder's lines into outcomes; a failure in setup or teardown is a failure."""
    outcomes: dict[str, Outcome] = {}
    file = scratch / 'records.jsonl'
    lines = file.read_text(encoding='utf-8').splitlines() if file.exists() else []
    for record in map(json.loads, lines):
        test_id, kind, error = record['id'], record['kind'], record.get('error', '')
        if kind == 'collected':
            outcomes[test_id] = Outcome('crashed', 'the process ended before the test did')
        elif kind == 'uncollectable':
            for name in list_tests(scratch / test_id, test_id):
                outcomes[name] = Outcome('uncollectable', error)
        elif outcomes[test_id].status != 'failed':
            outcomes[test_id] = Outcome(kind, error)
    # `tf.test.TestCase.test_session` is a helper whose name makes it look like a test.
    return {k: v for k, v in outcomes.items() if not k.endswith('::test_session')}


def judge(
    group: str,
    paths: list[str],
    outcomes: dict[str, Outcome],
    exceptions: exceptions_lib.Exceptions,
    output: str = '',
) -> GroupResult:
    """Compares the outcomes with the list of exceptions."""
    failing = [k for k, v in outcomes.items() if v.status not in ('passed', 'skipped')]
    passing = [k for k, v in outcomes.items() if v.status == 'passed']
    stale = [test for test in passing if exceptions.find(test)]
    for pattern in exceptions.patterns:
        is_ours = any(fnmatch.fnmatchcase(path, pattern.split('::')[0]) for path in paths)
        if is_ours and not any(fnmatch.fnmatchcase(test, pattern) for test in outcomes):
            stale.append(pattern)
    unexpected = tuple(test for test in failing if not exceptions.find(test))
    return GroupResult(group, outcomes, unexpected, tuple(stale), output)


def run_group(group: str, *, is_renamed: bool = True, files: str = '*') -> GroupResult:
    """Runs one group of Model Garden's tests.

    Args:
        group: A key of `GROUPS`.
        is_renamed: False runs the tests as they are, against Model Garden itself. That shows which
            of them fail there too.
        files: Pattern of the names of the test files; those of the group that do not match are
            left out.

    Raises:
        wheel.GardenNotFoundError: There is no tf-models-official and it could not be downloaded.
    """
    with tempfile.TemporaryDirectory(prefix='garden_suite_') as name:
        scratch = pathlib.Path(name)
        garden = wheel.find_garden(scratch / 'download')
        official = garden / 'official'
        paths = copy_group(official, group, scratch, is_renamed=is_renamed, files=files)
        if not paths:
            return GroupResult(group, {}, (), (), '')
        output = _run_pytest(scratch, paths, is_renamed)
        # The list is of official_lite's failures; of Model Garden's own none is expected.
        expected = (
            exceptions_lib.load_exceptions() if is_renamed else exceptions_lib.Exceptions({}, {})
        )
        return judge(group, paths, _read_outcomes(scratch), expected, output)
