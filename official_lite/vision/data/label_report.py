"""An inspection of classified or segmented images as tables for a terminal."""

from __future__ import annotations

from rich import console as rich_console
from rich import table as rich_table
from rich import text as rich_text

from official_lite.vision.data import report
from official_lite.vision.data.label_inspection import LabelInspection, Palette

__all__ = ['print_label_inspection']

_MAX_NUM_CLASSES = 40


def print_label_inspection(inspection: LabelInspection, console: rich_console.Console) -> None:
    """Prints counts, classes, sizes, palettes and findings."""
    console.print(rich_text.Text(inspection.origin, style='bold'))
    console.print(_describe_counts(inspection), highlight=False)
    for kinds, what in (
        (inspection.images.kinds if inspection.images else {}, 'images'),
        (inspection.mask_kinds, 'masks'),
    ):
        if kinds:
            listed = ', '.join(f'{count} {kind}' for kind, count in kinds.items())
            console.print(f'{what} looked into: {listed}', highlight=False)
    console.print(_make_class_table(inspection))
    console.print(report.make_distribution_table(inspection.distributions))
    for palette in inspection.palettes:
        console.print(_describe_palette(palette), highlight=False)
    report.print_findings(inspection.findings, console)


def _describe_counts(inspection: LabelInspection) -> str:
    if inspection.counted == 'images':
        return f'{inspection.num_images} images, {inspection.num_labels} labels'
    total = max(1, inspection.num_labels + inspection.num_ignored)
    return (
        f'{inspection.num_images} images with masks, {inspection.num_labels} pixels with a label, '
        f'{inspection.num_ignored / total:.1%} of no class'
    )


def _make_class_table(inspection: LabelInspection) -> rich_table.Table:
    table = rich_table.Table(title='Classes', title_justify='left')
    table.add_column('label', justify='right')
    table.add_column('name')
    for name in (inspection.counted, 'share', *(['in images'] * (inspection.counted != 'images'))):
        table.add_column(name, justify='right')
    rows = inspection.classes[:_MAX_NUM_CLASSES]
    for row in rows:
        cells = [str(row.count), f'{row.count / max(1, inspection.num_labels):.1%}']
        if inspection.counted != 'images':
            cells.append(str(row.num_images))
        table.add_row(str(row.label), rich_text.Text(row.name), *cells)
    rest = inspection.classes[_MAX_NUM_CLASSES:]
    if rest:
        table.add_row('', f'and {len(rest)} more', str(sum(row.count for row in rest)), '')
    return table


def _describe_palette(palette: Palette) -> str:
    colors = ', '.join(f'{value} {list(color)}' for value, color in palette.colors.items())
    return f'palette of {palette.num_masks} masks (value and colour): {colors}'
