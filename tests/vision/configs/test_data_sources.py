"""Every field of the sources' configs reaches the code that reads."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import pytest

from official_lite.modeling import hyperparams
from official_lite.vision.configs import retinanet as retinanet_cfg
from official_lite.vision.dataloaders import (
    coco_source,
    sources,
    tfds_source,
    voc_source,
    yolo_source,
)

BUILDERS = {
    'coco': (coco_source, 'build_coco_source'),
    'voc': (voc_source, 'build_voc_source'),
    'yolo': (yolo_source, 'build_yolo_source'),
    'tfds': (tfds_source, 'build_tfds_source'),
}
NEEDED: dict[str, dict[str, Any]] = {
    'coco': {'annotation_file': 'a.json'},
    'voc': {'root': 'a'},
    'yolo': {'root': 'a'},
    'tfds': {'name': 'a', 'split': 'b'},
}
VALUES = {'orientation': 'upright', 'difficult': 'drop', 'class_names': ['x', 'y']}
FIELDS = [
    (kind, field.name)
    for kind in BUILDERS
    for field in dataclasses.fields(getattr(retinanet_cfg.DataConfig().source, kind))
]


def build(kind: str, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> tuple[Any, ...]:
    """What the builder of the source is called with."""
    calls: list[tuple[Any, ...]] = []

    def record(*args: Any, **kwargs: Any) -> None:
        calls.append((args, sorted(kwargs.items())))

    module, name = BUILDERS[kind]
    monkeypatch.setattr(module, name, record)
    config = retinanet_cfg.DataConfig()
    config.override({'source': {'type': kind, kind: NEEDED[kind] | fields}})
    config.validate()
    sources.build_source(config)
    return calls[0]


@pytest.mark.parametrize(('kind', 'field'), FIELDS)
def test_fields_are_alive(kind: str, field: str, monkeypatch: pytest.MonkeyPatch):
    default = getattr(getattr(retinanet_cfg.DataConfig().source, kind), field)
    value = VALUES.get(field, not default if isinstance(default, bool) else 'other')
    assert build(kind, monkeypatch) != build(kind, monkeypatch, **{field: value})


@pytest.mark.parametrize('field', ['skip_corrupt', 'cache'])
@pytest.mark.parametrize('kind', BUILDERS)
def test_the_data_configs_own_fields(kind: str, field: str, monkeypatch: pytest.MonkeyPatch):
    calls: list[dict[str, Any]] = []
    module, name = BUILDERS[kind]
    monkeypatch.setattr(module, name, lambda *args, **kwargs: calls.append(kwargs))
    config = retinanet_cfg.DataConfig(**{field: True})
    config.override({'source': {'type': kind, kind: NEEDED[kind]}})
    sources.build_source(config)
    assert calls[0][field] is True


@pytest.mark.parametrize(
    ('source', 'message'),
    [
        ({'type': 'voc'}, r'source\.voc\.root: .*expected the path of a Pascal VOC folder'),
        ({'type': 'yolo'}, r'source\.yolo\.root: .*expected the path of a data\.yaml or of a fold'),
        (
            {'type': 'tfds', 'tfds': {'name': 'a'}},
            r'source\.tfds\.split: .*expected the split of a',
        ),
        (
            {'type': 'voc', 'voc': {'root': 'a', 'class_names': ['x', 'x']}},
            r"source\.voc\.class_names: .*expected different names, not 'x' twice",
        ),
        (
            {'type': 'voc', 'voc': {'root': 'a', 'difficult': 'often'}},
            r'source\.voc\.difficult: .*ignore.*use.*drop',
        ),
    ],
)
def test_checks(source: dict[str, Any], message: str):
    config = retinanet_cfg.DataConfig()
    with pytest.raises(hyperparams.ConfigError, match=message):  # noqa: PT012
        config.override({'source': source})
        config.validate()


def test_one_name_for_a_list_of_names(tmp_path: pathlib.Path):
    config = retinanet_cfg.DataConfig()
    path = tmp_path / 'names.txt'
    config.override({'source': {'voc': {'class_names': str(path)}, 'type': 'voc'}})
    assert config.source.voc.class_names == [str(path)]
