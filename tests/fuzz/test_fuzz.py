"""Thousands of right and wrong inputs: accepted with every value of its type, or refused properly.

Nothing but the package's own error may escape, and nothing wrong may slip in. `tests.fuzz.oracle`
decides what is right. `OFFICIAL_LITE_FUZZ=slow` tries a hundred times as many, new ones on each run.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from official_lite.core import exp_factory
from official_lite.modeling import hyperparams
from tests.fuzz import oracle, properties, schemas, strategies

Make = Callable[[], hyperparams.Config]

EXPERIMENTS = ('retinanet_custom', 'retinanet_resnetfpn_coco')
MAKERS: dict[str, Make] = {
    'scalars': schemas.Scalars,
    'sequences': schemas.Sequences,
    'choice': schemas.Choice,
    'tree': schemas.Tree,
    **{name: lambda name=name: exp_factory.get_exp_config(name) for name in EXPERIMENTS},
}
# An experiment is a large tree: fewer examples of it take the same time.
EXAMPLES = {name: 60 if name in EXPERIMENTS else 150 for name in MAKERS}
ODDS_OF_JUNK = 5


def raw_trees(name: str, junk: strategies.Strategy, odds: int) -> strategies.Strategy:
    """Returns mappings that override the config of that name."""
    config = MAKERS[name]()
    return strategies.tree(type(config), config, junk, odds)


def mostly_right_trees(name: str) -> strategies.Strategy:
    """Returns mappings of which half are right, to be spoilt once they are text."""
    right = raw_trees(name, st.nothing(), 0)
    return (right | raw_trees(name, strategies.PLAIN_JUNK, ODDS_OF_JUNK)).filter(is_encodable)


def run(name: str, values: strategies.Strategy, check: Callable[[Any], None]) -> None:
    """Runs `check` on as many values as are due for the config of that name."""
    # pytest's test function would run hypothesis once per parameter with the same seed and name.
    test = hypothesis.given(values)(lambda value: check(value))
    properties.settings(EXAMPLES[name])(test)()


@pytest.mark.parametrize('name', MAKERS)
def test_mutated_trees(name: str) -> None:
    values = raw_trees(name, strategies.JUNK, ODDS_OF_JUNK)
    run(name, values, lambda raw: properties.check_override(MAKERS[name](), raw))


@pytest.mark.parametrize('name', MAKERS)
def test_right_trees(name: str) -> None:
    def check(raw: dict[str, Any]) -> None:
        config = MAKERS[name]()
        properties.check_override(config, raw)
        properties.check_round_trips(config)

    run(name, raw_trees(name, st.nothing(), 0), check)


@pytest.mark.parametrize('name', ['scalars', 'sequences', 'choice', 'tree'])
def test_construction(name: str) -> None:
    def check(raw: dict[Any, Any]) -> None:
        config_class = type(MAKERS[name]())
        raw = properties.constructor_arguments(config_class, raw)
        verdict = oracle.judge_tree(raw, config_class, config_class())
        if verdict is not oracle.judge_tree(raw, config_class):
            # The declared class and that of the default disagree.
            verdict = oracle.Verdict.EITHER
        made: list[hyperparams.Config] = []
        error = properties.attempt(lambda: made.append(config_class(**raw)))
        if error is None:
            assert verdict is not oracle.Verdict.REFUSE
            properties.check_types(made[0])
        else:
            assert verdict is not oracle.Verdict.ACCEPT, error
            properties.check_refusal(error)

    run(name, raw_trees(name, strategies.JUNK, ODDS_OF_JUNK), check)


@pytest.mark.parametrize('name', ['scalars', 'sequences', 'choice', 'tree'])
def test_assignment(name: str) -> None:
    fields = sorted(oracle.hints(type(MAKERS[name]())))
    annotations = oracle.hints(type(MAKERS[name]()))

    def pairs(field: str) -> strategies.Strategy:
        value = strategies.any_value(annotations[field], None, strategies.JUNK, 2)
        return st.tuples(st.just(field), value)

    def check(pair: tuple[str, Any]) -> None:
        config, (field, value) = MAKERS[name](), pair
        properties.check_input(
            config, {field: value}, lambda: setattr(config, field, value), replaces=True
        )

    run(name, st.sampled_from(fields).flatmap(pairs), check)


@pytest.mark.parametrize('name', MAKERS)
def test_from_dict(name: str) -> None:
    def check(raw: dict[Any, Any]) -> None:
        config_class = type(MAKERS[name]())
        verdict = oracle.judge_tree(raw, config_class, config_class())
        made: list[hyperparams.Config] = []
        error = properties.attempt(lambda: made.append(config_class.from_dict(raw)))
        if error is not None:
            assert verdict is not oracle.Verdict.ACCEPT, error
            properties.check_refusal(error)
            return
        properties.check_types(made[0])
        assert verdict is not oracle.Verdict.REFUSE

    config_class = type(MAKERS[name]())
    values = strategies.tree(config_class, config_class(), strategies.JUNK, ODDS_OF_JUNK)
    run(name, values, check)


@pytest.mark.parametrize('name', MAKERS)
def test_right_yaml_texts(name: str) -> None:
    def check(raw: dict[str, Any]) -> None:
        hypothesis.assume(raw and is_encodable(raw))
        properties.check_right_text(MAKERS[name](), raw, properties.dump_yaml(raw))

    run(name, raw_trees(name, st.nothing(), 0), check)


@pytest.mark.parametrize('name', MAKERS)
def test_mutated_yaml_texts(name: str) -> None:
    texts = strategies.mutated(mostly_right_trees(name).filter(bool).map(dump_plain_yaml))
    run(name, texts, lambda text: check_text(name, text))


@pytest.mark.parametrize('name', MAKERS)
def test_right_override_strings(name: str) -> None:
    def check(raw: dict[str, Any]) -> None:
        text = properties.dump_override(raw)
        hypothesis.assume(text)
        assert text is not None
        properties.check_right_text(MAKERS[name](), raw, text)

    run(name, raw_trees(name, st.nothing(), 0), check)


@pytest.mark.parametrize('name', MAKERS)
def test_mutated_override_strings(name: str) -> None:
    trees = mostly_right_trees(name)
    texts = strategies.mutated(trees.map(properties.dump_override).filter(bool))
    run(name, texts, lambda text: check_text(name, text))


def test_arbitrary_texts() -> None:
    texts = st.text(max_size=30) | strategies.mutated(st.sampled_from(strategies.TRICKY_TEXTS))
    run('tree', texts, lambda text: check_text('tree', text))


@pytest.mark.parametrize('name', ['sequences', 'tree'])
def test_yaml_files_of_any_bytes(name: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'params.yaml'
    trees = mostly_right_trees(name)
    texts = strategies.mutated(trees.map(dump_plain_yaml)).filter(is_encodable)

    def check(content: bytes) -> None:
        path.write_bytes(content)
        config_class = type(MAKERS[name]())
        made: list[hyperparams.Config] = []
        error = properties.attempt(lambda: made.append(config_class.from_yaml(str(path))))
        if error is None:
            properties.check_types(made[0])
        else:
            properties.check_refusal(error)
            assert 'params.yaml' in str(error)

    run(name, st.binary(max_size=40) | texts.map(str.encode), check)


def dump_plain_yaml(raw: Any) -> str:
    return properties.dump_yaml(raw, is_quoted=False)


def check_text(name: str, text: str) -> None:
    # The path of a remote file, which takes a network; test_hostile_inputs has one.
    hypothesis.assume('://' not in text)
    properties.check_text(MAKERS[name](), text)


def is_encodable(raw: Any) -> bool:
    """True unless a text in it has half a surrogate pair, which no file can hold."""
    try:
        str(raw if isinstance(raw, str) else repr_texts(raw)).encode()
    except UnicodeEncodeError:
        return False
    return True


def repr_texts(raw: Any) -> str:
    """Returns all texts of plain data in one."""
    if isinstance(raw, dict):
        return ''.join(repr_texts(key) + repr_texts(value) for key, value in raw.items())
    if isinstance(raw, list | tuple):
        return ''.join(map(repr_texts, raw))
    return raw if isinstance(raw, str) else ''
