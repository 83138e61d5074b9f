"""Command line: `python -m tests.garden_suite [group ...]`.

Fetches Model Garden's own unit tests, renames their imports, runs them, and compares what fails
with exceptions.yaml. Exit code 1 if a test fails that is not listed, or a listed one passes.
"""

from __future__ import annotations

import argparse
import sys

from tests.garden_suite import exceptions, runner, wheel


def _print_result(result: runner.GroupResult, verbose: bool) -> None:
    listed = exceptions.load_exceptions()
    for test in result.unexpected:
        outcome = result.outcomes[test]
        print(f'  {outcome.status}: {test}\n      {outcome.error}')
    for test in result.stale:
        print(f'  listed as an exception, but passes or does not exist: {test}')
    if verbose:
        for test, outcome in result.outcomes.items():
            if outcome.status not in ('passed', 'skipped') and test not in result.unexpected:
                print(f'  exception: {test}\n      {listed.describe(test)}\n      {outcome.error}')
        print(result.output)
    print(result.summary(), flush=True)


def main(argv: list[str] | None = None) -> int:
    """Runs the groups that the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(prog='python -m tests.garden_suite', description=__doc__)
    parser.add_argument('groups', nargs='*', help=f'of {", ".join(runner.GROUPS)}; default: all')
    parser.add_argument('--verbose', action='store_true', help='also what is listed and the output')
    parser.add_argument(
        '--baseline', action='store_true', help='as they are, against tf-models-official itself'
    )
    parser.add_argument('--table', action='store_true', help='ends with a table by folder')
    args = parser.parse_args(argv)
    unknown = sorted(set(args.groups) - set(runner.GROUPS))
    if unknown:
        parser.error(f'no such group: {", ".join(unknown)}; there are {", ".join(runner.GROUPS)}')
    is_fine, results = True, []
    for group in args.groups or runner.GROUPS:
        try:
            result = runner.run_group(group, is_renamed=not args.baseline)
        except wheel.GardenNotFoundError as error:
            print(f'error: {error}', file=sys.stderr)
            return 1
        _print_result(result, args.verbose)
        is_fine = is_fine and result.is_as_expected
        results.append(result)
    if args.table:
        print(runner.make_table(results))
    return 0 if is_fine else 1


if __name__ == '__main__':
    sys.exit(main())
