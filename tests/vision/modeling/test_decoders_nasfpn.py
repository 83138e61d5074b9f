"""NAS-FPN: what it combines, sizes and refusals."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from official_lite.vision.modeling.decoders import nasfpn
from tests.vision.modeling import pyramids


def test_attention_by_hand() -> None:
    first = np.array([[[[0.0, -1.0]], [[2.0, -3.0]]]], np.float32)  # [1, 2, 1, 2]
    second = np.array([[[[1.0, 10.0]], [[3.0, 20.0]]]], np.float32)
    gates = 1 / (1 + np.exp(-np.array([2.0, -1.0])))
    got = nasfpn.GlobalAttention()([first, second])
    np.testing.assert_allclose(got, first + second * gates, rtol=1e-6)


@pytest.mark.parametrize(
    ('options', 'parameters'),
    [
        ({}, 21_609_984),
        # Three 1x1 convolutions with BatchNorm, and 35 3x3 ones.
        (
            {'num_filters': 64, 'merge_filters': None},
            64 * (512 + 1024 + 2048) + 3 * 5 * 64 + 35 * (9 * 64 * 64 + 5 * 64),
        ),
        # 16 maps are combined, two per node and two spare ones; each is projected from 64 to 256.
        (
            {'num_filters': 64, 'num_repeats': 1},
            64 * (512 + 1024 + 2048)
            + 3 * 5 * 64
            + 16 * (64 * 256 + 5 * 256)
            + 7 * (9 * 256 * 64 + 5 * 64),
        ),
    ],
)
def test_nasfpn_parameters(options: dict[str, Any], parameters: int) -> None:
    model = nasfpn.NASFPN(pyramids.make_specs(pyramids.R50), **options)
    assert model.count_params() == parameters
    filters = options.get('num_filters', 256)
    assert model.output_specs == pyramids.make_specs(dict.fromkeys('34567', filters))


def test_nasfpn_combines_what_the_paper_says() -> None:
    """The nodes of the first cell, as sets of what feeds them (0 to 4 are the levels 3 to 7)."""
    model = pyramids.make_small_nasfpn()
    names = [layer.name for layer in model.layers if layer.name.endswith(('sum', 'attention'))]
    prefix = 'cell_0_node_'
    assert sorted(name.removeprefix(prefix) for name in names) == [
        '0_attention',
        '1_sum',
        '2_sum',
        '3_sum',
        '4_attention',
        '4_unused_2_sum',
        '5_attention',
        '5_unused_4_sum',
        '6_attention',
    ]
    # Level 7 and the node of level 6 see half of what is four levels finer.
    assert model.get_layer(f'{prefix}5_input_0_pool').pool_size == (8, 8)
    assert model.get_layer('input_7_pool').pool_size == (2, 2)


def test_nasfpn_attends_from_the_coarser_level() -> None:
    """Node 0 combines the levels 4 and 6: the gates come from level 6, whichever stands first."""
    attention = pyramids.make_small_nasfpn().get_layer('cell_0_node_0_attention')
    assert attention.input[0]._keras_history.operation.name == 'cell_0_node_0_input_1_upsample'
    assert attention.input[1]._keras_history.operation.name == 'input_4_norm'


def test_own_cell() -> None:
    cell = [(3, 'sum', (0, 1), True), (4, 'attention', (1, 2), True)]
    model = nasfpn.NASFPN(
        pyramids.make_specs(pyramids.SMALL),
        3,
        4,
        cell,
        num_filters=8,
        num_repeats=2,
        merge_filters=None,
    )
    assert list(model.output_specs) == ['3', '4']
    copy = nasfpn.NASFPN.from_config(model.get_config())
    assert copy.get_config() == model.get_config()


def test_nasfpn_kernels_start_from_fan_out() -> None:
    model = pyramids.make_small_nasfpn(num_filters=64)
    kernel = model.get_layer('cell_0_node_0_conv').kernel
    assert np.std(kernel) == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
    other = pyramids.make_small_nasfpn(
        num_filters=64, kernel_initializer=keras.initializers.RandomNormal(0.0, 0.5)
    )
    kernels = [other.get_layer(f'cell_0_node_{i}_conv').kernel.numpy() for i in (0, 1)]
    assert np.std(kernels[0]) == pytest.approx(0.5, rel=0.02)
    assert not np.array_equal(*kernels)


def test_b27_nasfpn_refuses_maps_that_do_not_fit() -> None:
    match = 'height 3 at level 5 cannot be halved down to level 7.*height .*multiple of 128'
    with pytest.raises(ValueError, match=match):
        pyramids.make_small_nasfpn(input_specs=pyramids.make_specs(pyramids.SMALL, (96, 128)))
    model = pyramids.make_small_nasfpn(
        input_specs=pyramids.make_specs(pyramids.SMALL, (None, None))
    )
    with pytest.raises(ValueError, match=match):
        model(pyramids.make_features(pyramids.SMALL, (96, 128)))
    assert model(pyramids.make_features(pyramids.SMALL, (128, 256)))['7'].shape == (2, 1, 2, 16)
