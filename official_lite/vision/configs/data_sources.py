"""Where the examples of a data config come from: one config class per kind of source.

More kinds come in by `register_data_source(name, config=..., builder=...)` in
`official_lite.vision.registries`.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, Optional, Union

from official_lite.modeling import hyperparams

__all__ = [
    'CocoSource',
    'DataSource',
    'EmbeddedSource',
    'MixturePart',
    'MixtureSource',
    'Orientation',
    'TfdsSource',
    'TfrecordSource',
    'VocSource',
    'YoloSource',
]

Orientation = Literal['auto', 'upright', 'stored']


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
        orientation: Whether images with an EXIF orientation are turned 'upright' or left as they are
            'stored'. 'auto' believes the sizes in the annotations, which say what the boxes
            refer to; where they do not tell, images are left as they are stored.
    """

    annotation_file: str = ''
    image_dir: str = ''
    orientation: Orientation = 'auto'


@dataclasses.dataclass
class VocSource(hyperparams.Config):
    """A Pascal VOC folder, read as it is.

    Attributes:
        root: Has `Annotations`, `JPEGImages` and perhaps `ImageSets/Main`; a folder above it will do.
            Or XML files and images side by side.
        split: Name of a list in `ImageSets/Main`, such as 'train', or of a folder below `root`. ''
            means all annotation files.
        class_names: Names in the order of labels, or the path of a text file with one in each line.
            Empty means all names that occur in the folder, in any split, sorted.
        difficult: What becomes of objects marked as difficult: 'ignore' treats them as COCO's
            crowds (not trained on, and in evaluation neither right nor wrong), 'use' as any other
            object, 'drop' as if they were not there.
        is_one_based: Whether coordinates count pixels from 1 and include the last one, as VOC's do.
        orientation: See `CocoSource`.
    """

    root: str = ''
    split: str = ''
    class_names: list[str] = dataclasses.field(default_factory=list)
    difficult: Literal['ignore', 'use', 'drop'] = 'ignore'
    is_one_based: bool = True
    orientation: Orientation = 'auto'

    def _check(self, report: hyperparams.Report) -> None:
        _check_names(self.class_names, report)


@dataclasses.dataclass
class YoloSource(hyperparams.Config):
    """Images with a text file of labels each, read as they are.

    Attributes:
        root: A `data.yaml`, the folder that has one, or a folder of images and labels.
        split: 'train', 'val' or 'test' of `data.yaml`, or a folder such as `images/train`. '' means
            the whole folder.
        class_names: Names in the order of classes, or the path of a text file with one in each line.
            Empty means those of `data.yaml` or `classes.txt`.
        orientation: See `CocoSource`; but here images are turned upright where nothing tells.
    """

    root: str = ''
    split: str = ''
    class_names: list[str] = dataclasses.field(default_factory=list)
    orientation: Orientation = 'auto'

    def _check(self, report: hyperparams.Report) -> None:
        _check_names(self.class_names, report)


@dataclasses.dataclass
class TfdsSource(hyperparams.Config):
    """A detection data set of TensorFlow Datasets (needs the extra `tfds`).

    Attributes:
        name: Name, such as 'coco/2017' or 'voc/2007:5.0.0'.
        split: Split, such as 'train' or 'train[:80%]'.
        data_dir: Where data sets are kept. '' means TensorFlow Datasets' own folder.
        download: Whether to download and prepare a data set that is not there.
        image_feature: Name of the image's feature. '' means the only one there is.
        objects_feature: Name of the feature that holds the objects, each with a box and a class. ''
            means the only one there is.
        label_feature: Name of the class within it. '' means the only one there is.
    """

    name: str = ''
    split: str = ''
    data_dir: str = ''
    download: bool = False
    image_feature: str = ''
    objects_feature: str = ''
    label_feature: str = ''


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
class MixturePart(hyperparams.Config):
    """One source of a mixture.

    Attributes:
        name: What to call it in messages; the order of its examples depends on it too.
        weight: Its share of the training stream, relative to the other parts' weights.
        source: The source.
    """

    name: str = ''
    weight: float = 1.0
    source: DataSource = dataclasses.field(default_factory=lambda: DataSource())

    def _check(self, report: hyperparams.Report) -> None:
        if not self.name:
            report('name', expected='a name')
        if not self.weight > 0:
            report('weight', expected='more than 0')
        if self.source.type in (None, 'mixture'):
            report('source.type', expected='a kind of source other than mixture')


@dataclasses.dataclass
class MixtureSource(hyperparams.Config):
    """Several sources with the same classes; training draws from each by its weight.

    Evaluation reads every example of each once, whatever the weights.

    Attributes:
        parts: The sources.
    """

    parts: list[MixturePart] = dataclasses.field(default_factory=list)

    def _check(self, report: hyperparams.Report) -> None:
        names = [part.name for part in self.parts]
        repeated = [name for i, name in enumerate(names) if name in names[:i]]
        if repeated:
            report('parts', expected=f'different names, not {repeated[0]!r} twice')


@dataclasses.dataclass
class DataSource(hyperparams.OneOfConfig):
    """Which kind of source, and its settings.

    Attributes:
        type: Name of the branch that counts. None means Model Garden's `input_path` or `tfds_name`
            of the data config.
        tfrecord: TFRecord files.
        coco: A COCO annotation file and a folder of images.
        embedded: Scenes that come with the package.
        voc: A Pascal VOC folder.
        yolo: Images with YOLO's text labels.
        tfds: A data set of TensorFlow Datasets.
        mixture: Several of these, each with its share.
    """

    type: Optional[str] = None
    tfrecord: TfrecordSource = dataclasses.field(default_factory=TfrecordSource)
    coco: CocoSource = dataclasses.field(default_factory=CocoSource)
    embedded: EmbeddedSource = dataclasses.field(default_factory=EmbeddedSource)
    voc: VocSource = dataclasses.field(default_factory=VocSource)
    yolo: YoloSource = dataclasses.field(default_factory=YoloSource)
    tfds: TfdsSource = dataclasses.field(default_factory=TfdsSource)
    mixture: MixtureSource = dataclasses.field(default_factory=MixtureSource)

    def _check(self, report: hyperparams.Report) -> None:
        if self.type == 'tfrecord' and not self.tfrecord.input_path:
            report('tfrecord.input_path', expected='a file or pattern')
        if self.type == 'coco' and not self.coco.annotation_file:
            report('coco.annotation_file', expected='the path of a COCO JSON file')
        if self.type == 'voc' and not self.voc.root:
            report('voc.root', expected='the path of a Pascal VOC folder')
        if self.type == 'yolo' and not self.yolo.root:
            report('yolo.root', expected='the path of a data.yaml or of a folder')
        if self.type == 'mixture' and not self.mixture.parts:
            report('mixture.parts', expected='one or more sources')
        if self.type == 'tfds':
            for name in ('name', 'split'):
                if not getattr(self.tfds, name):
                    report(f'tfds.{name}', expected=f'the {name} of a TensorFlow dataset')


def _check_names(names: list[str], report: hyperparams.Report) -> None:
    repeated = [name for i, name in enumerate(names) if name in names[:i]]
    if repeated:
        report('class_names', expected=f'different names, not {repeated[0]!r} twice')
