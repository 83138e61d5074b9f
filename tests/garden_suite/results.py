"""What the test files of Model Garden did here and in Model Garden itself, kept between runs."""

from __future__ import annotations

import dataclasses
import datetime
import fnmatch
import importlib.metadata
import json
import pathlib

import official_lite
from tests.garden_suite import runner, wheel

RESULTS_FILE = pathlib.Path(__file__).parent / 'results.json'
_PACKAGES = ('keras', 'tensorflow')


@dataclasses.dataclass(frozen=True)
class FileResult:
    """What the tests of one file did in one run.

    Attributes:
        date: When it ran, as YYYY-MM-DD.
        num_tests: All of them, skipped ones included.
        failing: The ids, without the file, of those that did neither pass nor skip.
        skipped: The ids of those that were skipped.
    """

    date: str
    num_tests: int
    failing: tuple[str, ...]
    skipped: tuple[str, ...]

    @property
    def num_run(self) -> int:
        """Returns how many tests were not skipped."""
        return self.num_tests - len(self.skipped)

    @property
    def num_passed(self) -> int:
        """Returns how many tests passed."""
        return self.num_run - len(self.failing)


@dataclasses.dataclass
class Results:
    """The last run of each file.

    Attributes:
        versions: Package -> version, of the last run that was recorded.
        here: Test file, below `official/` -> what it did against official_lite.
        garden: Test file -> what it did, as it is, against tf-models-official. Not every file has
            been run so.
    """

    versions: dict[str, str]
    here: dict[str, FileResult]
    garden: dict[str, FileResult]


def find_group(test_file: str) -> str:
    """Returns the group that a test file belongs to.

    Raises:
        KeyError: It belongs to none.
    """
    for group, patterns in runner.GROUPS.items():
        if any(fnmatch.fnmatchcase(test_file, pattern) for pattern in patterns):
            return group
    raise KeyError(f'{test_file} belongs to no group')


def count_passing_in_both(here: FileResult, garden: FileResult) -> tuple[int, int]:
    """Returns how many tests pass in Model Garden, and how many of those pass here too."""
    absent = {*garden.failing, *garden.skipped}
    lost = {*here.failing, *here.skipped} - absent
    return garden.num_passed, garden.num_passed - len(lost)


def record(results: Results, run: runner.GroupResult, *, is_garden: bool) -> None:
    """Replaces what `results` says of the files of a run."""
    by_file: dict[str, dict[str, str]] = {}
    for test, outcome in run.outcomes.items():
        file, _, name = test.partition('::')
        by_file.setdefault(file, {})[name] = outcome.status
    kept = results.garden if is_garden else results.here
    for file, tests in by_file.items():
        kept[file] = FileResult(
            date=datetime.date.today().isoformat(),
            num_tests=len(tests),
            failing=tuple(sorted(k for k, v in tests.items() if v not in ('passed', 'skipped'))),
            skipped=tuple(sorted(k for k, v in tests.items() if v == 'skipped')),
        )
    results.versions = {
        'official_lite': official_lite.__version__,
        'tf-models-official': wheel.GARDEN_VERSION,
        **{package: importlib.metadata.version(package) for package in _PACKAGES},
    }


def load_results(path: pathlib.Path = RESULTS_FILE) -> Results:
    """Reads what has been recorded; nothing has where there is no file."""
    content = json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}
    kept = {
        key: {
            file: FileResult(**{**fields, **{k: tuple(fields[k]) for k in ('failing', 'skipped')}})
            for file, fields in content.get(key, {}).items()
        }
        for key in ('here', 'garden')
    }
    return Results(versions=content.get('versions', {}), **kept)


def save_results(results: Results, path: pathlib.Path = RESULTS_FILE) -> None:
    """Writes what has been recorded, sorted by file."""
    text = json.dumps(dataclasses.asdict(results), indent=1, sort_keys=True)
    path.write_text(f'{text}\n', encoding='utf-8')
