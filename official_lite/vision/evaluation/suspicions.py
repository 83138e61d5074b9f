"""Why figures are 0 or -1, told in words: what looks wrong in an evaluation."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ['explain_unknown_ids', 'find_suspicions']

# Ids that nobody gives to images by hand are hashes of them.
_MIN_HASH = 1 << 31
_FEW = 3

Detections = Sequence[Mapping[str, Any]]


def explain_unknown_ids(found: Collection[int], known: Collection[int], path: str) -> str:
    """Says that no evaluated image is in the annotation file, and what to do.

    Args:
        found: Source ids of the evaluated images.
        known: Image ids of the file.
        path: The file.
    """
    text = (
        f'no evaluated image is in {path}: source ids such as {sorted(found)[:_FEW]}, image ids such '
        f'as {list(known)[:_FEW]}. All figures are -1. '
    )
    if min(found) >= _MIN_HASH:
        text += 'Such large ids are hashes: the records have no numbers as image/source_id. '
    elif sorted(found) == list(range(min(found), max(found) + 1)) and min(found) <= 1:
        text += 'Ids that count from 1 mean that the data has none of its own. '
    return (
        f'{text}Leave task.annotation_file empty, so that the ground truth is that of the '
        'validation data itself, or give the file that describes this data'
    )


def find_suspicions(
    image_ids: Collection[int],
    dataset: Mapping[str, Any],
    detections: Detections,
    metrics: Mapping[str, float],
    *,
    annotation_file: str = '',
) -> list[str]:
    """What looks wrong, one sentence each.

    Args:
        image_ids: The evaluated images, at least one.
        dataset: COCO's dictionary of the ground truth.
        detections: COCO's results.
        metrics: 'AP50' of them.
        annotation_file: Where the ground truth is from; '' if from the data itself.
    """
    truths = [a for a in dataset['annotations'] if a['image_id'] in image_ids]
    texts = []
    if not truths:
        texts.append(
            f'no ground truth box in {len(image_ids)} images: all figures are -1. Validate on '
            'images that have objects'
        )
    if not detections:
        texts.append(
            f'no detection in {len(image_ids)} images: AP is 0. The model finds nothing yet (train '
            'longer, check the learning rate), or a score threshold '
            '(model.detection_generator.pre_nms_score_threshold) is too high'
        )
    categories = {category['id'] for category in dataset['categories']}
    unknown = {detection['category_id'] for detection in detections} - categories
    if unknown and annotation_file:
        texts.append(
            f'detections of categories {sorted(unknown)[:10]} do not count: {annotation_file} has '
            f'{len(categories)} categories, such as {sorted(categories)[:10]}'
        )
    if truths and detections and metrics.get('AP50') == 0:
        texts.append(_explain_zero(truths, detections))
    return texts


def _explain_zero(truths: Detections, detections: Detections) -> str:
    """Why no detection hits an object."""
    start = f'AP50 is 0, though there are {len(detections)} detections: '
    found, wanted = ({item['category_id'] for item in items} for items in (detections, truths))
    if not found & wanted:
        return (
            f'{start}they are of the categories {sorted(found)[:10]}, and the objects of '
            f'{sorted(wanted)[:10]}. Check that training and validation data number classes alike'
        )
    far = float(np.abs([detection['bbox'] for detection in detections]).max())
    if far <= 2 < float(np.max([truth['bbox'] for truth in truths])):
        return (
            f'{start}their coordinates are at most {far:.2f}, as if they were shares of the image. '
            'Expected pixels of the original image'
        )
    best = max(float(detection['score']) for detection in detections)
    return (
        f'{start}none overlaps an object of its class by half (best score {best:.3f}). Train longer, '
        'or look at training batches (official-lite data preview)'
    )
