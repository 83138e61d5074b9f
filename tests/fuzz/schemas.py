"""Configs that use every form of annotation once. The annotations are strings in this module."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Dict, List, Literal, Optional, Tuple, Union  # noqa: UP035

from official_lite.modeling import hyperparams


@dataclasses.dataclass
class Leaf(hyperparams.Config):
    """A node without children."""

    width: int = 1
    rate: Optional[float] = None
    name: str = 'leaf'


@dataclasses.dataclass
class SpecialLeaf(Leaf):
    """A subclass with one field more."""

    flag: bool = False


@dataclasses.dataclass
class Choice(hyperparams.OneOfConfig):
    """A choice between nodes; one branch is a plain number."""

    type: Optional[str] = 'leaf'
    leaf: Leaf = dataclasses.field(default_factory=Leaf)
    special: SpecialLeaf = dataclasses.field(default_factory=SpecialLeaf)
    number: int = 3


@dataclasses.dataclass
class Scalars(hyperparams.Config):
    """Scalars, and unions of them."""

    an_int: int = 1
    a_float: float = 0.5
    a_str: str = 'text'
    a_bool: bool = False
    opt_int: Optional[int] = None
    opt_float: Optional[float] = 0.1
    opt_str: Optional[str] = None
    opt_bool: Optional[bool] = True
    pipe: int | None = None
    literal: Literal['red', 'green', 3] = 'red'
    opt_literal: Optional[Literal['a', 'b']] = None
    number_or_text: Union[str, float, None] = None
    anything: Any = None


@dataclasses.dataclass
class Sequences(hyperparams.Config):
    """Lists, tuples, mappings."""

    ints: List[int] = dataclasses.field(default_factory=lambda: [1, 2])  # noqa: UP006
    floats: list[float] = dataclasses.field(default_factory=lambda: [0.5])
    texts: List[str] = dataclasses.field(default_factory=list)  # noqa: UP006
    opt_ints: List[Optional[int]] = dataclasses.field(  # noqa: UP006
        default_factory=lambda: [None, 3]
    )
    opt_texts: Optional[List[str]] = None  # noqa: UP006
    grid: List[List[int]] = dataclasses.field(default_factory=lambda: [[1], [2, 3]])  # noqa: UP006
    pair: Tuple[int, int] = (1, 2)  # noqa: UP006
    many: Tuple[float, ...] = (0.5, 1.5)  # noqa: UP006
    mixed: tuple[str, int, Optional[bool]] = ('a', 1, None)
    sequence: Sequence[float] = (1.0,)
    bare_list: list = dataclasses.field(default_factory=list)
    bare_tuple: tuple = ()
    paths: Union[Sequence[str], str] = ''
    free: Dict = dataclasses.field(default_factory=dict)  # noqa: UP006
    counts: Dict[str, int] = dataclasses.field(default_factory=lambda: {'a': 1})  # noqa: UP006
    rates: dict[str, float] = dataclasses.field(default_factory=dict)
    groups: Mapping[str, List[int]] = dataclasses.field(default_factory=dict)  # noqa: UP006


@dataclasses.dataclass
class Tree(hyperparams.Config):
    """Nested configs, in every place where one may stand."""

    scalars: Scalars = dataclasses.field(default_factory=Scalars)
    sequences: Sequences = dataclasses.field(default_factory=Sequences)
    leaf: Leaf = dataclasses.field(default_factory=Leaf)
    subclassed: Leaf = dataclasses.field(default_factory=SpecialLeaf)
    opt_leaf: Optional[Leaf] = None
    leaves: List[Leaf] = dataclasses.field(  # noqa: UP006
        default_factory=lambda: [Leaf(), Leaf(width=2)]
    )
    leaf_tuple: Tuple[Leaf, ...] = ()  # noqa: UP006
    opt_leaves: Optional[List[Leaf]] = None  # noqa: UP006
    choice: Choice = dataclasses.field(default_factory=Choice)
    opt_choice: Optional[Choice] = None
    any_config: Optional[hyperparams.Config] = None
