"""Tables as plain text, that can be searched and cut by other programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ['format_table']

_GAP = '  '


def format_table(rows: Iterable[Sequence[str]], header: Sequence[str] = ()) -> str:
    """Returns rows in aligned columns, without blanks at the ends of lines.

    Args:
        rows: Cells of each row.
        header: Names of the columns; () for none.
    """
    lines = [list(header), *map(list, rows)] if header else list(map(list, rows))
    if not lines:
        return ''
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return '\n'.join(
        _GAP.join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines
    )
