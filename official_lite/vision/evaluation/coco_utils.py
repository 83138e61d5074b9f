"""Batches of arrays as COCO's dictionaries, under Model Garden's import path.

`coco_evaluator` needs none of this; it is for code of one's own.
"""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image
from pycocotools import coco, mask

from official_lite.vision.dataloaders import source, tf_example_decoder, tfrecord_index
from official_lite.vision.evaluation import box_mapping
from official_lite.vision.ops import box_ops, mask_ops, run_lengths

__all__ = [
    'COCOGroundtruthGenerator',
    'COCOWrapper',
    'convert_groundtruths_to_coco_dataset',
    'convert_predictions_to_coco_annotations',
    'generate_annotation_file',
    'scan_and_generator_annotation_file',
]

Batches = Mapping[str, Sequence[Any]]


class COCOWrapper(coco.COCO):
    """Ground truth from a file or a dictionary, results from a list.

    Args:
        eval_type: 'box' or 'mask': what the areas of results are computed from.
        annotation_file: COCO JSON with the ground truth.
        gt_dataset: The ground truth as a dictionary; one of the two.

    Raises:
        ValueError: Both or none of them, or another `eval_type`.
    """

    def __init__(
        self,
        eval_type: str = 'box',
        annotation_file: str | None = None,
        gt_dataset: dict[str, Any] | None = None,
    ) -> None:
        if bool(annotation_file) == bool(gt_dataset):
            raise ValueError('Expected one of annotation_file and gt_dataset.')
        if eval_type not in ('box', 'mask'):
            raise ValueError(f"Expected eval_type 'box' or 'mask'. Received {eval_type!r}.")
        super().__init__(annotation_file=annotation_file)
        self._eval_type = eval_type
        if gt_dataset:
            self.dataset = gt_dataset
            self.createIndex()

    def loadRes(self, predictions: list[dict[str, Any]]) -> coco.COCO:
        """Results as a COCO object.

        Args:
            predictions: As `convert_predictions_to_coco_annotations` returns; changed in place.

        Raises:
            ValueError: A result is of an image that the ground truth does not have.
        """
        known = set(self.getImgIds())
        unknown = sorted({p['image_id'] for p in predictions} - known)
        if unknown:
            raise ValueError(f'Results are of images without ground truth, such as {unknown[0]}.')
        results = coco.COCO()
        results.dataset['images'] = copy.deepcopy(self.dataset['images'])
        results.dataset['categories'] = copy.deepcopy(self.dataset['categories'])
        for prediction in predictions:
            x, y, width, height = prediction['bbox']
            if self._eval_type == 'box':
                x_end, y_end = x + width, y + height
                prediction['area'] = width * height
                prediction['segmentation'] = [[x, y, x, y_end, x_end, y_end, x_end, y]]
            else:
                prediction['area'] = mask.area(prediction['segmentation'])
        results.dataset['annotations'] = copy.deepcopy(predictions)
        results.createIndex()
        return results


def convert_predictions_to_coco_annotations(predictions: Batches) -> list[dict[str, Any]]:
    """Detections as a list of COCO's results.

    Args:
        predictions: Lists of arrays, one for each batch: 'source_id' [batch], 'detection_boxes' [batch,
            n, 4] yxyx in pixels of the original image, 'detection_classes' and 'detection_scores'
            [batch, n], and optionally 'detection_keypoints' [batch, n, k, 2], (y, x), and
            'detection_masks' float [batch, n, rows, columns] within their boxes or, if there,
            'detection_outer_boxes', with 'image_info' [batch, 4, 2].
    """
    found: list[dict[str, Any]] = []
    for batch, source_ids in enumerate(predictions['source_id']):
        boxes = box_mapping.to_xywh(predictions['detection_boxes'][batch])
        for row, source_id in enumerate(np.asarray(source_ids)):
            for k in range(boxes.shape[1]):
                annotation = {
                    'id': len(found) + 1,
                    'image_id': source_id,
                    'category_id': predictions['detection_classes'][batch][row, k],
                    'bbox': boxes[row, k],
                    'score': predictions['detection_scores'][batch][row, k],
                }
                if 'detection_keypoints' in predictions:
                    points = predictions['detection_keypoints'][batch][row, k]
                    annotation['keypoints'] = _flatten_keypoints(points)
                if 'detection_masks' in predictions:
                    annotation['segmentation'] = _encode_detected(predictions, batch, row, k)
                found.append(annotation)
    return found


def _encode_detected(predictions: Batches, batch: int, row: int, k: int) -> dict[str, Any]:
    """The run lengths of one detection's mask."""
    name = 'detection_outer_boxes' if 'detection_outer_boxes' in predictions else 'detection_boxes'
    height, width = (int(length) for length in predictions['image_info'][batch][row, 0])
    box = box_mapping.to_xywh(predictions[name][batch][row, k : k + 1])
    masks = np.asarray(predictions['detection_masks'][batch][row, k : k + 1])
    (counts,) = mask_ops.encode_pasted_masks(masks, box, height, width)
    return run_lengths.to_coco(counts, height, width)


def _flatten_keypoints(points_yx: np.ndarray) -> list[int]:
    """[x, y, 1, x, y, 1, ...]: COCO wants a visibility after each point."""
    visible = np.ones([len(points_yx), 1])
    flat = np.concatenate([points_yx[:, ::-1], visible], axis=-1).astype(int)
    return [int(value) for value in flat.reshape(-1)]


