"""HParams: the behaviour of `tf.contrib.training.HParams`, and views of configs."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest

from official_lite.core import exp_factory
from official_lite.modeling import hyperparams
from official_lite.modeling.hyperparams import HParams


def _make() -> HParams:
    return HParams(
        learning_rate=0.0003,
        load_pretrained=True,
        layers=[1, 2],
        num_steps=10,
        name='resnet',
        sizes=[0.5],
        names=['a'],
        nothing=None,
    )


def test_values_are_attributes() -> None:
    hparams = HParams(learning_rate=0.0003, load_pretrained=True)
    assert (hparams.learning_rate, hparams.load_pretrained) == (0.0003, True)
    assert hparams.values() == {'learning_rate': 0.0003, 'load_pretrained': True}
    assert 'learning_rate' in hparams
    assert 'rate' not in hparams


def test_the_text_of_the_docstring() -> None:
    hparams = _make()
    same = hparams.parse('load_pretrained=false,learning_rate=0.001,layers=[1,2],layers[0]=3')
    assert same is hparams
    assert (hparams.load_pretrained, hparams.learning_rate, hparams.layers) == (
        False,
        0.001,
        [3, 2],
    )


@pytest.mark.parametrize(
    ('text', 'name', 'value'),
    [
        ('learning_rate=1', 'learning_rate', 1.0),
        ('learning_rate=1e-3', 'learning_rate', 0.001),
        ('num_steps=1e3', 'num_steps', 1000),
        ('num_steps = 7 ', 'num_steps', 7),
        ('load_pretrained=0', 'load_pretrained', False),
        ('load_pretrained=True', 'load_pretrained', True),
        ('name=012', 'name', '012'),
        ('name=', 'name', ''),
        ("name='a, b=c'", 'name', 'a, b=c'),
        ('name=a,b,num_steps=10', 'name', 'a,b'),
        ('layers=[3, 4, 5]', 'layers', [3, 4, 5]),
        ('layers=[3 4]', 'layers', [3, 4]),
        ('layers=[]', 'layers', []),
        ('layers[1]=9', 'layers', [1, 9]),
        ('layers[2]=9', 'layers', [1, 2, 9]),
        ('layers[0]=8,layers[1]=9', 'layers', [8, 9]),
        ('sizes=[1,2]', 'sizes', [1.0, 2.0]),
        ('names=[true,1]', 'names', ['true', '1']),
        ('nothing=1.5', 'nothing', 1.5),
        ('nothing=[1,a]', 'nothing', [1, 'a']),
    ],
)
def test_parse_reads_by_the_type_of_the_default(text: str, name: str, value: Any) -> None:
    parsed = getattr(_make().parse(text), name)
    assert parsed == value
    assert type(parsed) is type(value)
    if isinstance(value, list):
        assert [type(item) for item in parsed] == [type(item) for item in value]


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('learning_rate=fast', r"learning_rate: Could not cast hparam of type float .* 'fast'"),
        ('num_steps=0.5', r"num_steps: Could not cast hparam of type int from value '0.5'"),
        ('load_pretrained=maybe', r'load_pretrained: Could not cast hparam of type bool'),
        ('layers=3', r"layers: Must pass a list for multi-valued parameter, received '3'"),
        ('num_steps=[1,2]', r'num_steps: Must not pass a list for single-valued parameter'),
        ('num_steps[0]=1', r'num_steps\[0\]: Must not pass an index for single-valued'),
        ('layers[0]=[1]', r'layers\[0\]: Assignment of a list to a list index'),
        ('layers[7]=1', r'layers\[7\]: there is no element 7; an index up to 2, which appends'),
        ('layers=[1,x]', r"layers: Could not cast hparam of type list\[int\] from value 'x'"),
        ('lerning_rate=1', r"Unknown hyperparameter; did you mean 'learning_rate'\?"),
        ('num_steps=1,num_steps=2', r'num_steps: Multiple assignment to variable'),
        ('layers[0]=1,layers[0]=2', r'layers\[0\]: Multiple assignment to variable'),
        ('layers[0]=1,layers=[1,2]', r'layers: Multiple assignment to variable'),
        ('num_steps', r'no `key=value` is there'),
        ('layers=[1,2', r'a bracket is not closed'),
    ],
)
def test_what_is_wrong_with_a_text(text: str, message: str) -> None:
    hparams = _make()
    with pytest.raises(ValueError, match=message):
        hparams.parse(text)
    assert hparams == _make()


def test_all_problems_are_told_and_nothing_is_changed() -> None:
    hparams = _make()
    with pytest.raises(hyperparams.ConfigError, match='2 problems') as caught:
        hparams.parse('num_steps=5,nme=x,learning_rate=y')
    assert [problem.path for problem in caught.value.problems] == ['nme', 'learning_rate']
    assert isinstance(caught.value, KeyError)
    assert hparams.num_steps == 10


def test_set_casts_where_nothing_is_lost() -> None:
    hparams = _make()
    hparams.set_hparam('learning_rate', 1)
    hparams.set_hparam('num_steps', np.int64(3))
    hparams.load_pretrained = np.bool_(False)
    hparams.layers = (5, 6)
    hparams.nothing = 'anything'
    assert type(hparams.learning_rate) is float
    assert (hparams.num_steps, hparams.load_pretrained, hparams.layers) == (3, False, [5, 6])
    assert hparams.nothing == 'anything'


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('num_steps', 3.0),
        ('num_steps', True),
        ('num_steps', '3'),
        ('learning_rate', '0.1'),
        ('learning_rate', False),
        ('load_pretrained', 1),
        ('name', 1),
        ('layers', 1),
        ('layers', [1.5]),
        ('num_steps', [1]),
    ],
)
def test_set_refuses_other_types(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f'{name}: (Could not cast|Must (not )?pass)'):
        _make().set_hparam(name, value)


def test_names_come_and_go() -> None:
    hparams = HParams(a=1)
    hparams.add_hparam('b', (1, 2))
    assert hparams.values() == {'a': 1, 'b': [1, 2]}
    hparams.del_hparam('a')
    hparams.del_hparam('never there')
    assert 'a' not in hparams
    with pytest.raises(AttributeError, match='a: Unknown hyperparameter'):
        hparams.a  # noqa: B018
    hparams.add_hparam('a', 'now text')
    assert hparams.get('a') == 'now text'


@pytest.mark.parametrize('name', ['a', 'values', 'parse', '_types'])
def test_reserved_names(name: str) -> None:
    with pytest.raises(ValueError, match=f'{name}: Hyperparameter name is reserved'):
        HParams(a=1).add_hparam(name, 2)


def test_other_refusals() -> None:
    with pytest.raises(ValueError, match='layers: Multi-valued hyperparameters cannot be empty'):
        HParams(layers=[])
    with pytest.raises(KeyError, match='Unknown hyperparameter'):
        _make().set_hparam('nme', 'x')
    with pytest.raises(AttributeError, match=r'rate: Unknown hyperparameter.*add_hparam adds one'):
        _make().rate = 1
    with pytest.raises(ValueError, match='expected a mapping, received 3'):
        _make().parse_json('3')
    with pytest.raises(ValueError, match='malformed JSON'):
        _make().parse_json('{')


def test_get_checks_the_type_of_the_default() -> None:
    hparams = _make()
    assert hparams.get('num_steps') == 10
    assert hparams.get('num_steps', 3) == 10
    assert hparams.get('unknown', 3) == 3
    with pytest.raises(ValueError, match=r'num_steps: type int is incompatible with default=0\.5'):
        hparams.get('num_steps', 0.5)
    with pytest.raises(ValueError, match='incompatible'):
        hparams.get('layers', 1)


def test_json_round_trip() -> None:
    hparams = _make().parse('layers=[7],name=x')
    assert _make().parse_json(hparams.to_json()) == hparams
    assert json.loads(hparams.to_json(indent=2, sort_keys=True)) == hparams.values()
    assert _make().override_from_dict({'name': 'x', 'layers': [7]}) == hparams


def test_copies_are_equal_and_share_nothing() -> None:
    hparams = _make()
    for other in (copy.deepcopy(hparams), pickle.loads(pickle.dumps(hparams))):
        assert other == hparams
        other.parse('layers[0]=9')
        assert hparams.layers == [1, 2]
    values = hparams.values()
    values['layers'].append(3)
    assert hparams.layers == [1, 2]
    assert repr(HParams(a=1, b='x')) == "HParams(a=1, b='x')"
    assert str(HParams(b=1, a=2)) == "[('a', 2), ('b', 1)]"


@pytest.mark.parametrize('name', exp_factory.list_experiments())
def test_a_config_as_hparams_and_back(name: str) -> None:
    config = exp_factory.get_exp_config(name)
    view = config.to_hparams()
    assert view.to_config() == config
    assert type(config).from_hparams(view) == config
    again = exp_factory.get_exp_config(name).to_hparams().parse_json(view.to_json())
    assert again.to_config() == config


def test_a_view_is_checked_by_the_fields_types_and_leaves_the_config_alone() -> None:
    config = exp_factory.get_exp_config('retinanet_custom')
    view = config.to_hparams()
    view.parse('learning_rate=0.001,focal_loss_alpha=0.5,task.model.anchor.aspect_ratios[0]=2')
    view.set_hparam('trainer.train_steps', 7)
    assert view.task.losses.focal_loss_alpha == 0.5
    assert view.get('task.model.anchor.aspect_ratios') == [2.0]
    assert view.get('not.there', 5) == 5
    assert 'trainer.train_steps' in view
    assert view.to_config().trainer.train_steps == 7
    assert config.task.losses.focal_loss_alpha != 0.5
    with pytest.raises(TypeError, match=r'trainer\.train_steps: expected int'):
        view.set_hparam('train_steps', 0.5)
    with pytest.raises(ValueError, match='a field of a ExperimentConfig cannot be added'):
        view.add_hparam('new', 1)
    with pytest.raises(ValueError, match='cannot be deleted'):
        view.del_hparam('trainer.train_steps')


def test_choosing_another_branch_changes_what_a_view_has() -> None:
    view = exp_factory.get_exp_config('retinanet_custom').to_hparams()
    assert 'trainer.optimizer_config.optimizer.sgd.momentum' not in view
    view.parse('optimizer.type=sgd,momentum=0.8')
    assert view.get('trainer.optimizer_config.optimizer.sgd.momentum') == 0.8


def test_a_config_from_plain_hparams() -> None:
    class_ = type(exp_factory.get_exp_config('retinanet').trainer)
    hparams = HParams({'train_steps': 5, 'optimizer_config.optimizer.type': 'sgd'})
    config = class_.from_hparams(hparams)
    assert (config.train_steps, config.optimizer_config.optimizer.type) == (5, 'sgd')
    with pytest.raises(TypeError, match='expected TrainerConfig'):
        class_.from_hparams(exp_factory.get_exp_config('retinanet').to_hparams())
