"""The small configs that the tests of hyperparams share: every kind of field once."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, Optional, Sequence, Union  # noqa: UP035

from official_lite.modeling import hyperparams


@dataclasses.dataclass
class Inner(hyperparams.Config):
    """A nested config.

    Attributes:
        a: A number of things.
        b: Some text,
            on two lines.
    """

    a: int = 1
    b: str = 'text'


@dataclasses.dataclass
class BiggerInner(Inner):
    """A subclass with one more field."""

    c: float = 0.5


@dataclasses.dataclass
class SameInner(Inner):
    """A subclass with the same fields."""


@dataclasses.dataclass
class Other(hyperparams.Config):
    """No relation of Inner."""

    z: int = 0


@dataclasses.dataclass
class ResNet(hyperparams.Config):
    """A branch.

    Attributes:
        depth: Number of layers.
    """

    depth: int = 50
    name: Optional[str] = None

    def _check(self, report: Any) -> None:
        if self.depth < 1:
            report('depth', expected='1 or more', hint='ResNets have layers')


@dataclasses.dataclass
class SpineNet(hyperparams.Config):
    """Another branch."""

    min_level: int = 3
    max_level: int = 7


@dataclasses.dataclass
class Backbone(hyperparams.OneOfConfig):
    """A choice.

    Attributes:
        type: The chosen backbone.
    """

    type: Optional[str] = 'resnet'
    resnet: ResNet = dataclasses.field(default_factory=ResNet)
    spinenet: SpineNet = dataclasses.field(default_factory=SpineNet)


@dataclasses.dataclass
class Cfg(hyperparams.Config):
    """Every kind of field.

    Attributes:
        i: A whole number.
    """

    i: int = 1
    f: float = 2.0
    s: str = 'text'
    flag: bool = False
    oi: Optional[int] = None
    os: Optional[str] = None
    pipe: int | None = None
    color: Literal['red', 'green', 3] = 'red'
    number_or_text: Union[str, float, None] = None
    li: list[int] = dataclasses.field(default_factory=lambda: [1, 2])
    lf: list[float] = dataclasses.field(default_factory=lambda: [1.0, 2.0])
    ls: Optional[list[str]] = None
    lli: list[list[int]] = dataclasses.field(default_factory=list)
    path: Union[Sequence[str], str, hyperparams.Config] = ''
    t: tuple[int, int] = (1, 2)
    ts: tuple[str, ...] = ()
    d: dict[str, float] = dataclasses.field(default_factory=dict)
    free: Any = None
    inner: Inner = dataclasses.field(default_factory=Inner)
    oinner: Optional[Inner] = None
    linner: list[Inner] = dataclasses.field(default_factory=list)
    tinner: tuple[Inner, ...] = ()
    one: Backbone = dataclasses.field(default_factory=Backbone)
    model: Optional[hyperparams.Config] = None
