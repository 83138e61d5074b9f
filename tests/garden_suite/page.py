"""Writes docs/model_garden_tests.md from what has been recorded and the list of exceptions."""

from __future__ import annotations

import collections
import pathlib
from collections.abc import Callable, Iterable, Sequence

from tests.garden_suite import exceptions as exceptions_lib
from tests.garden_suite import results as results_lib
from tests.garden_suite import runner

PAGE = runner.REPO / 'docs' / 'model_garden_tests.md'
_HEAD = """\
# Model Garden's own tests

`python -m tests.garden_suite --table` takes the unit tests that tf-models-official ships, renames `official` to
`official_lite` and `tf_keras` to `keras`, runs them, and writes this page. Tests that need a GPU or a TPU are skipped, in
Model Garden too, and count nowhere.

Run on {dates}, on CPU, with {versions}.
"""
_NOTE = """\
*Left out*: of parts that are not here at all (language models, video, orbit, pruning,
a second interface for exports); they count in no rate.
"""
_GARDEN_NOTE = """\
*Of Model Garden's*: of the tests that pass in Model Garden itself and are not left out, those that pass here.
"""


def _percent(part: int, whole: int) -> str:
    return f'{100 * part / whole:.1f}%' if whole else ''


def _count_left_out(file: str, tests: Iterable[str], exceptions: exceptions_lib.Exceptions) -> int:
    return sum(exceptions.is_left_out(f'{file}::{test}') for test in tests)


def count(
    files: Iterable[str], results: results_lib.Results, exceptions: exceptions_lib.Exceptions
) -> tuple[int, int, int]:
    """Returns how many tests of the files were run here, how many of them are left out, and how many
    pass."""
    kept = {file: results.here[file] for file in files}
    left_out = sum(_count_left_out(file, x.failing, exceptions) for file, x in kept.items())
    return sum(x.num_run for x in kept.values()), left_out, sum(x.num_passed for x in kept.values())


def _make_row(
    name: str,
    files: Sequence[str],
    results: results_lib.Results,
    exceptions: exceptions_lib.Exceptions,
) -> str:
    run, left_out, passed = count(files, results, exceptions)
    row = f'| {name} | {run} | {left_out or ""} | {passed} | {_percent(passed, run - left_out)} |'
    if not results.garden:
        return row
    if any(file not in results.garden for file in files):
        return f'{row} |'
    theirs = both = 0
    for file in files:
        here, garden = results.here[file], results.garden[file]
        found = results_lib.count_passing_in_both(here, garden)
        absent = set(here.failing) - {*garden.failing, *garden.skipped}
        theirs += found[0] - _count_left_out(file, absent, exceptions)
        both += found[1]
    return f'{row} {both} of {theirs}, {_percent(both, theirs)} |'


def make_table(
    title: str,
    key: Callable[[str], str],
    results: results_lib.Results,
    exceptions: exceptions_lib.Exceptions,
    order: Iterable[str] = (),
) -> str:
    """Returns a table in Markdown: what `key` makes of a test file -> how many pass.

    Args:
        title: The head of the first column.
        key: Test file -> the name of its row.
        results: What has been recorded.
        exceptions: Which tests are expected to fail, and why.
        order: Names of rows in the order that they shall have; the others come after, sorted.
    """
    rows: dict[str, list[str]] = {name: [] for name in order}
    for file in sorted(results.here, key=lambda file: (key(file), file)):
        rows.setdefault(key(file), []).append(file)
    garden = (" of Model Garden's |", '---:|') if results.garden else ('', '')
    lines = [f'| {title} | tests | left out | pass | rate |{garden[0]}']
    lines += [f'|---|---:|---:|---:|---:|{garden[1]}']
    lines += [_make_row(k, files, results, exceptions) for k, files in rows.items() if files]
    lines.append(_make_row('all', list(results.here), results, exceptions))
    return '\n'.join(lines)


def list_failing(results: results_lib.Results) -> list[str]:
    """Returns the ids of the tests that fail here."""
    return [f'{file}::{test}' for file, kept in results.here.items() for test in kept.failing]


def make_exception_table(
    results: results_lib.Results, exceptions: exceptions_lib.Exceptions
) -> str:
    """Returns a table in Markdown: reason -> how many tests fail for it, and where."""
    tests: dict[str, list[str]] = collections.defaultdict(list)
    for test in list_failing(results):
        tests[exceptions.describe(test) or 'No reason is listed.'].append(test)
    lines = ['| reason | tests | in |', '|---|---:|---|']
    for reason, failing in sorted(tests.items(), key=lambda item: (-len(item[1]), item[0])):
        groups = sorted({results_lib.find_group(test.split('::')[0]) for test in failing})
        lines.append(f'| {reason} | {len(failing)} | {", ".join(groups)} |')
    return '\n'.join(lines)


def make_page(results: results_lib.Results, exceptions: exceptions_lib.Exceptions) -> str:
    """Returns the whole page in Markdown."""
    dates = sorted({kept.date for kept in results.here.values()})
    versions = ', '.join(f'{name} {version}' for name, version in results.versions.items())
    head = _HEAD.format(dates=' to '.join(dict.fromkeys((dates[0], dates[-1]))), versions=versions)
    recorded = {results_lib.find_group(file) for file in results.here}
    missing = ', '.join(group for group in runner.GROUPS if group not in recorded)
    parts = [
        head,
        *([f'Not recorded: {missing}.\n'] if missing else []),
        '## By group\n',
        make_table('group', results_lib.find_group, results, exceptions, runner.GROUPS) + '\n',
        _NOTE,
        *([_GARDEN_NOTE] if results.garden else []),
        '## By folder\n',
        make_table('folder', lambda file: file.rsplit('/', 1)[0], results, exceptions) + '\n',
        '## What does not pass, and why\n',
        'Test by test in `tests/garden_suite/exceptions.yaml`.\n',
        make_exception_table(results, exceptions) + '\n',
        '## What is not run\n',
        'Tests of what is not there: language models, recommendation, privacy, video, panoptic '
        'segmentation, multitask\ntraining and projects.\n',
    ]
    return '\n'.join(parts)


def write_page(path: pathlib.Path = PAGE) -> None:
    """Writes the page from the files beside this module."""
    page = make_page(results_lib.load_results(), exceptions_lib.load_exceptions())
    path.write_text(page, encoding='utf-8')
