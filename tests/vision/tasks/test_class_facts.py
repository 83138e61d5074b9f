"""Number and names of classes from the data: filled in, believed or refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from official_lite.core import exp_factory
from official_lite.core.classification_info import ClassificationInfo, check_labels
from official_lite.modeling import hyperparams
from official_lite.vision.tasks import class_facts

LISTED = ClassificationInfo(
    num_examples=9,
    class_names=('cup', 'dog', 'owl'),
    category_ids=(0, 1, 2),
    num_boxes=9,
    boxes_per_class=(2, 3, 4),
    max_label=2,
    fingerprint='0',
    origin='my_folder',
)
OCCURRING = dataclasses.replace(
    LISTED,
    class_names=('class_0', 'class_1', 'class_2'),
    origin='a.tfrecord',
    declares_classes=False,
)


def make(overrides: str = '', experiment: str = 'classification_custom') -> Any:
    config = exp_factory.get_exp_config(experiment)
    if overrides:
        hyperparams.override_params_dict(config, overrides, source='--params_override')
    return config


def classes_of(config: Any) -> tuple[int, list[str]]:
    return config.task.model.num_classes, list(config.task.class_names)


def test_unset_fields_come_from_the_data() -> None:
    config = make()
    for _ in range(2):
        class_facts.resolve_classes(config, LISTED)
        assert classes_of(config) == (3, ['cup', 'dog', 'owl'])
        assert str(config.source_of('task.model.num_classes')) == 'data: my_folder'


def test_a_default_gives_way_to_listed_classes_and_a_choice_does_not() -> None:
    config = make(experiment='resnet_imagenet')
    class_facts.resolve_classes(config, LISTED)
    assert classes_of(config) == (3, ['cup', 'dog', 'owl'])
    with pytest.raises(
        hyperparams.ConfigError, match=r'num_classes: expected 3, as in my_folder, received 7'
    ):
        class_facts.resolve_classes(make('task.model.num_classes=7'), LISTED)


def test_records_tell_only_what_occurs() -> None:
    config = make(experiment='resnet_imagenet')
    class_facts.resolve_classes(config, OCCURRING)
    assert classes_of(config) == (1001, [])
    config = make()
    class_facts.resolve_classes(config, OCCURRING)
    assert classes_of(config) == (3, [])
    config = make('task.model.num_classes=2')  # refused when labels are read
    class_facts.resolve_classes(config, OCCURRING)
    assert classes_of(config) == (2, [])


def test_labels_out_of_range() -> None:
    check_labels(LISTED, 3)
    with pytest.raises(
        Exception, match=r'my_folder: label 2 is out of range; expected labels 0 to 1'
    ):
        check_labels(LISTED, 2)


def test_validation_data_with_other_classes() -> None:
    task = make().task
    class_facts.check_same_classes(task, LISTED)  # nothing is known yet
    task.class_names = ['cup', 'dog', 'owl']
    class_facts.check_same_classes(task, LISTED)
    class_facts.check_same_classes(task, OCCURRING)
    other = dataclasses.replace(LISTED, class_names=('cup', 'emu', 'owl'), origin='other')
    with pytest.raises(
        hyperparams.ConfigError,
        match=r'they differ from label 1 on, expected dog, owl, received emu, owl in other',
    ):
        class_facts.check_same_classes(task, other)


def test_the_data_describe_themselves() -> None:
    info = dataclasses.replace(LISTED, num_corrupt=2, findings=('odd',))
    assert info.describe('training data') == (
        'training data: my_folder\n'
        '  9 images, 9 labels\n'
        '  3 classes (label, name, images): 0 cup 2; 1 dog 3; 2 owl 4\n'
        '  ! 2 images cannot be read and are left out\n'
        '  ! odd'
    )
    assert info.num_classes == 3
    assert ClassificationInfo.from_dict(info.to_dict()) == info
