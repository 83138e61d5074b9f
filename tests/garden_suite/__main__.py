"""Command line: `python -m tests.garden_suite [group ...]`.

Fetches Model Garden's own unit tests, renames their imports, runs them, and compares what fails
with exceptions.yaml. Exit code 1 if a test fails that is not listed, or a listed one passes.
"""

from __future__ import annotations

import argparse
import sys

from tests.garden_suite import exceptions, page, results, runner, wheel


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


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='python -m tests.garden_suite', description=__doc__)
    parser.add_argument('groups', nargs='*', help=f'of {", ".join(runner.GROUPS)}; default: all')
    parser.add_argument(
        '--files',
        default='*',
        metavar='PATTERN',
        help="only files whose name matches, as '*resnet*_test.py': large groups in pieces",
    )
    parser.add_argument('--verbose', action='store_true', help='also what is listed and the output')
    parser.add_argument(
        '--baseline', action='store_true', help='as they are, against tf-models-official itself'
    )
    parser.add_argument(
        '--table',
        action='store_true',
        help='writes docs/model_garden_tests.md anew, with what these files did and what the '
        'others did when they last ran',
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the groups that the command line names; returns the exit code."""
    parser = _make_parser()
    args = parser.parse_args(argv)
    unknown = sorted(set(args.groups) - set(runner.GROUPS))
    if unknown:
        parser.error(f'no such group: {", ".join(unknown)}; there are {", ".join(runner.GROUPS)}')
    is_fine, num_tests = True, 0
    for group in args.groups or runner.GROUPS:
        try:
            run = runner.run_group(group, is_renamed=not args.baseline, files=args.files)
        except wheel.GardenNotFoundError as error:
            print(f'error: {error}', file=sys.stderr)
            return 1
        if args.files != '*' and not run.outcomes and not run.output:
            continue  # The group has no file of that name.
        num_tests += len(run.outcomes)
        _print_result(run, args.verbose)
        is_fine = is_fine and run.is_as_expected
        if args.table:
            recorded = results.load_results()
            results.record(recorded, run, is_garden=args.baseline)
            results.save_results(recorded)
            page.write_page()
    if not num_tests:
        parser.error(f'no test file of these groups matches {args.files}')
    return 0 if is_fine else 1


if __name__ == '__main__':
    sys.exit(main())
