"""Results of an evaluation as a table for the terminal and as results.md."""

import json

from mer_jax.evaluation.judge import JUDGED, who_judged
from mer_jax.run.trained_on import warning_of

FIGURE = {  # by task, the figure that papers report
    'open': 'F',
    'basic': 'hit',
    'sentiment': 'waf',
    'accuracy': 'accuracy',
    'multilabel': 'f1',
}


def table(results: dict) -> list[list[str]]:
    """A row for each set and figure: fast, slow and slow − fast in per cent, with intervals."""
    rows = [['set', 'figure', 'n', 'fast', 'slow', 'slow - fast']]
    for key, scored in results['sets'].items():
        if 'fast' not in scored:
            rows.append([key, '-', '-', '-', '-', scored['note']])
            continue
        name = FIGURE[scored['task']]
        rows.append([key, name, *cells(scored, name)])
        if judged := scored.get('judged'):
            rows += [[key, f'{name} (judged)', *cells(judged, name)] for name in JUDGED]
    return rows


def cells(scored: dict, name: str) -> list[str]:
    """n, and a figure of fast, slow and slow − fast in per cent, with 95 % intervals."""
    parts = scored['fast'], scored['slow'], scored['difference']
    shown = [[100 * x for x in (part[name], *part['ci'][name])] for part in parts]
    return [str(scored['slow']['kept']), *('{:.2f} [{:.2f}, {:.2f}]'.format(*x) for x in shown)]


def as_text(results: dict) -> str:
    """The table for the terminal."""
    rows = table(results)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ['  '.join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return '\n'.join(line.rstrip() for line in lines)


def warnings_of(results: dict) -> list[str]:
    """Warnings about sets that share clips with the training of the checkpoint."""
    shared = results['shared_with_training']
    found = {} if shared == 'unknown' else shared
    return [told for key, of_set in found.items() if (told := warning_of(of_set, key))]


def as_markdown(results: dict) -> str:
    """The text of results.md: the table, notes, published rows, the protocol and absent sets."""
    head, *rows = table(results)
    lines = ['# Evaluation', '', '| ' + ' | '.join(head) + ' |', '|---' * len(head) + '|']
    lines += ['| ' + ' | '.join(row) + ' |' for row in rows]
    lines += ['', 'Per cent, with 95 % bootstrap intervals; the last column is paired by clip.', '']
    for key, scored in results['sets'].items():
        if note := scored.get('note'):
            lines.append(f'* {key}: {note}; {scored.get("left_out", 0)} clips left out')
        if judged := scored.get('judged'):
            lines.append(f'* {key}: {who_judged(judged)}')
    lines += [f'* Warning: {told}' for told in warnings_of(results)]
    lines += ['', '## Published rows, not measured here', '']
    lines += ['| set | system | inputs | figure | % | source |', '|---|---|---|---|---|---|']
    for key, scored in results['sets'].items():
        for row in scored.get('published', ()):
            cells = (key, row['system'], row['inputs'], row['metric'], str(row['percent']))
            lines.append('| ' + ' | '.join([*cells, row['source']]) + ' |')
    lines += [
        '',
        '## Protocol',
        '',
        '```json',
        json.dumps(results['protocol'], indent=1),
        '```',
        '',
    ]
    lines += [f'* absent: {reason}' for reason in results['absent']]
    return '\n'.join(lines) + '\n'
