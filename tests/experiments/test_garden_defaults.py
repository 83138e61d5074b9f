"""Every field of Model Garden's configs exists here, with the same default."""

from __future__ import annotations

import fnmatch
import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.experiments import garden_dump

pytestmark = pytest.mark.garden

MODULES = [
    'core.config_definitions',
    'modeling.optimization.configs.optimization_config',
    'modeling.optimization.configs.optimizer_config',
    'modeling.optimization.configs.learning_rate_config',
    'vision.configs.common',
    'vision.configs.backbones',
    'vision.configs.decoders',
    'vision.configs.image_classification',
    'vision.configs.retinanet',
    'vision.configs.semantic_segmentation',
]
EXPERIMENTS = [
    'deit_imagenet_pretrain',
    'image_classification',
    'mnv2_deeplabv3_cityscapes',
    'mnv2_deeplabv3_pascal',
    'mnv2_deeplabv3plus_cityscapes',
    'mobilenet_imagenet',
    'resnet_imagenet',
    'resnet_rs_imagenet',
    'retinanet',
    'retinanet_mobile_coco',
    'retinanet_resnetfpn_coco',
    'retinanet_spinenet_coco',
    'seg_deeplabv3_pascal',
    'seg_deeplabv3plus_cityscapes',
    'seg_deeplabv3plus_pascal',
    'seg_resnetfpn_pascal',
    'semantic_segmentation',
    'revnet_imagenet',
    'vit_imagenet_finetune',
    'vit_imagenet_pretrain',
]

# Path, as a pattern -> why ours differs. A pattern that no difference needs fails the test.
EXCEPTIONS: dict[str, str] = {
    'experiments/*.adamw.include_in_weight_decay': 'one string there, which is read letter by letter',
}


@pytest.fixture(scope='module')
def theirs() -> dict[str, Any]:
    script = pathlib.Path(garden_dump.__file__)
    command = [sys.executable, str(script), 'official', ','.join(MODULES), ','.join(EXPERIMENTS)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(output.splitlines()[-1])


@pytest.fixture(scope='module')
def ours() -> dict[str, Any]:
    return json.loads(json.dumps(garden_dump.main('official_lite', MODULES, EXPERIMENTS)))


def find_differences(theirs: Any, ours: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yields path and text for each field of theirs that is missing here or has another value."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key, value in theirs.items():
            if key not in ours:
                yield f'{path}.{key}', 'missing here'
            else:
                yield from find_differences(value, ours[key], f'{path}.{key}')
    elif theirs != ours or isinstance(theirs, bool) is not isinstance(ours, bool):
        yield path, f'{theirs!r} there, {ours!r} here'


def unexpected(kind: str, theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    found = dict(
        difference
        for name, tree in theirs[kind].items()
        for difference in find_differences(tree, ours[kind].get(name), f'{kind}/{name}')
    )
    return [f'{path}: {text}' for path, text in found.items() if not _reason(path)]


def _reason(path: str) -> str | None:
    return next((why for p, why in EXCEPTIONS.items() if fnmatch.fnmatchcase(path, p)), None)


def test_classes_have_the_same_fields_and_defaults(
    theirs: dict[str, Any], ours: dict[str, Any]
) -> None:
    assert len(theirs['classes']) == 92
    assert unexpected('classes', theirs, ours) == []


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_experiments_have_the_same_values(
    name: str, theirs: dict[str, Any], ours: dict[str, Any]
) -> None:
    pair = [{'experiments': {name: side['experiments'][name]}} for side in (theirs, ours)]
    assert unexpected('experiments', pair[0], pair[1]) == []


def test_every_exception_is_needed(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    paths = [
        path
        for kind in ('classes', 'experiments')
        for name, tree in theirs[kind].items()
        for path, _ in find_differences(tree, ours[kind].get(name), f'{kind}/{name}')
    ]
    unneeded = [p for p in EXCEPTIONS if not any(fnmatch.fnmatchcase(x, p) for x in paths)]
    assert unneeded == []
