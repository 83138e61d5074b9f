"""Renames the imports of a Model Garden test file to official_lite's."""

from __future__ import annotations

import io
import re
import tokenize

_NAMES = {'official': 'official_lite', 'tf_keras': 'keras'}
# Classes that are missing here on purpose, by what a file calls them. Without a stand-in the whole
# file could not be imported, and none of its other tests would run.
_STAND_INS = {
    'trainer_lib._AsyncTrainer': 'object',
    # A check for Keras' own optimizers, which cannot aggregate; ours can.
    'tf_keras.optimizers.experimental.Optimizer': 'type(None)',
    '(nn_layers.MultiHeadAttention)': '(object)',  # as a base class
    'from official.vision.configs import backbones_3d as backbones_3d_cfg': 'backbones_3d_cfg = None',
}
# A string that is a dotted module path as a whole, as in `mock.patch('official.core.x.y')`.
_MODULE_STRING = re.compile(r"""^([rR]?['"])official((?:\.\w+)+['"])$""")
# A shape beside a list: shapes are tuples in Keras 3, and no tuple equals a list.
_LIST_EQUALITY = re.compile(r"""assertEqual\((?=\s*[\w\[\]'".:]+,\s*\[)""")


def _renamed_name(token: tokenize.TokenInfo, previous: tokenize.TokenInfo | None) -> str:
    """Renames a package name, but not an attribute or a keyword that has the same spelling."""
    is_attribute = previous is not None and previous.string == '.'
    return token.string if is_attribute else _NAMES.get(token.string, token.string)


def rename_source(text: str) -> str:
    """Returns `text` with `official` and `tf_keras` replaced wherever they are a package's name.

    Comments and strings stay as they are, except strings that are a module path as a whole. A class
    that is missing here on purpose is replaced by a stand-in.
    """
    for missing, stand_in in _STAND_INS.items():
        text = text.replace(missing, stand_in)
    text = _LIST_EQUALITY.sub('assertSequenceEqual(', text)
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
