"""Sizes of vision transformers by name, under Model Garden's import path.

They stand beside the config, which checks its fields against them.
"""

from official_lite.vision.configs.vit import VIT_SPECS, VitSizes

__all__ = ['VIT_SPECS', 'VitSizes']
