"""Where the examples of a data config come from: one config class per kind of source.

More kinds come in by `register_data_source(name, config=..., builder=...)` in
`official_lite.vision.registries`.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, Optional, Union

from official_lite.modeling import hyperparams

__all__ = ['CocoSource', 'DataSource', 'EmbeddedSource', 'TfrecordSource']


@dataclasses.dataclass
class TfrecordSource(hyperparams.Config):
    """TFRecord files with Model Garden's features.

    Attributes:
        input_path: Files: a path or pattern, several of them joined by commas, or a list of those.
        file_type: 'tfrecord', or 'tfrecord_compressed' for gzip.
    """

    input_path: Union[str, list[str]] = ''
    file_type: Literal['tfrecord', 'tfrecord_compressed'] = 'tfrecord'


@dataclasses.dataclass
class CocoSource(hyperparams.Config):
    """A COCO annotation file and the folder of its images, read as they are.

    Class names, and which category id is which label, come from the file.

    Attributes:
        annotation_file: The JSON file.
        image_dir: The folder that the file's `file_name`s are relative to. '' means the folder that
            holds the JSON file.
    """

    annotation_file: str = ''
    image_dir: str = ''


@dataclasses.dataclass
class EmbeddedSource(hyperparams.Config):
    """Scenes composed on first use of pictures that scikit-learn ships; needs no download.

    Attributes:
        name: 'digits': handwritten digits on photographs, 128 by 128 px, labels 1 to 10.
        split: Which scenes. No handwritten digit is in both splits.
        num_scenes: Number of scenes. None means 8000 for training and 200 for validation.
    """

    name: Literal['digits'] = 'digits'
    split: Literal['train', 'validation'] = 'train'
    num_scenes: Optional[int] = None

    def _check(self, report: hyperparams.Report) -> None:
        if self.num_scenes is not None and self.num_scenes < 1:
            report('num_scenes', expected='1 or more')


@dataclasses.dataclass
class DataSource(hyperparams.OneOfConfig):
    """Which kind of source, and its settings.

    Attributes:
        type: Name of the branch that counts. None means Model Garden's `input_path` or `tfds_name`
            of the data config.
        tfrecord: TFRecord files.
        coco: A COCO annotation file and a folder of images.
        embedded: Scenes that come with the package.
    """

    type: Optional[str] = None
    tfrecord: TfrecordSource = dataclasses.field(default_factory=TfrecordSource)
    coco: CocoSource = dataclasses.field(default_factory=CocoSource)
    embedded: EmbeddedSource = dataclasses.field(default_factory=EmbeddedSource)

    def _check(self, report: hyperparams.Report) -> None:
        if self.type == 'tfrecord' and not self.tfrecord.input_path:
            report('tfrecord.input_path', expected='a file or pattern')
        if self.type == 'coco' and not self.coco.annotation_file:
            report('coco.annotation_file', expected='the path of a COCO JSON file')
