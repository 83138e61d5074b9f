"""Builds a `tf.train.Example` of images, boxes and masks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from official_lite.core import tf_example_builder
from official_lite.vision.data import image_utils
from official_lite.vision.data import tf_example_feature_key as keys

__all__ = ['TfExampleBuilder']

# Model Garden's ids made of images are below 2^24, which float32 holds exactly.
_NUM_HASHES = (1 << 24) + 1


class TfExampleBuilder(tf_example_builder.TfExampleBuilder):
    """Adds images, boxes and masks; each method returns the builder, so that calls can be chained.

    Every method takes a `feature_prefix` that is put before the names of its features, with a slash.
    """

    def add_image_matrix_feature(
        self,
        image_matrix: np.ndarray,
        image_format: str = 'PNG',
        image_source_id: bytes | None = None,
        feature_prefix: str | None = None,
        label: int | Sequence[int] | None = None,
    ) -> TfExampleBuilder:
        """Encodes an image, uint8 [height, width, channels], and adds it.

        See `add_encoded_image_feature` for the rest.
        """
        height, width, num_channels = image_matrix.shape
        return self.add_encoded_image_feature(
            image_utils.encode_image(image_matrix, image_format),
            image_format,
            height,
            width,
            num_channels,
            image_source_id,
            feature_prefix,
            label,
        )

    def add_encoded_image_feature(
        self,
        encoded_image: bytes,
        image_format: str | None = None,
        height: int | None = None,
        width: int | None = None,
        num_channels: int | None = None,
        image_source_id: bytes | None = None,
        feature_prefix: str | None = None,
        label: int | Sequence[int] | None = None,
    ) -> TfExampleBuilder:
        """Adds an encoded image.

        Args:
            encoded_image: The bytes.
            image_format: See `image_utils.ImageFormat`. None: the image tells, as it tells the size
                and the channels.
            height, width: Pixels.
            num_channels: Channels.
            image_source_id: Id of the image. None: a hash of it.
            feature_prefix: See the class.
            label: Label or labels of the whole image.

        Raises:
            ValueError: A 'RAW' image comes without size and channels.
        """
        given = (height, width, num_channels)
        if image_format is not None and image_format.upper() == 'RAW' and not all(given):
            raise ValueError(
                'For raw image feature, height, width and num_channels fields are required. '
                f'Received: {given}'
            )
        if image_format is None or not all(given):
            height, width, num_channels, image_format = image_utils.decode_image_metadata(
                encoded_image
            )
        key = keys.EncodedImageFeatureKey(feature_prefix)
        if label is not None:
            self.add_ints_feature(key.label, label)
        self.add_bytes_feature(key.encoded, encoded_image)
        self.add_bytes_feature(key.format, image_utils.validate_image_format(image_format))
        for name, number in (
            (key.height, height),
            (key.width, width),
            (key.num_channels, num_channels),
        ):
            self.add_ints_feature(name, int(number or 0))
        self.add_bytes_feature(key.source_id, image_source_id or _hash(encoded_image))
        return self

    def add_boxes_feature(
        self,
        xmins: Sequence[float],
        xmaxs: Sequence[float],
        ymins: Sequence[float],
        ymaxs: Sequence[float],
        labels: Sequence[int],
        confidences: Sequence[float] | None = None,
        normalized: bool = True,
        feature_prefix: str | None = None,
    ) -> TfExampleBuilder:
        """Adds boxes: edges as shares of the image, or, if not `normalized`, in pixels."""
        key: keys.BoxFeatureKey | keys.BoxPixelFeatureKey = (
            keys.BoxFeatureKey(feature_prefix)
            if normalized
            else keys.BoxPixelFeatureKey(feature_prefix)
        )
        edges = ((key.xmin, xmins), (key.xmax, xmaxs), (key.ymin, ymins), (key.ymax, ymaxs))
        for name, values in edges:
            self.add_floats_feature(name, values)
        self.add_ints_feature(key.label, labels)
        if confidences is not None:
            self.add_floats_feature(key.confidence, confidences)
        return self

    def add_instance_mask_matrices_feature(
        self, instance_mask_matrices: np.ndarray, feature_prefix: str | None = None
    ) -> TfExampleBuilder:
        """Encodes masks of objects as PNG and adds them with their areas.

        Args:
            instance_mask_matrices: 0 and 1, [n, height, width, 1] or [n, height, width].
            feature_prefix: See the class.
        """
        masks = instance_mask_matrices
        masks = masks[..., None] if masks.ndim == 3 else masks
        encoded = [image_utils.encode_image(mask, 'PNG') for mask in masks]
        areas = masks.sum(axis=(1, 2, 3), dtype=np.float64).tolist()
        return self.add_encoded_instance_masks_feature(encoded, areas, feature_prefix)

    def add_encoded_instance_masks_feature(
        self,
        encoded_instance_masks: Sequence[bytes],
        mask_areas: Sequence[float] | None = None,
        feature_prefix: str | None = None,
    ) -> TfExampleBuilder:
        """Adds masks of objects that are PNGs of 0 and 1; areas left out are counted in them."""
        if mask_areas is None:
            mask_areas = [
                float(image_utils.decode_image(mask).sum(dtype=np.float64))
                for mask in encoded_instance_masks
            ]
        key = keys.EncodedInstanceMaskFeatureKey(feature_prefix)
        self.add_bytes_feature(key.mask, encoded_instance_masks)
        self.add_floats_feature(key.area, mask_areas)
        return self

    def add_semantic_mask_matrix_feature(
        self,
        mask_matrix: np.ndarray,
        mask_format: str = 'PNG',
        visualization_mask_matrix: np.ndarray | None = None,
        visualization_mask_format: str = 'PNG',
        feature_prefix: str | None = None,
    ) -> TfExampleBuilder:
        """Encodes and adds an image of class ids, [height, width] or [height, width, 1].

        `visualization_mask_matrix`, uint8 [height, width, 3], is the same in colors.
        """
        visualization = visualization_mask_matrix
        return self.add_encoded_semantic_mask_feature(
            _encode_ids(mask_matrix, mask_format),
            mask_format,
            None
            if visualization is None
            else image_utils.encode_image(visualization, visualization_mask_format),
            visualization_mask_format,
            feature_prefix,
        )

    def add_encoded_semantic_mask_feature(
        self,
        encoded_mask: bytes,
        mask_format: str = 'PNG',
        encoded_visualization_mask: bytes | None = None,
        visualization_mask_format: str = 'PNG',
        feature_prefix: str | None = None,
    ) -> TfExampleBuilder:
        """Adds an encoded image of class ids, and perhaps the same in colors."""
        key = keys.EncodedSemanticMaskFeatureKey(feature_prefix)
        self.add_bytes_feature(key.mask, encoded_mask)
        self.add_bytes_feature(key.mask_format, mask_format)
        if encoded_visualization_mask is not None:
            self.add_bytes_feature(key.visualization_mask, encoded_visualization_mask)
            self.add_bytes_feature(key.visualization_mask_format, visualization_mask_format)
        return self

    def add_panoptic_mask_matrix_feature(
        self,
        panoptic_category_mask_matrix: np.ndarray,
        panoptic_instance_mask_matrix: np.ndarray,
        panoptic_category_mask_format: str = 'PNG',
        panoptic_instance_mask_format: str = 'PNG',
        feature_prefix: str | None = None,
    ) -> TfExampleBuilder:
        """Encodes and adds images of class ids and instance ids, [height, width] or with a 1."""
        return self.add_encoded_panoptic_mask_feature(
            _encode_ids(panoptic_category_mask_matrix, panoptic_category_mask_format),
            _encode_ids(panoptic_instance_mask_matrix, panoptic_instance_mask_format),
            panoptic_category_mask_format,
            panoptic_instance_mask_format,
            feature_prefix,
        )

    def add_encoded_panoptic_mask_feature(
        self,
        encoded_panoptic_category_mask: bytes,
        encoded_panoptic_instance_mask: bytes,
        panoptic_category_mask_format: str = 'PNG',
        panoptic_instance_mask_format: str = 'PNG',
        feature_prefix: str | None = None,
    ) -> TfExampleBuilder:
        """Adds encoded images of class ids and instance ids."""
        key = keys.EncodedPanopticMaskFeatureKey(feature_prefix)
        self.add_bytes_feature(key.category_mask, encoded_panoptic_category_mask)
        self.add_bytes_feature(key.category_mask_format, panoptic_category_mask_format)
        self.add_bytes_feature(key.instance_mask, encoded_panoptic_instance_mask)
        self.add_bytes_feature(key.instance_mask_format, panoptic_instance_mask_format)
        return self


def _encode_ids(matrix: np.ndarray, image_format: str) -> bytes:
    return image_utils.encode_image(matrix[..., None] if matrix.ndim == 2 else matrix, image_format)


def _hash(encoded_image: bytes) -> bytes:
    number = int.from_bytes(hashlib.blake2s(encoded_image).digest(), 'big')
    return str(number % _NUM_HASHES).encode()