def convert_groundtruths_to_coco_dataset(
    groundtruths: Batches, label_map: Mapping[int, str] | None = None
) -> dict[str, Any]:
    """Ground truth as COCO's dictionary of images, annotations and categories.

    Args:
        groundtruths: Lists of arrays, one for each batch: 'source_id', 'height', 'width',
            'num_detections' [batch], 'boxes' [batch, n, 4] yxyx in pixels, 'classes' [batch, n], and
            optionally 'is_crowds', 'areas' and 'masks' (PNGs) [batch, n].
        label_map: Names of the categories by id. None: those that occur, without names.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for batch in range(len(groundtruths['source_id'])):
        values = {name: np.asarray(arrays[batch]) for name, arrays in groundtruths.items()}
        for row in range(len(values['source_id'])):
            keys = {'id': 'source_id', 'height': 'height', 'width': 'width'}
            images.append({key: int(values[name][row]) for key, name in keys.items()})
            annotations.extend(_list_annotations(values, row))
    for number, annotation in enumerate(annotations, start=1):
        annotation['id'] = number
    ids = sorted(label_map or {annotation['category_id'] for annotation in annotations})
    categories = [{'id': i, **({'name': label_map[i]} if label_map else {})} for i in ids]
    return {'images': images, 'categories': categories, 'annotations': annotations}


def _list_annotations(values: Mapping[str, np.ndarray], row: int) -> Iterator[dict[str, Any]]:
    count = min(int(values['num_detections'][row]), values['classes'].shape[1])
    for k in range(count):
        box = box_mapping.to_xywh(values['boxes'][row, k]).tolist()
        annotation = {
            'image_id': int(values['source_id'][row]),
            'iscrowd': int(values['is_crowds'][row, k]) if 'is_crowds' in values else 0,
            'category_id': int(values['classes'][row, k]),
            'bbox': box,
            'area': float(values['areas'][row, k]) if 'areas' in values else box[2] * box[3],
        }
        if 'masks' in values:
            encoded = _encode_mask(values['masks'][row, k])
            annotation['segmentation'] = encoded
            if 'areas' not in values:
                annotation['area'] = float(mask.area(encoded))
        yield annotation


def _encode_mask(png: bytes) -> dict[str, Any]:
    """COCO's run lengths, as JSON can hold them."""
    pixels = np.asarray(Image.open(io.BytesIO(png))) > 0
    encoded = mask.encode(np.asfortranarray(pixels.astype(np.uint8)))
    counts = encoded['counts']
    return {
        'size': [int(length) for length in encoded['size']],
        'counts': counts.decode() if isinstance(counts, bytes) else counts,
    }


class COCOGroundtruthGenerator:
    """Ground truth of TFRecords, in batches of one example.

    Args:
        file_pattern: Files: a path or pattern, or several joined by commas.
        file_type: 'tfrecord', or 'tfrecord_compressed' for gzip.
        num_examples: Examples to read; -1 means all.
        include_mask: Whether masks are read.
        regenerate_source_id: Whether the id is made from the image.
    """

    def __init__(
        self,
        file_pattern: str,
        file_type: str,
        num_examples: int,
        include_mask: bool,
        regenerate_source_id: bool = False,
    ) -> None:
        self._paths = tfrecord_index.expand_patterns(file_pattern, where='file_pattern')
        self._is_compressed = file_type == 'tfrecord_compressed'
        self._num_examples = num_examples
        self._include_mask = include_mask
        self._decoder = tf_example_decoder.TfExampleDecoder(
            include_mask=include_mask, regenerate_source_id=regenerate_source_id
        )

    def __call__(self) -> tf.data.Dataset:
        """Batches as `convert_groundtruths_to_coco_dataset` takes them."""
        compression = 'GZIP' if self._is_compressed else ''
        records = tf.data.TFRecordDataset(self._paths, compression_type=compression)
        return records.take(self._num_examples).map(self._parse).batch(1).prefetch(1)

    def _parse(self, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        record = self._decoder.decode(serialized)
        parsed = {
            'source_id': source.to_number(record['source_id']),
            'height': record['height'],
            'width': record['width'],
            'num_detections': tf.shape(record['groundtruth_classes'])[0],
            'boxes': box_ops.denormalize_boxes(
                record['groundtruth_boxes'], tf.shape(record['image'])[:2]
            ),
            'classes': record['groundtruth_classes'],
            'is_crowds': record['groundtruth_is_crowd'],
            'areas': record['groundtruth_area'],
        }
        if self._include_mask:
            parsed['masks'] = record['groundtruth_instance_masks_png']
        return parsed


def scan_and_generator_annotation_file(
    file_pattern: str,
    file_type: str,
    num_samples: int,
    include_mask: bool,
    annotation_file: str,
    regenerate_source_id: bool = False,
) -> None:
    """Writes the ground truth of TFRecords as a COCO JSON.

    Args:
        file_pattern, file_type, include_mask, regenerate_source_id: See `COCOGroundtruthGenerator`.
        num_samples: Examples to read; -1 means all.
        annotation_file: Where to.
    """
    generator = COCOGroundtruthGenerator(
        file_pattern, file_type, num_samples, include_mask, regenerate_source_id
    )
    generate_annotation_file(generator, annotation_file)


def generate_annotation_file(
    groundtruth_generator: Callable[[], Iterable[Mapping[str, Any]]], annotation_file: str
) -> None:
    """Writes the batches of a generator as a COCO JSON."""
    batches: dict[str, list[Any]] = {}
    for groundtruth in groundtruth_generator():
        for name, value in groundtruth.items():
            batches.setdefault(name, []).append(np.asarray(value))
    dataset = convert_groundtruths_to_coco_dataset(batches or {'source_id': []})
    with tf.io.gfile.GFile(annotation_file, 'w') as file:
        file.write(json.dumps(dataset))
