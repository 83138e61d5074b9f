"""The page of figures agrees with what was recorded, with the groups and with the exceptions."""

from __future__ import annotations

import datetime
import fnmatch
import pathlib

import pytest

from tests.garden_suite import exceptions, page, results, runner

LISTED = exceptions.Exceptions(
    {'x': 'Because.', 'video': 'Of videos.'},
    {'core/*': 'x', 'vision/*': 'video'},
    left_out=('video',),
)


def _file_result(num_tests: int, failing: str = '', skipped: str = '') -> results.FileResult:
    return results.FileResult(
        '2026-01-02', num_tests, tuple(failing.split()), tuple(skipped.split())
    )


def _results(**garden: results.FileResult) -> results.Results:
    here = {
        'core/actions_test.py': _file_result(3, 'T::a', 'T::b'),
        'core/registry_test.py': _file_result(2),
        'vision/ops/augment_test.py': _file_result(4, 'T::d'),
    }
    return results.Results({'official_lite': '1.0'}, here, garden)


def test_page_is_what_the_recorded_results_and_the_exceptions_say() -> None:
    expected = page.make_page(results.load_results(), exceptions.load_exceptions())
    assert page.PAGE.read_text('utf-8') == expected, 'run python -m tests.garden_suite --table'


def test_recorded_failures_are_the_listed_exceptions() -> None:
    """And each exception is of a test that fails, where its file has been recorded."""
    listed, recorded = exceptions.load_exceptions(), results.load_results()
    failing = page.list_failing(recorded)
    assert [test for test in failing if not listed.find(test)] == []
    unused = [
        pattern
        for pattern in listed.patterns
        if any(fnmatch.fnmatchcase(file, pattern.split('::')[0]) for file in recorded.here)
        and not any(fnmatch.fnmatchcase(test, pattern) for test in failing)
    ]
    assert unused == []


# Of `hyperparams` 11 of 84 are parameters of one test, that sequences of sequences are refused; of
# `core` 11 of 70 expect what differs on purpose (loss scaling, evaluation without a checkpoint, ...).
_LOWEST_RATES = {'core': 0.84, 'hyperparams': 0.82}


def test_nine_tenths_of_each_group_pass() -> None:
    recorded, listed = results.load_results(), exceptions.load_exceptions()
    for group in runner.GROUPS:
        files = [file for file in recorded.here if results.find_group(file) == group]
        run, left_out, passed = page.count(files, recorded, listed)
        assert passed >= _LOWEST_RATES.get(group, 0.9) * (run - left_out), group


def test_page_names_groups_that_have_not_been_recorded() -> None:
    text = page.make_page(_results(), LISTED)
    assert 'Not recorded: hyperparams, configs, optimization, backbones' in text
    assert 'Run on 2026-01-02, on CPU, with official_lite 1.0.' in text


def _get_folder(file: str) -> str:
    return file.rsplit('/', 1)[0]


def test_table_by_folder_and_in_the_order_of_the_groups() -> None:
    table = page.make_table('folder', _get_folder, _results(), LISTED)
    assert table.splitlines() == [
        '| folder | tests | left out | pass | rate |',
        '|---|---:|---:|---:|---:|',
        '| core | 4 |  | 3 | 75.0% |',
        '| vision/ops | 4 | 1 | 3 | 100.0% |',
        '| all | 8 | 1 | 6 | 85.7% |',
    ]
    order = ['augmentation', 'core']
    by_group = page.make_table('group', results.find_group, _results(), LISTED, order)
    assert [row.split(' |')[0] for row in by_group.splitlines()[2:]] == [
        '| augmentation',
        '| core',
        '| all',
    ]


def test_rate_of_what_passes_in_model_garden() -> None:
    """A test that fails or skips there counts in neither number, whatever it does here."""
    garden = {'vision/ops/augment_test.py': _file_result(4, 'T::e')}
    table = page.make_table('folder', _get_folder, _results(**garden), LISTED)
    assert table.splitlines()[2:] == [
        '| core | 4 |  | 3 | 75.0% | |',
        '| vision/ops | 4 | 1 | 3 | 100.0% | 2 of 2, 100.0% |',
        '| all | 8 | 1 | 6 | 85.7% | |',
    ]
    here, there = _file_result(5, 'a', 'b'), _file_result(5, 'b', 'c')
    assert results.count_passing_in_both(here, there) == (3, 2)


def test_exceptions_are_counted_by_reason() -> None:
    listed = exceptions.Exceptions({'x': 'Because.'}, {'core/*': 'x'})
    assert page.make_exception_table(_results(), listed).splitlines()[2:] == [
        '| Because. | 1 | core |',
        '| No reason is listed. | 1 | augmentation |',
    ]


def test_a_run_replaces_what_was_known_of_its_files(tmp_path: pathlib.Path) -> None:
    outcomes = {
        'core/actions_test.py::T::a': runner.Outcome('passed'),
        'core/actions_test.py::T::b': runner.Outcome('crashed'),
        'core/actions_test.py::T::c': runner.Outcome('skipped'),
    }
    kept, run = _results(), runner.GroupResult('core', outcomes, (), (), '')
    results.record(kept, run, is_garden=False)
    today = datetime.date.today().isoformat()
    assert kept.here['core/actions_test.py'] == results.FileResult(today, 3, ('T::b',), ('T::c',))
    assert kept.here['core/registry_test.py'].num_passed == 2
    assert list(kept.versions) == ['official_lite', 'tf-models-official', 'keras', 'tensorflow']
    results.save_results(kept, tmp_path / 'results.json')
    assert results.load_results(tmp_path / 'results.json') == kept


def test_a_file_without_a_group_is_an_error() -> None:
    with pytest.raises(KeyError, match=r'nlp/a_test\.py belongs to no group'):
        results.find_group('nlp/a_test.py')
