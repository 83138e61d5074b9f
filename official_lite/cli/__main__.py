"""`python -m official_lite.cli`."""

import sys

from official_lite import cli

if __name__ == '__main__':
    sys.exit(cli.main())
