"""Heads that predict at every location of every level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union

import keras
import tensorflow as tf

from official_lite.modeling import initializers as initializers_lib
from official_lite.modeling import norm
from official_lite.vision.configs import retinanet as retinanet_cfg
from official_lite.vision.modeling import builder_arguments
from official_lite.vision.modeling.heads import conv_head, factory
from official_lite.vision.modeling.heads.rpn_head import RPNHead as RPNHead
from official_lite.vision.modeling.layers import shared_convolution

# Share of positive anchors that the classifier assumes at the start:
# https://arxiv.org/abs/1708.02002, section 4.1.
FOREGROUND_PRIOR = 0.01

Predictions = dict[str, tf.Tensor]


@keras.saving.register_keras_serializable(package='official_lite')
class RetinaNetHead(conv_head.AnchorHead):
    """Class and box predictions of RetinaNet (https://arxiv.org/abs/1708.02002), and predictions of
    further attributes.

    Each kind of prediction has a tower of 3x3 convolutions, with batch normalisation and
    activation, and a 3x3 predictor. Convolutions are the same at all levels (unless
    `share_level_convs` is False, and those of attributes even then); batch normalisation never is.

    Args:
        min_level: Finest level.
        max_level: Coarsest level.
        num_classes: Number of classes, with background, which is channel 0.
        num_anchors_per_location: Number of anchors; by level (`{'3': 9, ...}`) only without shared
            convolutions.
        num_convs: Number of convolutions of a tower.
        num_filters: Their width.
        attribute_heads: Further predictions, each a dict with `name`, `type` ('regression' or
            'classification'), `size` (number of values), and optionally `prediction_tower_name`
            (attributes of one name share the tower of the first of them), `num_convs` and
            `num_filters`, which default to those above; of attributes that share a tower, the first
            says them.
        share_classification_heads: Whether classification attributes read the class tower.
        use_separable_conv: Whether convolutions are depthwise separable.
        activation: Name of the activation function.
        use_sync_bn: Whether batch normalisation uses the moments of all replicas.
        norm_momentum: Momentum of the moving statistics.
        norm_epsilon: Added to variances.
        kernel_regularizer: Regulariser of kernels.
        bias_regularizer: Regulariser of biases.
        num_params_per_anchor: Number of values that describe a box.
        share_level_convs: Whether levels share the convolutions of classes and boxes.

    Raises:
        ValueError: If `num_classes` is below 2, or an attribute is not described well.
    """

    def __init__(
        self,
        min_level: int,
        max_level: int,
        num_classes: int,
        num_anchors_per_location: Union[int, dict[str, int]],
        num_convs: int = 4,
        num_filters: int = 256,
        attribute_heads: Optional[Sequence[Mapping[str, Any]]] = None,
        share_classification_heads: bool = False,
        use_separable_conv: bool = False,
        activation: str = 'relu',
        use_sync_bn: bool = False,
        norm_momentum: float = 0.99,
        norm_epsilon: float = 0.001,
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        bias_regularizer: Optional[keras.regularizers.Regularizer] = None,
        num_params_per_anchor: int = 4,
        share_level_convs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            {
                'min_level': min_level,
                'max_level': max_level,
                'num_classes': num_classes,
                'num_anchors_per_location': num_anchors_per_location,
                'num_convs': num_convs,
                'num_filters': num_filters,
                'attribute_heads': [dict(head) for head in attribute_heads or ()],
                'share_classification_heads': share_classification_heads,
                'use_separable_conv': use_separable_conv,
                'num_params_per_anchor': num_params_per_anchor,
                'share_level_convs': share_level_convs,
            },
            activation=activation,
            use_sync_bn=use_sync_bn,
            norm_momentum=norm_momentum,
            norm_epsilon=norm_epsilon,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            **kwargs,
        )
        self._check()
        self.cls_convs, self.cls_norms = self._make_tower(
            'cls', num_convs, num_filters, is_shared=share_level_convs
        )
        self.classifier = self._make_predictor(
            'classifier', num_classes, is_shared=share_level_convs, prior=FOREGROUND_PRIOR
        )
        self.box_convs, self.box_norms = self._make_tower(
            'box', num_convs, num_filters, is_shared=share_level_convs
        )
        self.box_regressor = self._make_predictor(
            'box_regressor', num_params_per_anchor, is_shared=share_level_convs
        )
        self._make_attribute_heads()

    def _check(self) -> None:
        config = self._config
        if config['num_classes'] < 2:
            raise ValueError(
                'RetinaNet needs at least one class besides background, which is class 0. '
                f'Expected num_classes of 2 or more. Received: num_classes={config["num_classes"]}'
            )
        if isinstance(config['num_anchors_per_location'], Mapping) and config['share_level_convs']:
            raise ValueError(
                'Levels with different numbers of anchors cannot share convolutions. '
                'Expected share_level_convs=False or one number. Received: '
                f'num_anchors_per_location={dict(config["num_anchors_per_location"])}'
            )
        if isinstance(config['num_anchors_per_location'], Mapping) and config['attribute_heads']:
            raise ValueError(
                'Attributes have the same convolutions at all levels. Expected one number of '
                'anchors. Received: '
                f'num_anchors_per_location={dict(config["num_anchors_per_location"])}'
            )
        for head in config['attribute_heads']:
            if head['type'] not in ('regression', 'classification'):
                raise ValueError(
                    f'Unknown type of attribute head {head["name"]!r}. '
                    f"Expected 'regression' or 'classification'. "
                    f'Received: {head["type"]!r}'
                )
            if head.get('prediction_tower_name') and config['share_classification_heads']:
                raise ValueError(
                    f'Attribute head {head["name"]!r} names a tower '
                    f'({head["prediction_tower_name"]!r}) while '
                    'share_classification_heads=True gives it the class tower. Expected one of the two.'
                )

    # Parts

    def _make_tower(
        self, name: str, num_convs: int, num_filters: int, *, is_shared: bool
    ) -> tuple[list[Any], list[list[norm.BatchNormalization]]]:
        """Convolutions [conv], or [level][conv] if not shared, and normalisations [level][conv]."""

        def make_convs(prefix: str) -> list[keras.layers.Layer]:
            return [
                self._make_conv(f'{prefix}_{i}', num_filters, 3, self._make_tower_initializer)
                for i in range(num_convs)
            ]

        if is_shared:
            convs: list[Any] = make_convs(f'{name}_conv')
        else:
            convs = [make_convs(f'{name}_conv_{level}') for level in self._levels]
        norms = [
            [self._make_norm(f'{name}_norm_{level}_{i}') for i in range(num_convs)]
            for level in self._levels
        ]
        return convs, norms

    def _make_predictor(
        self, name: str, num_values: int, *, is_shared: bool, prior: Optional[float] = None
    ) -> Any:
        """A convolution, or one for each level, that gives `num_values` per anchor."""
        bias = 'zeros' if prior is None else initializers_lib.make_prior_bias_initializer(prior)
        if is_shared:
            return self._make_conv(
                name,
                num_values * self._config['num_anchors_per_location'],
                3,
                self._make_predictor_initializer,
                bias_initializer=bias,
            )
        return [
            self._make_conv(
                f'{name}_{level}',
                num_values * self._get_num_anchors(level),
                3,
                self._make_predictor_initializer,
                bias_initializer=bias,
            )
            for level in self._levels
        ]

    def _get_num_anchors(self, level: str) -> int:
        num_anchors = self._config['num_anchors_per_location']
        return num_anchors[level] if isinstance(num_anchors, Mapping) else num_anchors

    def _make_attribute_heads(self) -> None:
        """Creates predictors by attribute, and towers by the first attribute that uses them."""
        self.att_predictors: dict[str, Any] = {}
        self.att_convs: dict[str, Any] = {}
        self.att_norms: dict[str, Any] = {}
        self._att_towers: dict[str, Optional[str]] = {}
        owners: dict[str, str] = {}
        for head in self._config['attribute_heads']:
            name = head['name']
            prior = FOREGROUND_PRIOR if head['type'] == 'classification' else None
            self.att_predictors[name] = self._make_predictor(
                f'{name}_attributes', head['size'], is_shared=True, prior=prior
            )
            if self._config['share_classification_heads'] and head['type'] == 'classification':
                self._att_towers[name] = None
                continue
            owner = owners.setdefault(head.get('prediction_tower_name') or f'/{name}', name)
            self._att_towers[name] = owner
            if owner == name:
                self.att_convs[name], self.att_norms[name] = self._make_tower(
                    name,
                    self._config['num_convs'] if (n := head.get('num_convs')) is None else n,
                    head.get('num_filters') or self._config['num_filters'],
                    is_shared=True,
                )

    # Building and calling

    def build(self, input_shape: Mapping[str, Sequence[Optional[int]]]) -> None:
        """Builds all parts.

        Args:
            input_shape: Shapes of the feature maps by level.

        Raises:
            ValueError: If levels that share convolutions have different numbers of channels.
        """
        channels = {level: tuple(input_shape[level])[-1] for level in self._levels}
        is_shared = self._config['share_level_convs'] or self.att_convs
        if is_shared and len(set(channels.values())) > 1:
            raise ValueError(
                'Levels with different numbers of channels cannot share convolutions. '
                "Expected a decoder that makes them equal, such as 'fpn', or "
                'share_level_convs=False and no towers of attributes. Received: '
                f'channels {channels}'
            )
        for index, level in enumerate(self._levels):
            shape = tuple(input_shape[level])
            cls_shape = self._build_tower(self.cls_convs, self.cls_norms, index, shape)
            _build_once(self._at_level(self.classifier, index), cls_shape)
            box_shape = self._build_tower(self.box_convs, self.box_norms, index, shape)
            _build_once(self._at_level(self.box_regressor, index), box_shape)
            shapes = {
                name: self._build_tower(convs, self.att_norms[name], index, shape)
                for name, convs in self.att_convs.items()
            }
            for name, owner in self._att_towers.items():
                predictor = self._at_level(self.att_predictors[name], index)
                _build_once(predictor, cls_shape if owner is None else shapes[owner])

    def _build_tower(
        self, convs: Any, norms: Any, index: int, shape: tuple[Optional[int], ...]
    ) -> Any:
        for conv, norm_layer in zip(self._convs_at_level(convs, index), norms[index]):
            _build_once(conv, shape)
            shape = (*shape[:-1], conv.filters)
            _build_once(norm_layer, shape)
        return shape

    @staticmethod
    def _at_level(predictor: Any, index: int) -> keras.layers.Layer:
        return predictor[index] if isinstance(predictor, (list, tuple)) else predictor

    @staticmethod
    def _convs_at_level(convs: Any, index: int) -> Sequence[keras.layers.Layer]:
        is_by_level = len(convs) > 0 and isinstance(convs[0], (list, tuple))
        return convs[index] if is_by_level else convs

    def _apply_tower(
        self,
        convolve: shared_convolution.Convolve,
        x: tf.Tensor,
        convs: Any,
        norms: Any,
        index: int,
        training: Optional[bool],
    ) -> tf.Tensor:
        for conv, norm_layer in zip(self._convs_at_level(convs, index), norms[index]):
            x = self._activation(norm_layer(convolve(conv, x), training=training))
        return x

    def call(
        self, features: Mapping[str, tf.Tensor], training: Optional[bool] = None
    ) -> tuple[Predictions, Predictions, dict[str, Predictions]]:
        """Predicts.

        Args:
            features: Feature maps by level, [batch, height_l, width_l, channels].
            training: Whether batch normalisation uses the batch's moments.

        Returns:
            Class logits [batch, height_l, width_l, anchors * num_classes] by level, box predictions
            [batch, height_l, width_l, anchors * num_params_per_anchor] by level, and by attribute
            and level predictions [batch, height_l, width_l, anchors * size].
        """
        scores: Predictions = {}
        boxes: Predictions = {}
        attributes: dict[str, Predictions] = {name: {} for name in self._att_towers}
        convolve = shared_convolution.make_convolve()
        for index, level in enumerate(self._levels):

            def tower(convs: Any, norms: Any, level: str = level, index: int = index) -> tf.Tensor:
                return self._apply_tower(convolve, features[level], convs, norms, index, training)

            cls_x = tower(self.cls_convs, self.cls_norms)
            scores[level] = convolve(self._at_level(self.classifier, index), cls_x)
            box_x = tower(self.box_convs, self.box_norms)
            boxes[level] = convolve(self._at_level(self.box_regressor, index), box_x)
            towers = {
                name: tower(convs, self.att_norms[name]) for name, convs in self.att_convs.items()
            }
            for name, owner in self._att_towers.items():
                predictor = self._at_level(self.att_predictors[name], index)
                attributes[name][level] = convolve(
                    predictor, cls_x if owner is None else towers[owner]
                )
        return scores, boxes, attributes


def _build_once(layer: keras.layers.Layer, shape: tuple[Optional[int], ...]) -> None:
    """Builds a layer that several levels may share."""
    if not layer.built:
        layer.build(shape)


@factory.register_head_builder('retinanet', config=retinanet_cfg.RetinaNetHead)
def build_retinanet_head(
    input_specs: Mapping[str, Any],
    model_config: Any,
    num_anchors_per_location: Union[int, dict[str, int]],
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
) -> RetinaNetHead:
    """Builds a RetinaNet head from a RetinaNet model config."""
    del input_specs
    config = model_config.head
    return RetinaNetHead(
        min_level=model_config.min_level,
        max_level=model_config.max_level,
        num_classes=model_config.num_classes,
        num_anchors_per_location=num_anchors_per_location,
        num_convs=config.num_convs,
        num_filters=config.num_filters,
        attribute_heads=[head.as_dict() for head in config.attribute_heads or ()],
        share_classification_heads=config.share_classification_heads,
        use_separable_conv=config.use_separable_conv,
        kernel_regularizer=l2_regularizer,
        share_level_convs=bool(config.share_level_convs),
        **builder_arguments.get_norm_arguments(model_config.norm_activation),
        name='retinanet_head',
    )
