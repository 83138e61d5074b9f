"""A tiny Mask R-CNN on a few embedded scenes."""

from __future__ import annotations

from typing import Any

from official_lite.core import exp_factory


def make_params(**overrides: Any) -> Any:
    """The experiment, not resolved.

    Args:
        **overrides: Fields by dotted path, with `__` for the dots.
    """
    params = exp_factory.get_exp_config('maskrcnn_custom')
    params.override(
        {
            'runtime': {'mixed_precision_dtype': 'float32', 'distribution_strategy': 'one_device'},
            'task': {
                'model': {
                    'input_size': [64, 64, 3],
                    'decoder': {'fpn': {'num_filters': 8}},
                    'backbone': {'resnet': {'depth_multiplier': 0.125}},
                    'rpn_head': {'num_filters': 8},
                    'detection_head': {'num_filters': 8, 'fc_dims': 16},
                    'mask_head': {'num_convs': 1, 'num_filters': 8},
                    'roi_generator': {
                        'pre_nms_top_k': 50,
                        'num_proposals': 20,
                        'test_pre_nms_top_k': 50,
                        'test_num_proposals': 20,
                    },
                    'roi_sampler': {'num_sampled_rois': 16},
                    'mask_sampler': {'num_sampled_masks': 4},
                    'detection_generator': {
                        'pre_nms_top_k': 50,
                        'max_num_detections': 10,
                        'pre_nms_score_threshold': 0.001,
                    },
                },
                'train_data': {'global_batch_size': 2, 'parser': {'mask_crop_size': 14}},
                'validation_data': {'global_batch_size': 2, 'parser': {'mask_crop_size': 14}},
            },
            'trainer': {
                'train_steps': 4,
                'steps_per_loop': 2,
                'summary_interval': 2,
                'checkpoint_interval': 4,
                'validation_interval': 4,
            },
        }
    )
    for data in (params.task.train_data, params.task.validation_data):
        data.source.embedded.num_scenes = 5
    for path, value in overrides.items():
        node = params
        *parents, name = path.split('__')
        for parent in parents:
            node = getattr(node, parent)
        setattr(node, name, value)
    return params
