"""Names of what evaluations report; a test compares them with what they do report."""

from __future__ import annotations

__all__ = ['list_coco_metrics']

_FIGURES = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'ARmax1', 'ARmax10')
_RECALLS = ('ARs', 'ARm', 'ARl')
_PRECISIONS_OF_CATEGORIES = ('', '@50IoU', '@75IoU', ' (small)', ' (medium)', ' (large)')
_SIZES = ('(small)', '(medium)', '(large)')


def list_coco_metrics(
    max_num_detections: int, *, per_category: bool, is_mask: bool = False
) -> list[str]:
    """COCO's figures.

    Args:
        max_num_detections: Most detections of an image that count.
        per_category: Whether there are those of each category too.
        is_mask: Whether they are those of masks.
    """
    prefix = 'mask_' if is_mask else ''
    names = [f'{prefix}{name}' for name in (*_FIGURES, f'ARmax{max_num_detections}', *_RECALLS)]
    if per_category:
        prefix = 'mask ' if is_mask else ''
        limits = (f'@{limit}' for limit in (1, 10, max_num_detections))
        kinds = [
            *(f'Precision mAP ByCategory{kind}' for kind in _PRECISIONS_OF_CATEGORIES),
            *(f'Recall AR{limit} ByCategory' for limit in limits),
            *(f'Recall AR {size} ByCategory' for size in _SIZES),
        ]
        names += [f'{prefix}{kind}/<category>' for kind in kinds]
    return names
