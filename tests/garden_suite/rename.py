"""Renames the imports of a Model Garden test file to official_lite's."""

from __future__ import annotations

import io
import pathlib
import re
import tokenize

_NAMES = {'official': 'official_lite', 'tf_keras': 'keras'}
# What is missing here on purpose or has another name, by what a file calls it. Without a stand-in
# the whole file could not be imported, or most of its tests would stop before what they test.
_STAND_INS = {
    'trainer_lib._AsyncTrainer': 'object',
    # A check for Keras' own optimizers, which cannot aggregate; ours can.
    'tf_keras.optimizers.experimental.Optimizer': 'type(None)',
    '(nn_layers.MultiHeadAttention)': '(object)',  # as a base class
    # RetinaNet's config does not have this field of Mask R-CNN's; setting one that is not there is
    # an error here.
    'params.task.model.outer_boxes_scale = outer_boxes_scale': (
        "if 'rcnn' in experiment_name: params.task.model.outer_boxes_scale = outer_boxes_scale"
    ),
    # The version is given in the place of `apply_nms`, a bool, which any string passes for there.
    'input_type, outer_boxes_scale, nms_version)': (
        'input_type, outer_boxes_scale, nms_version=nms_version)'
    ),
    'retinanet_head._att_convs': 'retinanet_head.att_convs',
}
# Modules of families that may not be here yet. Their imports bind None until they are, so that the
# other tests of a file run.
_LATER_MODULES = (
    'vision.configs.backbones_3d',
    'vision.configs.image_classification',
    'vision.configs.semantic_segmentation',
    'vision.configs.video_classification',
    'vision.modeling.factory_3d',
)
_PACKAGE = pathlib.Path(__file__).resolve().parents[2] / 'official_lite'
# A string that is a dotted module path as a whole, as in `mock.patch('official.core.x.y')`.
_MODULE_STRING = re.compile(r"""^([rR]?['"])official((?:\.\w+)+['"])$""")
# A shape beside a list: shapes are tuples in Keras 3, and no tuple equals a list.
_LIST_EQUALITY = re.compile(r"""assertEqual\((?=\s*[\w\[\]'".:]+,\s*\[)""")


def _renamed_name(token: tokenize.TokenInfo, previous: tokenize.TokenInfo | None) -> str:
    """Renames a package name, but not an attribute or a keyword that has the same spelling."""
    is_attribute = previous is not None and previous.string == '.'
    return token.string if is_attribute else _NAMES.get(token.string, token.string)


def _replace_later_imports(text: str) -> str:
    for module in _LATER_MODULES:
        if _PACKAGE.joinpath(*module.split('.')).with_suffix('.py').exists():
            continue
        package, name = module.rsplit('.', 1)
        pattern = rf'^from official\.{re.escape(package)} import {name}(?: as (\w+))?$'
        text = re.sub(pattern, lambda m, n=name: f'{m[1] or n} = None', text, flags=re.MULTILINE)
    return text


def rename_source(text: str) -> str:
    """Returns `text` with `official` and `tf_keras` replaced wherever they are a package's name.

    Comments and strings stay as they are, except strings that are a module path as a whole. A class
    or module that is missing here on purpose, or until later, is replaced by a stand-in.
    """
    for missing, stand_in in _STAND_INS.items():
        text = text.replace(missing, stand_in)
    text = _LIST_EQUALITY.sub('assertSequenceEqual(', text)
    text = _replace_later_imports(text)
    lines = text.splitlines(keepends=True)
    edits: list[tuple[int, int, int, str]] = []
    previous: tokenize.TokenInfo | None = None
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        new = token.string
        if token.type == tokenize.NAME:
            new = _renamed_name(token, previous)
        elif token.type == tokenize.STRING:
            new = _MODULE_STRING.sub(r'\1official_lite\2', token.string)
        if new != token.string:
            row, start = token.start
            edits.append((row - 1, start, token.end[1], new))
        previous = token
    for row, start, end, new in reversed(edits):
        lines[row] = lines[row][:start] + new + lines[row][end:]
    return ''.join(lines)
