"""Vision: configs, models, data, tasks, evaluation and export.

The names that `tensorflow_models.vision` has at its top are here too (`vision.backbones`,
`vision.anchor`, `vision.retinanet` the task's module, ...).
"""

from official_lite import _lazy

__getattr__, __dir__ = _lazy.attach(
    __name__,
    submodules=(
        'configs',
        'data',
        'dataloaders',
        'evaluation',
        'losses',
        'modeling',
        'ops',
        'registries',
        'serving',
        'tasks',
        'train',
        'visualization',
    ),
    attributes={
        'ImageClassificationTask': (
            'official_lite.vision.tasks.image_classification:ImageClassificationTask'
        ),
        'RetinaNetTask': 'official_lite.vision.tasks.retinanet:RetinaNetTask',
        'SemanticSegmentationTask': (
            'official_lite.vision.tasks.semantic_segmentation:SemanticSegmentationTask'
        ),
        'anchor': 'official_lite.vision.ops.anchor',
        'backbones': 'official_lite.vision.modeling.backbones',
        'box_ops': 'official_lite.vision.ops.box_ops',
        'decoders': 'official_lite.vision.modeling.decoders',
        'factory': 'official_lite.vision.modeling.factory',
        'heads': 'official_lite.vision.modeling.heads',
        'image_classification': 'official_lite.vision.tasks.image_classification',
        'layers': 'official_lite.vision.modeling.layers',
        'preprocess_ops': 'official_lite.vision.ops.preprocess_ops',
        'retinanet': 'official_lite.vision.tasks.retinanet',
    },
    absent={
        'train_spatial_partitioning': 'there is none',
        'utils': (
            'boxes are in vision.ops (anchor, box_ops, box_matcher, iou_similarity), pictures in '
            'vision.visualization'
        ),
    },
)
