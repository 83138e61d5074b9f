"""Classes from the data: filled in where nobody chose, believed or refused where somebody did."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from official_lite.core import data_info, exp_factory
from official_lite.modeling import hyperparams
from official_lite.vision.tasks import data_facts

LISTED = data_info.DataInfo(
    num_examples=4,
    class_names=('cup', 'dog', 'owl'),
    category_ids=(3, 17, 90),
    num_boxes=9,
    boxes_per_class=(3, 3, 3),
    max_label=3,
    fingerprint='0',
    origin='my.json',
)
OCCURRING = dataclasses.replace(
    LISTED,
    class_names=('cup', 'class_2', 'owl'),
    category_ids=(1, 2, 3),
    origin='a.tfrecord',
    declares_classes=False,
)


def _make(overrides: str = '', experiment: str = 'retinanet_custom') -> Any:
    config = exp_factory.get_exp_config(experiment)
    if overrides:
        hyperparams.override_params_dict(config, overrides, source='--params_override')
    return config


def _classes(config: Any) -> tuple[int, list[str], list[int]]:
    task = config.task
    return task.model.num_classes, list(task.class_names), list(task.category_ids)


def test_unset_fields_come_from_the_data() -> None:
    config = _make()
    for _ in range(2):
        data_facts.resolve_classes(config, LISTED)
        assert _classes(config) == (4, ['cup', 'dog', 'owl'], [3, 17, 90])
        assert str(config.source_of('task.model.num_classes')) == 'data: my.json'


def test_the_data_of_another_time_is_no_choice() -> None:
    config = _make()
    data_facts.resolve_classes(config, OCCURRING)
    data_facts.resolve_classes(config, LISTED)
    assert _classes(config) == (4, ['cup', 'dog', 'owl'], [3, 17, 90])


def test_a_default_of_the_experiment_gives_way_to_listed_classes() -> None:
    config = _make(experiment='retinanet_resnetfpn_coco')
    assert config.task.model.num_classes == 91
    data_facts.resolve_classes(config, LISTED)
    assert config.task.model.num_classes == 4


def test_all_contradictions_are_told_at_once() -> None:
    config = _make('task.model.num_classes=3,task.class_names=[cup, cat]')
    with pytest.raises(hyperparams.ConfigError) as caught:
        data_facts.resolve_classes(config, LISTED)
    lines = str(caught.value).splitlines()
    assert lines[0] == '2 problems in the config:'
    assert lines[1].strip() == (
        'task.model.num_classes: expected 4, because my.json has 3 classes, and background counts, '
        'received 3 (from --params_override); leave it out to take it from the data'
    )
    assert lines[2].strip() == (
        'task.class_names: expected cup, dog, owl, as in my.json, received cup, cat (from '
        '--params_override); leave it out to take it from the data'
    )


def test_labels_that_only_occur_are_a_lower_bound() -> None:
    """A part of COCO in TFRecords must not shrink the 91 classes of the recipe, or of a run."""
    config = _make(experiment='retinanet_resnetfpn_coco')
    data_facts.resolve_classes(config, OCCURRING)
    num_classes, names, ids = _classes(config)
    assert (num_classes, ids) == (91, list(range(1, 91)))
    assert names[:4] == ['cup', 'class_2', 'owl', 'class_4']
    config = _make('task.model.num_classes=6')
    data_facts.resolve_classes(config, OCCURRING)
    assert (config.task.model.num_classes, len(config.task.class_names)) == (6, 5)
    config = _make()
    data_facts.resolve_classes(config, OCCURRING)
    assert config.task.model.num_classes == 4


def test_names_and_ids_are_believed_where_labels_only_occur() -> None:
    config = _make('task.class_names=[a, b, c, d],task.category_ids=[5, 6, 8, 9]')
    for _ in range(2):
        data_facts.resolve_classes(config, OCCURRING)
        assert _classes(config) == (5, ['a', 'b', 'c', 'd'], [5, 6, 8, 9])


def test_a_label_above_the_chosen_number_is_refused() -> None:
    config = _make('task.model.num_classes=3')
    with pytest.raises(
        hyperparams.ConfigError, match=r'expected 4, because a\.tfrecord has 3 labels'
    ):
        data_facts.resolve_classes(config, OCCURRING)


def test_validation_data_with_other_classes_is_refused() -> None:
    config = _make()
    data_facts.resolve_classes(config, LISTED)
    data_facts.check_same_classes(config.task, LISTED)
    other = dataclasses.replace(LISTED, category_ids=(3, 18, 90), origin='val.json')
    with pytest.raises(
        hyperparams.ConfigError,
        match=r'task\.validation_data: its classes are not those of task\.category_ids: they differ '
        r'from label 2 on, expected 17, 90, received 18, 90 in val\.json',
    ):
        data_facts.check_same_classes(config.task, other)
