"""To and from dicts, JSON and YAML; the interface of dataclasses-json, with checks."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from dataclasses_json import DataClassJsonMixin

from official_lite.modeling.hyperparams import config_checker, errors
from official_lite.modeling.hyperparams.places import Pass, Place
from official_lite.modeling.hyperparams.plans import plan_of
from official_lite.modeling.hyperparams.sources import Source, as_source, find_caller
from official_lite.modeling.hyperparams.yaml_files import dump_yaml, load_yaml, write_text

if TYPE_CHECKING:
    from official_lite.modeling.hyperparams.hparams import HParams
    from official_lite.modeling.hyperparams.hparams_view import ConfigHParams


class Convertible(DataClassJsonMixin):
    """The conversions of a Config."""

    def to_dict(self, encode_json: bool = False) -> dict[str, Any]:
        """Returns `as_dict()`, from which `from_dict` makes an equal config.

        Where a field holds a subclass that its keys do not tell, the dict names the class.

        Args:
            encode_json: Accepted for dataclasses-json; the values are JSON's anyway.
        """
        from official_lite.modeling.hyperparams import class_names

        return class_names.to_named_dict(self)

    def to_json(self, **kwargs: Any) -> str:
        """Returns `to_dict()` as JSON; takes the arguments of `json.dumps`."""
        return json.dumps(self.to_dict(), **kwargs)

    def to_yaml(self, path: str | os.PathLike[str] | None = None) -> str:
        """Returns `to_dict()` as YAML, and writes it to `path` if one is given."""
        text = dump_yaml(self.to_dict())
        if path is not None:
            write_text(path, text)
        return text

    @classmethod
    def from_dict(
        cls, kvs: Any, *, infer_missing: bool = False, source: Source | str | None = None
    ) -> Self:
        """Returns a config from a nested mapping; what it does not name keeps its default.

        Args:
            kvs: The mapping, or a config.
            infer_missing: Fields without a default that are missing become None.
            source: Who says so; by default the calling line.

        Raises:
            ConfigError: With every problem found: unknown keys, values of wrong types, missing fields.
        """
        if hasattr(kvs, 'to_dict'):
            kvs = kvs.to_dict()
        run = Pass(is_whole=True)
        place = Place(run, '', as_source(source) or find_caller())
        if infer_missing and isinstance(kvs, Mapping):
            required = [name for name, spec in plan_of(cls).fields.items() if spec.is_required]
            kvs = {**dict.fromkeys(required), **kvs}
        config = config_checker.ConfigChecker(cls).read(kvs, place)
        run.finish()
        return config

    @classmethod
    def from_json(cls, s: Any, *, infer_missing: bool = False, **kwargs: Any) -> Self:
        """Returns a config from JSON text (which starts with `{`) or from the path of a file.

        Args:
            s: The text, as str or bytes, or the path.
            infer_missing: See `from_dict`.
            **kwargs: Arguments of `json.loads`.

        Raises:
            ConfigError: With every problem found; also a FileNotFoundError if there is no such file.
        """
        from official_lite.modeling.hyperparams import json_files

        text, name = json_files.text_of(s)
        tree = json_files.parse_json(text, name, **kwargs)
        return cls.from_dict(
            tree, infer_missing=infer_missing, source=Source('file', name) if name else None
        )

    @classmethod
    def from_yaml(cls, file_path: str | os.PathLike[str]) -> Self:
        """Returns a config from a YAML file.

        Raises:
            ConfigError: With every problem found; also a FileNotFoundError if there is no such file.
        """
        name = os.fspath(file_path)
        return cls.from_dict(load_yaml(name), source=Source('file', name))

    def to_hparams(self) -> ConfigHParams:
        """Returns an HParams view of a copy of this config: a hyperparameter for every leaf.

        `view.to_config()` is the config again, with what was changed in the view.
        """
        from official_lite.modeling.hyperparams import hparams_view

        return hparams_view.ConfigHParams(self)

    @classmethod
    def from_hparams(cls, hparams: HParams) -> Self:
        """Returns the config of an HParams view, or one from HParams whose names are paths.

        Raises:
            ConfigError: With every problem found; a view of another class is a TypeError too.
        """
        from official_lite.modeling.hyperparams import hparams_view

        if not isinstance(hparams, hparams_view.ConfigHParams):
            return cls.from_dict(hparams.values(), source=find_caller())
        config = hparams.to_config()
        if not isinstance(config, cls):
            problem = errors.Problem(
                expected=cls.__name__, received=type(config).__name__, kinds=(TypeError,)
            )
            raise errors.make_error([problem])
        return config

    @classmethod
    def from_args(cls, *args: Any, **kwargs: Any) -> Self:
        """Returns a config with the class's own fields (not its bases') set in order, and by name."""
        own = [n for n in inspect.get_annotations(cls) if n in plan_of(cls).fields]
        return cls(default_params={**dict(zip(own, args)), **kwargs})  # type: ignore[call-arg]

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Returns a JSON Schema of what this class accepts, for editors."""
        from official_lite.modeling.hyperparams import json_schema_of

        return json_schema_of.json_schema(cls)

    @classmethod
    def schema(cls, **kwargs: Any) -> Any:
        """Returns a marshmallow schema, which loads by `from_dict` and dumps by `to_dict`."""
        from official_lite.modeling.hyperparams import marshmallow_schema

        return marshmallow_schema.make_schema(cls, **kwargs)
