"""The marshmallow schema that dataclasses-json users expect of `schema()`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import marshmallow

from official_lite.modeling.hyperparams import errors
from official_lite.modeling.hyperparams.plans import plan_of


class _Field(marshmallow.fields.Field):
    """One field of a config; the config's own checks read it."""


def make_schema(config_cls: Any, **options: Any) -> marshmallow.Schema:
    """Returns a schema whose `load`, `loads`, `dump` and `dumps` are the checked conversions.

    Args:
        config_cls: The config class.
        **options: Those of dataclasses-json's `schema` (`many`, `only`, `infer_missing`, ...).

    Its `load` raises marshmallow's ValidationError with the messages by field.
    """
    infer_missing = options.pop('infer_missing', False)
    fields = {
        name: _Field(required=spec.is_required) for name, spec in plan_of(config_cls).fields.items()
    }
    members = {**fields, 'config_class': config_cls, 'infer_missing': infer_missing}
    schema = type(f'{config_cls.__name__}Schema', (_ConfigSchema,), members)
    return schema(**{k: v for k, v in options.items() if v is not None})


class _ConfigSchema(marshmallow.Schema):
    """Loads and dumps one config class."""

    config_class: Any = None
    infer_missing: bool = False

    def load(self, data: Any, *, many: bool | None = None, **kwargs: Any) -> Any:
        """Returns a config, or a list of them, from plain values."""
        if self.many if many is None else many:
            return [self._load_one(item) for item in data]
        return self._load_one(data)

    def _load_one(self, data: Any) -> Any:
        try:
            return self.config_class.from_dict(
                data, infer_missing=self.infer_missing, source='code: schema'
            )
        except errors.ConfigError as error:
            messages: dict[str, list[str]] = {}
            for problem in error.problems:
                messages.setdefault(problem.path or '_schema', []).append(str(problem))
            raise marshmallow.ValidationError(messages, data=data) from error

    def loads(self, json_data: Any, *, many: bool | None = None, **kwargs: Any) -> Any:
        """Returns a config, or a list of them, from JSON text."""
        return self.load(json.loads(json_data), many=many)

    def dump(self, obj: Any, *, many: bool | None = None) -> Any:
        """Returns plain values of a config, or of a list of them."""
        if self.many if many is None else many:
            return [self._dump_one(item) for item in obj]
        return self._dump_one(obj)

    def _dump_one(self, config: Any) -> dict[str, Any]:
        tree: Mapping[str, Any] = config.to_dict()
        return {
            key: value
            for key, value in tree.items()
            if key in self.fields or key not in self._declared_fields
        }

    def dumps(self, obj: Any, *args: Any, many: bool | None = None, **kwargs: Any) -> str:
        """Returns JSON text of a config, or of a list of them."""
        return json.dumps(self.dump(obj, many=many), *args, **kwargs)
