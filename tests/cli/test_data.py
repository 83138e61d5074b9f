"""`official-lite data`: which data it is about, exit codes, what it prints and writes."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
from typing import Any

import pytest
from PIL import Image

from official_lite import cli
from official_lite.cli import data_arguments

EMBEDDED = ('--source=embedded:digits', '--source_override=num_scenes=6')
HEAVY = ('tensorflow', 'keras', 'numpy', 'rich', 'PIL')


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """Runs `official-lite data`; returns exit code, standard output and standard error."""
    code = cli.main(['official-lite', 'data', *args])
    return (code, *capsys.readouterr())


@pytest.fixture(name='facades', scope='session')
def _facades(data_dir: pathlib.Path) -> pathlib.Path:
    path = data_dir / 'facades' / '_annotations.coco.json'
    if not path.exists():
        pytest.skip('no facades there')
    return path


# ---- without TensorFlow -------------------------------------------------------------------------


@pytest.mark.parametrize('action', ['', 'convert', 'inspect', 'preview'])
def test_help_is_fast(action: str) -> None:
    code = (
        'import sys\n'
        'from official_lite import cli\n'
        f'assert cli.main(["official-lite", "data", *{[action] if action else []}, "--help"]) == 0\n'
        f'print(sorted(set(sys.modules) & {set(HEAVY)!r}), file=sys.stderr)\n'
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert (result.returncode, result.stderr.strip()) == (0, '[]')
    assert 'usage: official-lite data' in result.stdout
    expected = '--source' if action else 'preview  Pictures of batches'
    assert expected in result.stdout


@pytest.mark.parametrize(
    ('args', 'match'),
    [
        (('inspct',), r"there is no action 'inspct'; .*did you mean 'inspect'\?"),
        (('--experiment=x',), r'put the action before the flags'),
        (('inspect',), r'--source: no data is named; give --source=KIND:PATH, or --experiment'),
        (('inspect', '--source=coko:x'), r'--source=coko:x: .*did you mean coco:x\?'),
        (('inspect', '--source=/d/a.json'), r'expected KIND:PATH .*as in coco:DIR/train\.json'),
        (('inspect', '--source=coco'), r'coco\.annotation_file: .*path of a COCO JSON file'),
        (('inspect', '--source=embedded:a,b,3,4'), r'at most 3 values: name, split, num_scenes'),
        (('inspect', '--source=embedded:digts'), r"source\.embedded\.name: .*'digits'"),
        (('inspect', *EMBEDDED, '--source_override=num_scens=3'), r"did you mean 'num_scenes'"),
        (
            ('inspect', *EMBEDDED, '--source_override=num_scenes=0'),
            r'num_scenes: expected 1 or more',
        ),
        (('inspect', '--experiment=retinanet', '--source_override=a=1'), r'no source to override'),
        (('inspect', '--experiment=retinanet_custm'), r"did you mean 'retinanet_custom'"),
        (('inspect', '--source=coco:a.json', '--split=test'), r'split'),
        (('convert', *EMBEDDED), '--output: not given; expected a folder and the beginning'),
        (('convert', *EMBEDDED, '--output=x', '--num_shards=0'), r'num_shards'),
        (
            ('convert', *EMBEDDED, '--output=x', '--format=coco', '--num_shards=2'),
            r'--format=coco: --num_shards and --file_type are about TFRecords',
        ),
        (
            ('preview', *EMBEDDED, '--output=x.jpg'),
            r"--output: .*ends with \.png; received 'x\.jpg'",
        ),
        (('inspect', *EMBEDDED, '--plots=x'), r"--plots: .*ends with \.png; received 'x'"),
        (('preview', '--experiment=retinanet'), r'task\.model\.input_size'),
    ],
)
def test_usage_errors(capsys: pytest.CaptureFixture[str], args: list[str], match: str) -> None:
    code, out, err = run(capsys, *args)
    assert (code, out) == (2, '')
    assert re.search(match, err), err
    assert 'Traceback' not in err


def test_no_action(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys)
    assert (code, out) == (2, '')
    assert 'usage: official-lite data ACTION' in err


def parse(*args: str) -> data_arguments.ChosenData:
    from official_lite.cli import arguments

    values, _ = arguments.parse_flags(['x', *args], data_arguments.define_data_flags, '')
    return data_arguments.parse_data(values)


def test_a_source_stands_in_place_of_the_experiments_data() -> None:
    data = parse('--experiment=retinanet_resnetfpn_coco', '--source=coco:a.json,images')
    assert data.data_config.source.type == 'coco'
    coco = data.data_config.source.coco
    assert (coco.annotation_file, coco.image_dir) == ('a.json', 'images')
    assert not data.data_config.input_path
    model: Any = data.config.task.model
    assert model.input_size == [640, 640, 3]
    assert data.where == 'task.train_data'


def test_nothing_of_the_experiments_source_is_carried_over() -> None:
    old = '--params_override=task.train_data.source={type: coco, coco: {image_dir: old}}'
    data = parse('--config_file=retinanet/own_data.yaml', old, '--source=coco:a.json')
    assert data.data_config.source.coco.annotation_file == 'a.json'
    assert data.data_config.source.coco.image_dir == ''


def test_commas_of_patterns_are_their_own() -> None:
    data = parse('--source=tfrecord:gs://a/b-*,c-*', '--split=validation')
    assert data.data_config.source.tfrecord.input_path == 'gs://a/b-*,c-*'
    assert data.where == 'task.validation_data'
    # All else is as in the file for own data.
    model: Any = data.config.task.model
    assert model.input_size == [512, 512, 3]


def test_nothing_is_kept_in_memory() -> None:
    data = parse('--experiment=retinanet_custom', '--params_override=task.train_data.cache=true')
    assert not data.data_config.cache


# ---- on embedded scenes -------------------------------------------------------------------------


@pytest.fixture(name='needs_digits')
def _needs_digits() -> None:
    pytest.importorskip('sklearn', reason='the embedded data needs scikit-learn (the extra `demo`)')


@pytest.mark.usefixtures('needs_digits')
def test_convert_inspect_and_the_way_back(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    output = f'--output={tmp_path / "rec" / "train"}'
    code, out, err = run(capsys, 'convert', *EMBEDDED, output, '--num_shards=2')
    assert code == 0, err
    assert re.search(
        r'6 images \(0\.\d MB\) and \d+ boxes in .*train-00000-of-00002.* and 1 more', out
    )
    assert 'class names and ids in' in out
    [override] = re.findall(r"--params_override='(.*)'", out)
    assert 'task.train_data.source.type=tfrecord' in override
    code, out, err = run(
        capsys,
        'inspect',
        '--experiment=retinanet_custom',
        f'--params_override={override}',
        '--json',
        f'--plots={tmp_path / "plots.png"}',
    )
    assert code == 0, err
    back = json.loads(out)
    code, out, _ = run(capsys, 'inspect', *EMBEDDED, '--experiment=retinanet_custom', '--json')
    original = json.loads(out)
    assert back.pop('origin') != original.pop('origin')
    assert back == original
    assert back['num_images'] == 6
    assert back['image_kinds'] == {'JPEG RGB': 6}
    assert [c['name'] for c in back['classes']][:2] == ['zero', 'one'] or len(back['classes']) == 10
    assert Image.open(tmp_path / 'plots.png').size == (1240, 1140)
    code, _, err = run(capsys, 'convert', *EMBEDDED, output)
    assert code == 2
    assert 'there are 3 files of this name already' in err
    code, _, err = run(capsys, 'convert', *EMBEDDED, output, '--overwrite')
    assert code == 0, err
    assert len(list((tmp_path / 'rec').iterdir())) == 2


@pytest.mark.usefixtures('needs_digits')
def test_convert_to_coco(capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path) -> None:
    output = f'--output={tmp_path / "coco"}'
    code, out, err = run(capsys, 'convert', *EMBEDDED, output, '--format=coco')
    assert code == 0, err
    assert f'task.train_data.source.coco.annotation_file={tmp_path / "coco"}' in out
    [override] = re.findall(r"--params_override='(.*)'", out)
    code, out, err = run(
        capsys, 'inspect', '--experiment=retinanet_custom', f'--params_override={override}'
    )
    assert code == 0, err
    assert re.search(r'6 images, \d+ boxes, 0 images without objects, 10 classes', out)


@pytest.mark.usefixtures('needs_digits')
def test_preview(capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path) -> None:
    override = '--params_override=task.validation_data.global_batch_size=4'
    code, out, err = run(
        capsys,
        'preview',
        '--experiment=retinanet_custom',
        '--split=validation',
        *EMBEDDED,
        override,
        '--num_batches=2',
        f'--output={tmp_path / "a" / "p.png"}',
    )
    assert code == 0, err
    assert out.split() == [str(tmp_path / 'a' / f'p-{i}.png') for i in range(2)]
    widths = [Image.open(path).width for path in out.split()]
    assert widths == [644, 320]  # four images, and the last two below each other


@pytest.mark.usefixtures('needs_digits')
def test_a_picture_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    (tmp_path / 'file').write_text('')
    code, _, err = run(
        capsys, 'inspect', *EMBEDDED, f'--plots={tmp_path / "file" / "x.png"}', '--json'
    )
    assert code == 2
    assert re.search(r'error: --plots=.*x\.png: cannot be written', err)


def test_data_that_cannot_be_read_ends_with_1(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    Image.new('RGB', (8, 8)).save(tmp_path / 'a.jpg')
    content = (tmp_path / 'a.jpg').read_bytes()
    (tmp_path / 'a.jpg').write_bytes(content[: len(content) // 2])
    (tmp_path / 'a.json').write_text(
        '{"images": [{"id": 1, "file_name": "a.jpg", "height": 8, "width": 8}], '
        '"categories": [{"id": 1, "name": "x"}], "annotations": []}'
    )
    source = f'--source=coco:{tmp_path / "a.json"}'
    code, _, err = run(capsys, 'convert', source, f'--output={tmp_path / "out" / "x"}')
    assert code == 1
    assert re.search(r'error: .*a\.jpg: the image', err)
    assert 'Traceback' not in err


# ---- on real data -------------------------------------------------------------------------------


def test_facades(capsys: pytest.CaptureFixture[str], facades: pathlib.Path) -> None:
    code, out, err = run(capsys, 'inspect', f'--source=coco:{facades}', '--json')
    assert code == 0, err
    found = json.loads(out)
    assert (found['num_images'], found['num_boxes']) == (83, 2842)
    kinds = {f['kind']: f for f in found['findings']}
    # Roboflow writes a category without boxes that has the name of another one.
    assert kinds['unused_class']['examples'] == ['facade (label 1, id 0)']
    assert kinds['repeated_name']['examples'] == ['facade']
    assert found['anchors']['share'] < found['suggested_anchors']['share']


def test_bccd(capsys: pytest.CaptureFixture[str], data_dir: pathlib.Path) -> None:
    code, out, err = run(capsys, 'inspect', f'--source=voc:{data_dir / "bccd"}', '--json')
    assert code == 0, err
    found = json.loads(out)
    assert sorted(c['name'] for c in found['classes']) == ['Platelets', 'RBC', 'WBC']
    counts = {c['name']: c['num_boxes'] for c in found['classes']}
    assert counts['RBC'] > counts['WBC'] > 0
    assert found['num_images'] > 300
