"""An inspection as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import console as rich_console
from rich import table as rich_table
from rich import text as rich_text

from official_lite.vision.data import anchor_fit
from official_lite.vision.data.findings import Finding
from official_lite.vision.data.inspection import Distribution, Inspection

__all__ = [
    'format_anchor_override',
    'make_distribution_table',
    'print_findings',
    'print_inspection',
]

_MAX_NUM_CLASSES = 40


def print_inspection(inspection: Inspection, console: rich_console.Console) -> None:
    """Prints counts, classes, distributions, anchors and findings."""
    crowds = f', {inspection.num_crowds} of them crowds' if inspection.num_crowds else ''
    console.print(rich_text.Text(inspection.origin, style='bold'))
    console.print(
        f'{inspection.num_images} images, {inspection.num_boxes} boxes{crowds}, '
        f'{inspection.num_empty_images} images without objects, '
        f'{inspection.num_classes - 1} classes and the background'
    )
    if inspection.images and inspection.images.kinds:
        kinds = ', '.join(f'{count} {kind}' for kind, count in inspection.images.kinds.items())
        console.print(f'of {inspection.images.num_checked} images looked into: {kinds}')
    console.print(_make_class_table(inspection))
    console.print(make_distribution_table(inspection.distributions))
    _print_anchors(inspection, console)
    print_findings(inspection.findings, console)


def _make_class_table(inspection: Inspection) -> rich_table.Table:
    table = rich_table.Table(title='Classes', title_justify='left')
    table.add_column('label', justify='right')
    table.add_column('id', justify='right')
    table.add_column('name')
    for name in ('boxes', 'share', 'crowds', 'images', 'median size'):
        table.add_column(name, justify='right')
    rows = sorted(inspection.classes, key=lambda row: -row.num_boxes)
    for row in rows[:_MAX_NUM_CLASSES]:
        table.add_row(
            str(row.label),
            str(row.category_id),
            rich_text.Text(row.name),
            str(row.num_boxes),
            f'{row.num_boxes / max(1, inspection.num_boxes):.1%}',
            str(row.num_crowds),
            str(row.num_images),
            f'{row.median_size_px:.0f} px' if row.num_boxes else '',
        )
    if len(rows) > _MAX_NUM_CLASSES:
        rest = rows[_MAX_NUM_CLASSES:]
        boxes = sum(row.num_boxes for row in rest)
        table.add_row('', '', f'and {len(rest)} more', str(boxes), '', '', '', '')
    height, width = inspection.input_size
    table.caption = (
        f'size: square root of the area, when the image fills an input of {height}x{width}'
    )
    table.caption_justify = 'left'
    return table


def make_distribution_table(distributions: Mapping[str, Distribution]) -> rich_table.Table:
    """Smallest, median and largest values, and two percentiles."""
    table = rich_table.Table(title='Sizes', title_justify='left')
    table.add_column('')
    columns = ('min', 'p5', 'median', 'p95', 'max')
    for name in columns:
        table.add_column(name, justify='right')
    for distribution in distributions.values():
        summary = distribution.summarize()
        cells = [f'{summary[name]:.4g}' for name in columns] if summary else [''] * len(columns)
        table.add_row(distribution.name, *cells)
    return table


def _print_anchors(inspection: Inspection, console: rich_console.Console) -> None:
    if inspection.anchors is None:
        console.print('anchors: there are no boxes to compare them with')
        return
    console.print(rich_text.Text('Anchors', style='italic'))
    console.print(_describe_fit(inspection.anchors), highlight=False)
    if inspection.suggestion is None:
        console.print('  no other sizes and aspect ratios, as many as these, do clearly better')
        return
    console.print(_describe_fit(inspection.suggestion), highlight=False)
    override = format_anchor_override(inspection.suggestion.settings)
    console.print(f'  try: --params_override={override}', highlight=False, soft_wrap=True)


def _describe_fit(fit: anchor_fit.AnchorFit) -> str:
    settings = fit.settings
    ratios = ', '.join(f'{ratio:g}' for ratio in settings.aspect_ratios)
    parts = [
        f'{name} {share:.1%} of {count}'
        for name, (share, count) in fit.share_by_size.items()
        if count
    ]
    return (
        f'  anchor_size {settings.anchor_size:g}, aspect_ratios [{ratios}]: {fit.share:.1%} of the '
        f'boxes reach an IoU of {settings.match_threshold:g}\n'
        f'    ({", ".join(parts)}; median of the best IoU {fit.median_iou:.2f})'
    )


def format_anchor_override(settings: anchor_fit.AnchorSettings) -> str:
    """The anchors as a value of --params_override."""
    ratios = ','.join(f'{ratio:g}' for ratio in settings.aspect_ratios)
    return (
        f'task.model.anchor.anchor_size={settings.anchor_size:g},'
        f'task.model.anchor.aspect_ratios=[{ratios}]'
    )


def print_findings(findings: Sequence[Finding], console: rich_console.Console) -> None:
    """Prints what looks wrong, with examples."""
    if not findings:
        console.print('Nothing looks wrong.')
        return
    console.print(rich_text.Text('What to look at', style='italic'))
    for finding in findings:
        hint = f'; {finding.hint}' if finding.hint else ''
        console.print(rich_text.Text(f'- {finding.message}{hint}'))
        for example in finding.examples:
            console.print(rich_text.Text(f'    {example}', style='dim'), soft_wrap=True)
