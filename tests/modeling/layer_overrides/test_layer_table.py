"""The table of layers: rates, decay, regularizers and trainable state."""

from official_lite.modeling.layer_overrides import apply_layer_overrides, layer_table
from official_lite.modeling.optimization import lr_schedule, optimizers
from tests.modeling.layer_overrides import models

OVERRIDES = [
    {'pattern': 'backbone/stem', 'trainable': False},
    {
        'pattern': 'backbone/block',
        'learning_rate_multiplier': 0.5,
        'kernel_regularizer': {'type': 'l1_l2', 'l1': 0.1, 'l2': 0.2},
        'activation': 'relu',
    },
    {'pattern': '.*/bias', 'weight_decay_multiplier': 0},
    {
        'pattern': 'head',
        'learning_rate': {'type': 'constant', 'constant': {'learning_rate': 0.7}},
        'kernel_initializer': 'zeros',
    },
]

# Of out/kernel the rate rises to 0.1, and its decay is 0.01.
EXPECTED = """\
layer                  parameters  trained  peak lr  decay  regularizer    overrides
backbone/stem                  25       no        -      -  -
backbone/block/kernel          25      yes     0.05   0.01  l1=0.1 l2=0.2  activation=relu
backbone/block/bias             5      yes     0.05      -  -              activation=relu
head/cls/kernel                10      yes      0.7   0.01  -              kernel_initializer=zeros
head/cls/bias                   2      yes      0.7      -  -              kernel_initializer=zeros
model/out/kernel                2      yes      0.1   0.01  -
model/out/bias                  1      yes      0.1      -  -"""


def test_table():
    model = models.Detector()
    settings = apply_layer_overrides(model, OVERRIDES)
    schedule = lr_schedule.LinearWarmup(0.1, warmup_steps=5, warmup_learning_rate=0.0)
    optimizer = settings.configure_optimizer(optimizers.SGD(schedule, weight_decay=0.01))
    optimizer.build(model.trainable_variables)
    rows = layer_table.make_rows(model, optimizer, num_updates=20, settings=settings)
    lines = layer_table.format_table(rows).splitlines()
    assert sorted(lines) == sorted(EXPECTED.splitlines())
    assert lines[0] == EXPECTED.splitlines()[0]


def test_one_row_where_all_is_alike():
    model = models.Detector()
    optimizer = optimizers.SGD(0.1)
    optimizer.build(model.trainable_variables)
    rows = layer_table.make_rows(model, optimizer, num_updates=1)
    names = ['model/out', 'backbone/stem', 'backbone/block', 'head/cls']
    assert [row.name for row in rows] == names
    assert {row.columns[1] for row in rows} == {'0.1'}
