"""Prints the defaults of tf-models-official's config classes and experiments as JSON.

Run as a process of its own, because importing it loads Keras 2.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from typing import Any


def dump(value: Any) -> Any:
    """Turns a config into plain data, all fields, chosen branch or not; tuples become lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {'class': type(value).__name__, **{n: dump(getattr(value, n)) for n in names}}
    if isinstance(value, list | tuple):
        return [dump(x) for x in value]
    if isinstance(value, dict):
        return {key: dump(x) for key, x in value.items()}
    return value


def dump_modules(package: str, modules: list[str]) -> dict[str, Any]:
    """Returns `module.Class` -> the default instance, for the config classes of each module."""
    result = {}
    for name in modules:
        module = importlib.import_module(f'{package}.{name}')
        for class_name, member in vars(module).items():
            # Defined here or, in our package, where a module was split, in one of its parts.
            is_own = isinstance(member, type) and (
                member.__module__ == module.__name__
                or (package != 'official' and member.__module__.startswith(f'{package}.'))
            )
            if is_own and dataclasses.is_dataclass(member):
                result[f'{name}.{class_name}'] = dump(member())
    return result


def main(package: str, modules: list[str], experiments: list[str]) -> dict[str, Any]:
    """Returns the classes and the experiments of a package with Model Garden's layout."""
    classes = dump_modules(package, modules)
    exp_factory = importlib.import_module(f'{package}.core.exp_factory')
    trees = {name: dump(exp_factory.get_exp_config(name)) for name in experiments}
    return {'classes': classes, 'experiments': trees}


if __name__ == '__main__':
    print(json.dumps(main(sys.argv[1], sys.argv[2].split(','), sys.argv[3].split(','))))
