"""Tests for official_lite.core.garbage."""

import gc

import pytest

from official_lite.core import garbage


class Node:
    """An object that only the collector can free."""

    def __init__(self) -> None:
        self.itself = self


def _count() -> int:
    return sum(isinstance(o, Node) for o in gc.get_objects())


@pytest.fixture(autouse=True)
def _collector():
    yield
    garbage.settle()
    gc.unfreeze()
    gc.enable()
    gc.collect()


def test_later_garbage_is_found_after_a_start():
    garbage.start()
    assert not gc.isenabled()
    garbage.settle()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0
    Node()
    assert _count() == 1
    gc.collect()
    assert _count() == 0


def test_a_pause_within_a_start_does_not_end_it():
    garbage.start()
    with garbage.paused():
        assert not gc.isenabled()
    assert not gc.isenabled()


def test_without_a_start_nothing_is_frozen():
    with garbage.paused():
        node = Node()
        assert not gc.isenabled()
    garbage.settle()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    del node
    gc.collect()
    assert _count() == 0


def test_a_collector_that_the_user_turned_off_stays_off():
    gc.disable()
    garbage.start()
    garbage.settle()
    with garbage.paused():
        pass
    assert not gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_an_error_ends_the_pause():
    with pytest.raises(ValueError, match='x'), garbage.paused():
        raise ValueError('x')
    assert gc.isenabled()


def test_nothing_stays_frozen_after_a_run():
    with garbage.run():
        node = Node()
        assert not gc.isenabled()
        garbage.settle()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    del node
    gc.collect()
    assert _count() == 0
