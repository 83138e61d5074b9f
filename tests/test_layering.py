"""A module imports only from its own layer or from those below it; configs import no TensorFlow."""

from __future__ import annotations

import ast
import dataclasses
import pathlib
import re
import subprocess
import sys

import pytest

REPO = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = 'official_lite'

# From the bottom to the top, names relative to the package. A module belongs to the entry with the
# longest name that it is or is inside of; `a.` is what is inside `a`, `a!` is `a` alone.
LAYERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        'names and errors',
        # Packages here import on use only.
        ('!', '_lazy', 'errors', 'manifest', 'core!', 'modeling!', 'vision!', 'common!'),
    ),
    (
        'registry and hyperparams',
        (
            'modeling.hyperparams',
            'core.classification_info',
            'core.data_info',
            'core.plugins',
            'core.registry',
            'core.segmentation_info',
        ),
    ),
    (
        'configs',
        (
            'core.config_definitions',
            'core.epochs',
            'core.exp_factory',
            'core.task_factory',
            'modeling.layer_overrides!',
            'modeling.layer_overrides.configs',
            'modeling.optimization!',
            'modeling.optimization.configs',
            'modeling.privacy.configs',
            'vision.configs',
            'vision.examples.starter.example_config',
            'vision.registries',
        ),
    ),
    (
        'ops, losses, layers, optimization',
        (
            'common.distribute_utils',
            'core.data_errors',
            'core.graph_code',
            'core.randomness',
            'core.tf_example_builder',
            'core.tf_example_feature_key',
            'core.file_lock',
            'core.file_writers',
            'core.write_errors',
            'modeling.',
            'modeling.optimization.',
            'vision.ops',
            'vision.losses',
            'vision.modeling.layers',
        ),
    ),
    (
        'backbones, decoders, heads, dataloaders, evaluation',
        (
            'vision.modeling!',
            'vision.modeling.builder_arguments',
            'vision.modeling.backbones',
            'vision.modeling.decoders',
            'vision.modeling.heads',
            'vision.dataloaders',
            'vision.evaluation',
            'vision.visualization',
        ),
    ),
    ('models and the trainer', ('vision.modeling.', 'core.')),
    ('tasks and tools', ('vision.tasks', 'vision.serving', 'vision.data', 'vision.examples')),
    ('train_lib', ('core.train_lib', 'core.train_utils', 'core.dry_run', 'tuning', 'garden')),
    (
        'command line',
        (
            'common.flags',
            'common.registry_imports',
            'vision.registry_imports',
            'vision.train',
            'cli',
        ),
    ),
)

# (importing module, imported module) -> why the import, inside a function, may go upwards.
ALLOWED_LAZY: dict[tuple[str, str], str] = {}

CONFIG_LAYERS = ('names and errors', 'registry and hyperparams', 'configs')
# Packages that a config module, or what it imports, never loads.
HEAVY = ('tensorflow', 'keras', 'numpy', 'tensorboard', 'pycocotools')
# Config modules may load them inside a function that only runs when the package is there anyway.
ALLOWED_LAZY_HEAVY: dict[tuple[str, str], str] = {
    ('modeling.hyperparams.yaml_files', 'tensorflow'): 'reads paths that only it can open: gs://',
}
FORBIDDEN = ('tf_keras', 'orbit', 'gin', 'tf_slim', 'tensorflow_text')


@dataclasses.dataclass(frozen=True)
class Import:
    """One imported name.

    Attributes:
        target: The dotted name, absolute.
        line: Where it stands.
        is_lazy: True inside a function.
    """

    target: str
    line: int
    is_lazy: bool


def _module_name(path: pathlib.Path) -> str:
    parts = path.relative_to(REPO).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


MODULES = {_module_name(path): path for path in sorted((REPO / PACKAGE).rglob('*.py'))}


def _resolve_from(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    """Returns the absolute name that `from X import` means by X."""
    if not node.level:
        return node.module or ''
    base = module.split('.')
    base = base[: len(base) - node.level + is_package]
    return '.'.join([*base, *filter(None, [node.module])])


def find_imports(text: str, module: str, *, is_package: bool = False) -> list[Import]:
    """Returns all imports of a module; those under `if TYPE_CHECKING` do not count."""
    found: list[Import] = []

    def visit(node: ast.AST, is_lazy: bool) -> None:
        if isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.unparse(node.test):
            for child in node.orelse:
                visit(child, is_lazy)
            return
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, node.lineno, is_lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _resolve_from(node, module, is_package)
            names = [f'{base}.{alias.name}' for alias in node.names]
            found.extend(
                Import(name if name in MODULES else base, node.lineno, is_lazy) for name in names
            )
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, is_lazy or is_function)

    visit(ast.parse(text), False)
    return found


