"""Results of an evaluation as a table for the terminal and as results.md."""

import json

from mer_jax.data.benchmarks import EMOTION_IMAGES, IMAGE_CAUTIONS, IMAGES_OVERALL, published
from mer_jax.evaluation.answers import MODES
from mer_jax.evaluation.closed_scores import EXACT
from mer_jax.evaluation.confusion import picture_name
from mer_jax.evaluation.domains import UNKNOWN, mark
from mer_jax.evaluation.judge import JUDGED, who_judged
from mer_jax.evaluation.scoring import FIGURE
from mer_jax.run.trained_on import warning_of

CLOSED = (EXACT, 'accuracy', 'macro_f1', 'uar', 'form', 'coherence', 'consistency')

READ_EXACTLY = (
    f'`{EXACT}`: the boxed word in small letters equals the gold word, as published. `accuracy`: '
    'the same after blanks and punctuation around the word are removed.'
)


def table(results: dict) -> list[list[str]]:
    """A row for each set and figure: fast, slow and slow − fast in per cent, with intervals."""
    rows = [['set', 'figure', 'n', 'fast', 'slow', 'slow - fast']]
    for key, scored in results['sets'].items():
        title = mark(key, results['trained_on'])
        if 'fast' not in scored:
            rows.append([title, '-', '-', '-', '-', scored['note']])
            continue
        names = figures_of(scored)
        rows += [[title, name, *cells(scored, name)] for name in names]
        if judged := scored.get('judged'):
            rows += [[title, f'{name} (judged)', *cells(judged, name)] for name in JUDGED]
    return rows


def figures_of(scored: dict) -> list[str]:
    """The figures of a set that the table shows."""
    if EXACT in scored['slow']:
        return [name for name in CLOSED if name in scored['slow']]
    return [FIGURE[scored['task']]]


def cells(scored: dict, name: str) -> list[str]:
    """n, and a figure of fast, slow and slow − fast in per cent, with 95 % intervals."""
    parts = scored['fast'], scored['slow'], scored['difference']
    return [str(scored['slow']['kept']), *(cell(part, name) for part in parts)]


def cell(part: dict, name: str) -> str:
    """A figure in per cent with its interval; '-' if the answers have none."""
    if name not in part:
        return '-'
    shown = (100 * x for x in (part[name], *part['ci'][name]))
    return '{:.2f} [{:.2f}, {:.2f}]'.format(*shown)


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
    if any(name == EXACT for _, name, *_ in rows):
        lines += [READ_EXACTLY, '']
    for key, scored in results['sets'].items():
        if note := scored.get('note'):
            lines.append(f'* {key}: {note}; {scored.get("left_out", 0)} clips left out')
        if judged := scored.get('judged'):
            lines.append(f'* {key}: {who_judged(judged)}')
    lines += [f'* Warning: {told}' for told in warnings_of(results)]
    lines += domain_lines(results) + confusion_lines(results['sets'])
    lines += ['', '## Published rows, not measured here', '']
    lines += ['| set | system | inputs | figure | % | source |', '|---|---|---|---|---|---|']
    lines += published_lines(results)
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


def published_lines(results: dict) -> list[str]:
    """Rows of published figures and, for the image sets, the overall figures and cautions."""
    rows = [
        (key, row) for key, scored in results['sets'].items() for row in scored.get('published', ())
    ]
    images = any(key in EMOTION_IMAGES for key in results['sets'])
    if images:
        rows += [('overall, as printed', row._asdict()) for row in published(IMAGES_OVERALL)]
    lines = []
    for key, row in rows:
        cells = (key, row['system'], row['inputs'], row['metric'], str(row['percent']))
        lines.append('| ' + ' | '.join([*cells, row['source']]) + ' |')
    return lines + (['', *(f'* {said}' for said in IMAGE_CAUTIONS)] if images else [])


def domain_lines(results: dict) -> list[str]:
    """The set that the checkpoint was trained on, and the means over the sets out of domain."""
    if results['trained_on'] == UNKNOWN:
        return []
    lines = [f'* Trained on {results["trained_on"]}: (in) is in domain, (out) out of domain']
    if found := results['out_of_domain']:
        lines += ['', f'Means over the sets out of domain ({", ".join(found["sets"])}), per cent:']
        lines += ['', '| figure | fast | slow |', '|---|---|---|']
        for name in found['slow']:
            shown = ' | '.join(f'{100 * found[mode][name]:.2f}' for mode in MODES)
            lines.append(f'| {name} | {shown} |')
    return lines


def confusion_lines(sets: dict) -> list[str]:
    """Links to the pictures of confusion."""
    shown = [
        f'![{key}, {mode}]({picture_name(key, mode)})'
        for key, scored in sets.items()
        if 'confusion' in scored
        for mode in MODES
    ]
    return ['', '## Confusion', '', *shown] if shown else []
