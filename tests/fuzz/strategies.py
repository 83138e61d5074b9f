"""Generates inputs for typed configs: mostly right, with wrong values, keys and shapes mixed in."""

from __future__ import annotations

import datetime
import string
import typing
from typing import Any

from hypothesis import strategies as st

from tests.fuzz import oracle

Strategy = st.SearchStrategy[Any]

# Texts that YAML, a shell or a number parser reads in a way of its own.
TRICKY_TEXTS = (
    *('', ' ', 'null', 'None', '~', 'true', 'yes', 'off', 'on', '1', '012', '0x10', '0b1', '1_000'),
    *(
        '12:30',
        '1e3',
        '1e-4',
        '1.e-3',
        '.5',
        '+.5e3',
        '.inf',
        '-.INF',
        '.nan',
        'inf',
        'nan',
        '1e999',
    ),
    *(
        '2024-01-02',
        'a,b',
        'a=b',
        'a: b',
        '[1, 2]',
        '[1',
        '{a: 1}',
        '- a',
        '# x',
        'x # y',
        '!!int 3',
    ),
    *(
        '&a',
        '*a',
        '%x',
        '@x',
        '`x`',
        '"',
        "'",
        '\\',
        '\n',
        '\t',
        'gs://b/c',
        '/',
        '.',
        '..',
        '$(x)',
    ),
    *('é', '\u2028', '\x00', '\ud800', '\ufeff', 'typ', 'type', '_locked', '__class__'),
)
TEXTS = st.sampled_from(TRICKY_TEXTS) | st.text(max_size=8)
NAMES = st.text(string.ascii_lowercase, min_size=1, max_size=6)
INTS = st.integers(-5, 5) | st.integers()
FLOATS = st.floats(allow_nan=False) | st.sampled_from([1e3, -0.0, float('inf'), float('nan')])
SCALARS = st.none() | st.booleans() | INTS | FLOATS | TEXTS

KEYS = NAMES | TEXTS | st.none() | st.integers() | st.booleans()
PLAIN_JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=5,
)
# What no file can hold, but Python code can.
OBJECTS = st.sampled_from(
    [object(), b'bytes', {1, 2}, frozenset(), 1j, int, len, datetime.date(2024, 1, 2), range(3)]
)
JUNK = PLAIN_JUNK | OBJECTS | st.tuples(PLAIN_JUNK, PLAIN_JUNK)

_SCALARS: dict[Any, Strategy] = {
    bool: st.booleans(),
    int: INTS | st.integers(-100, 100).map(float),
    float: FLOATS | st.integers(-100, 100),
    str: TEXTS,
    type(None): st.none(),
    Any: SCALARS | st.lists(SCALARS, max_size=2),
}


def right_value(annotation: Any, current: Any, junk: Strategy, odds: int) -> Strategy:
    """Returns values for `annotation`; those inside it are replaced by junk once in `odds`."""
    args = typing.get_args(annotation)

    def inner(arg: Any) -> Strategy:
        return any_value(arg, None, junk, odds)

    if annotation in _SCALARS:
        return _SCALARS[annotation]
    if oracle._is_union(annotation):
        return st.one_of(*(right_value(arm, current, junk, odds) for arm in args))
    if typing.get_origin(annotation) is typing.Literal:
        return st.sampled_from(args)
    if oracle._sequence_classes(annotation):
        return _right_sequence(annotation, inner)
    if oracle._is_mapping(annotation):
        return st.dictionaries(NAMES, inner(args[1]) if args else SCALARS, max_size=3)
    config_class = type(current) if isinstance(current, annotation) else annotation
    return tree(config_class, current, junk, odds)


def _right_sequence(annotation: Any, inner: typing.Callable[[Any], Strategy]) -> Strategy:
    args = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if not args:
        lists = st.lists(SCALARS, max_size=3)
    elif origin is tuple and args[-1] is not Ellipsis:
        return st.tuples(*map(inner, args)) | st.tuples(*map(inner, args)).map(list)
    else:
        lists = st.lists(inner(args[0]), max_size=3)
    return lists | lists.map(tuple)


def any_value(annotation: Any, current: Any, junk: Strategy, odds: int) -> Strategy:
    """Returns right values, and junk once in `odds`; `odds` 0 means never."""
    right = st.deferred(lambda: right_value(annotation, current, junk, odds))
    if not odds:
        return right
    return st.integers(1, odds).flatmap(lambda n: junk if n == 1 else right)


def _choice_tree(config_class: type, node: Any, junk: Strategy, odds: int) -> Strategy:
    """Returns overrides of a choice; without junk, `type` and its branch agree."""
    names = oracle.branches(config_class)

    def of_branch(name: str) -> Strategy:
        value = any_value(names[name], getattr(node, name, None), junk, odds)
        return st.fixed_dictionaries({'type': st.just(name)}, optional={name: value})

    agreeing = st.sampled_from(sorted(names)).flatmap(of_branch) | st.just({'type': None})
    if not odds:
        return agreeing
    fields = {'type': any_value(typing.Optional[str], None, junk, 2)}
    fields |= {
        name: any_value(hint, getattr(node, name, None), junk, odds) for name, hint in names.items()
    }
    return st.one_of(agreeing, agreeing, st.fixed_dictionaries({}, optional=fields))


def tree(config_class: type, node: Any, junk: Strategy, odds: int) -> Strategy:
    """Returns mappings that override a few fields of a config.

    Args:
        config_class: The class that is overridden.
        node: The present value; configs below it decide by their own class.
        junk: What is put in the place of right values.
        odds: One value, or key, in so many is junk; 0 for none.
    """
    if oracle.is_free_form(config_class):
        return st.dictionaries(NAMES, SCALARS, max_size=2)
    if oracle.OneOf.includes(config_class):
        return _choice_tree(config_class, node, junk, odds)
    fields = oracle.hints(config_class)

    def of_names(names: list[str]) -> Strategy:
        return st.fixed_dictionaries(
            {name: any_value(fields[name], getattr(node, name, None), junk, odds) for name in names}
        )

    some = st.lists(st.sampled_from(sorted(fields)), max_size=3, unique=True).flatmap(of_names)
    if not odds:
        return some
    misspelt = st.tuples(some, wrong_key(sorted(fields)), SCALARS).map(
        lambda parts: {**parts[0], parts[1]: parts[2]}
    )
    return st.integers(1, 2 * odds).flatmap(lambda n: misspelt if n == 1 else some)


def wrong_key(names: list[str]) -> Strategy:
    """Returns keys that no field has, some of them close to one."""
    near = st.sampled_from(names).flatmap(
        lambda name: st.sampled_from([name[:-1], name + 's', name.upper(), f'_{name}', f'{name} '])
    )
    return (near | KEYS).filter(lambda key: key not in names)


def mutated(texts: Strategy) -> Strategy:
    """Returns texts with a few characters or pieces deleted, doubled, swapped or put in."""
    pieces = st.sampled_from(TRICKY_TEXTS) | st.sampled_from(list('=,.[]{}:\'"-#&*!|>%@ \n\t0aZ'))

    def edit(text: str, edits: list[tuple[int, int, str]]) -> str:
        for start, length, piece in edits:
            at = start % (len(text) + 1)
            text = text[:at] + piece + text[at + length :]
        return text

    one = st.tuples(st.integers(0, 400), st.integers(0, 3), pieces | st.just(''))
    return st.builds(edit, texts, st.lists(one, min_size=1, max_size=3))