def _imports_of(module: str) -> list[Import]:
    path = MODULES[module]
    text = path.read_text(encoding='utf-8')
    return find_imports(text, module, is_package=path.name == '__init__.py')


def _is_below(name: str, prefix: str) -> bool:
    """True if the dotted `name` is `prefix` or inside it; 'a.' means inside `a` only."""
    if prefix.endswith('.'):
        return name.startswith(prefix)
    return name == prefix or name.startswith(f'{prefix}.')


def find_layer(module: str) -> int | None:
    """Returns the index in `LAYERS` of a module of the package; None if it has no layer."""
    name = module.removeprefix(PACKAGE).removeprefix('.')
    best: tuple[int, int] | None = None
    for rank, (_, prefixes) in enumerate(LAYERS):
        for prefix in prefixes:
            alone = prefix.endswith('!')
            matches = name == prefix[:-1] if alone else _is_below(name, prefix)
            if matches and (best is None or len(prefix) > best[0]):
                best = (len(prefix), rank)
    return None if best is None else best[1]


def _short(module: str) -> str:
    return module.removeprefix(f'{PACKAGE}.')


def test_every_module_has_a_layer() -> None:
    assert [module for module in MODULES if find_layer(module) is None] == []


def test_modules_import_from_their_own_layer_or_from_below() -> None:
    wrong = []
    for module in MODULES:
        for item in _imports_of(module):
            if not _is_below(item.target, PACKAGE):
                continue
            lower, upper = find_layer(module), find_layer(item.target)
            if lower is None or upper is None or upper <= lower:
                continue
            if not (item.is_lazy and (_short(module), _short(item.target)) in ALLOWED_LAZY):
                names = f'{LAYERS[lower][0]!r} < {LAYERS[upper][0]!r}'
                wrong.append(f'{module}:{item.line} imports {item.target} ({names})')
    assert wrong == []


def test_lists_of_allowed_imports_are_not_longer_than_needed() -> None:
    lazy = {
        (_short(module), _short(item.target))
        for module in MODULES
        for item in _imports_of(module)
        if item.is_lazy
    }
    assert set(ALLOWED_LAZY) <= lazy
    for package, target in ALLOWED_LAZY_HEAVY:
        assert any(_is_below(m, package) and _is_below(t, target) for m, t in lazy), package


def test_core_never_imports_vision() -> None:
    wrong = [
        f'{module}:{item.line} imports {item.target}'
        for module in MODULES
        if _is_below(module, f'{PACKAGE}.core')
        for item in _imports_of(module)
        if _is_below(item.target, f'{PACKAGE}.vision')
    ]
    assert wrong == []


def test_ops_and_losses_never_import_configs() -> None:
    wrong = [
        f'{module}:{item.line} imports {item.target}'
        for module in MODULES
        if re.match(rf'{PACKAGE}\.vision\.(ops|losses)\b', module)
        for item in _imports_of(module)
        if re.search(r'\bconfigs\b|config_definitions|hyperparams', item.target)
    ]
    assert wrong == []


def test_nothing_imports_what_keras_3_replaces() -> None:
    wrong = [
        f'{module}:{item.line} imports {item.target}'
        for module in MODULES
        for item in _imports_of(module)
        if item.target.split('.')[0] in FORBIDDEN
    ]
    assert wrong == []


def test_only_the_bridge_imports_model_garden() -> None:
    wrong = [
        f'{module}:{item.line} imports {item.target}'
        for module in MODULES
        if not _is_below(module, f'{PACKAGE}.garden')
        for item in _imports_of(module)
        if item.target.split('.')[0] == 'official'
    ]
    assert wrong == []


def _config_modules() -> list[str]:
    names = [name for name, _ in LAYERS[: len(CONFIG_LAYERS)]]
    assert names == list(CONFIG_LAYERS)
    return [m for m in MODULES if (find_layer(m) or 0) < len(CONFIG_LAYERS)]


def _is_allowed_heavy(module: str, item: Import) -> bool:
    return item.is_lazy and any(
        _is_below(_short(module), package) and _is_below(item.target, target)
        for package, target in ALLOWED_LAZY_HEAVY
    )


def test_config_modules_do_not_import_tensorflow_in_their_text() -> None:
    wrong = [
        f'{module}:{item.line} imports {item.target}'
        for module in _config_modules()
        for item in _imports_of(module)
        if item.target.split('.')[0] in HEAVY and not _is_allowed_heavy(module, item)
    ]
    assert wrong == []


def test_importing_every_config_module_does_not_load_tensorflow() -> None:
    code = (
        'import importlib, sys\n'
        'for name in sys.argv[1:]: importlib.import_module(name)\n'
        f'print(sorted(set(sys.modules) & {set(HEAVY)!r}))\n'
    )
    result = subprocess.run(
        [sys.executable, '-c', code, *_config_modules()],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPO,
    )
    assert (result.returncode, result.stderr) == (0, '')
    assert result.stdout.strip() == '[]'


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    graph = {
        module: {item.target for item in _imports_of(module) if not item.is_lazy} & set(MODULES)
        for module in MODULES
    }
    done: set[str] = set()

    def find_circle(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for target in sorted(graph[module] - {module}):
            if circle := find_circle(target, [*path, module]):
                return circle
        done.add(module)
        return []

    assert [circle for module in graph if (circle := find_circle(module, []))] == []


def _files_of_the_project() -> list[pathlib.Path]:
    """Returns the files under version control; all files where there is no git."""
    result = subprocess.run(
        ['git', 'ls-files', '-z'], cwd=REPO, capture_output=True, text=True, check=False
    )
    if result.returncode == 0:
        return [REPO / name for name in result.stdout.split('\0') if name]
    hidden = re.compile(r'(^|/)(\.venv|\.git|build|dist|runs|__pycache__)')
    files = (path for path in REPO.rglob('*') if path.is_file())
    return [path for path in files if not hidden.search(path.relative_to(REPO).as_posix())]


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    # Written in pieces, so that this file does not match itself.
    pattern = re.compile(
        '|'.join([r'(?<![\w.])/' + d + '/' for d in ('root', 'work', r'home/\w+')])
    )
    wrong = []
    for path in _files_of_the_project():
        try:
            lines = path.read_text(encoding='utf-8').splitlines()
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        wrong += [
            f'{path.relative_to(REPO)}:{number}: {line.strip()[:120]}'
            for number, line in enumerate(lines, 1)
            if pattern.search(line)
        ]
    assert wrong == []


@pytest.mark.parametrize(
    ('module', 'layer'),
    [
        ('official_lite', 'names and errors'),
        ('official_lite.core', 'names and errors'),
        ('official_lite.core.registry', 'registry and hyperparams'),
        ('official_lite.modeling.hyperparams.oneof', 'registry and hyperparams'),
        ('official_lite.modeling.optimization.configs.x', 'configs'),
        ('official_lite.modeling.optimization.lr_schedule', 'ops, losses, layers, optimization'),
        ('official_lite.modeling.norm', 'ops, losses, layers, optimization'),
        ('official_lite.vision.modeling.layers.x', 'ops, losses, layers, optimization'),
        (
            'official_lite.vision.modeling.backbones.resnet',
            'backbones, decoders, heads, dataloaders, evaluation',
        ),
        ('official_lite.vision.modeling.retinanet_model', 'models and the trainer'),
        ('official_lite.core.base_trainer', 'models and the trainer'),
        ('official_lite.core.train_lib', 'train_lib'),
    ],
)
def test_layer_of_a_module(module: str, layer: str) -> None:
    rank = find_layer(module)
    assert rank is not None
    assert LAYERS[rank][0] == layer


def test_imports_are_found_wherever_they_stand() -> None:
    text = (
        'import a.b\n'
        'from typing import TYPE_CHECKING\n'
        'if TYPE_CHECKING:\n'
        '    import never\n'
        'def f():\n'
        '    from . import c\n'
        'class G:\n'
        '    from ..d import e\n'
    )
    found = find_imports(text, 'p.q.r')
    assert [(i.target, i.line, i.is_lazy) for i in found] == [
        ('a.b', 1, False),
        ('typing', 2, False),
        ('p.q', 6, True),
        ('p.d', 8, False),
    ]
    assert find_imports('from . import c', 'p.q', is_package=True)[0].target == 'p.q'
