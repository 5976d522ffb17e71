"""The page of the claims: verdicts, forest plots, curves, examples, protocol."""

import html
import pathlib
from collections.abc import Sequence

from experiments.claim_arms import ARMS, CLAIMS
from experiments.claim_charts import curves, forest, plane
from experiments.claim_interference import courses
from experiments.claim_interference import table as interference_table
from experiments.claim_tables import judged, means, table, told_verdict
from mer_jax.run.charts import as_svg
from mer_jax.run.page import page

TITLES = {'mer_r1': 'MER-R1', 'emo_r3': 'EMO-R3'}
MAIN = {'mer_r1': 'b', 'emo_r3': 'g'}  # the claim of each table that was named as the main one
PLANES = {'mer_r1': 'Precision and recall', 'emo_r3': 'Accuracy on both domains'}
SHOWN = {  # arms whose answers are shown side by side, and the score by which they differ
    'mer_r1': (('cold_start', 'baseline', 'both_openings', 'full'), 'f'),
    'emo_r3': (('cold_start', 'sft', 'grpo', 'full'), 'accuracy'),
}
EXAMPLES = 3  # clips of a table
RULE = (
    'A claim says that one arm scores higher than another. All arms of a seed continue one cold '
    'start, and differences are paired by clip. The interval holds 95 % of the uncertainty over '
    'seeds and clips. Confirmed: the interval is above 0; contradicted: below; else undecided. The '
    'rule was written before the runs (docs/CLAIMS.md). The clips are drawn by the embedded stage, '
    'so figures do not compare with the published ones.'
)


def write_report(path: pathlib.Path, lines: list[dict], measured: Sequence[dict] = ()) -> None:
    """Writes the page of all tables that have results; sections without data are left out.

    `measured` are lines of interference.py.
    """
    held = {name: [line for line in lines if line['table'] == name] for name in ARMS}
    body = [f'<p>{RULE}</p>']
    body += [section(name, found) for name, found in held.items() if found]
    if measured:
        body.append(interference(list(measured)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page('Claims of MER-R1 and EMO-R3, tested', ''.join(body)))


def section(name: str, lines: list[dict]) -> str:
    """Everything about one table."""
    parts = [f'<h2>{TITLES[name]}</h2>', lead(name, lines)]
    parts += ['<h3>Claims</h3>', chart(forest(name, lines)), as_table(table(name, lines))]
    parts += ['<h3>Arms, means over seeds</h3>', as_table(means(name, lines))]
    note = 'Fast answers hollow, slow ones full.'
    parts += [f'<h3>{PLANES[name]}</h3>', chart(plane(name, lines), note)]
    if drawn := curves(name, lines):
        note = 'Smoothed; bands from the lowest to the highest seed; dashed: the baseline.'
        parts += ['<h3>Learning curves</h3>', chart(drawn, note)]
    parts += [negative(name, lines), examples(name, lines), protocol(lines)]
    return ''.join(parts)


def interference(measured: list[dict]) -> str:
    """Claim (e): the gradients of recall and precision under one sum and apart."""
    note = (
        'Each saved policy answers the same prompts; the policy gradient is linear in the '
        'advantage, so its parts by recall and by precision are measured from one rollout. '
        'Intervals are over seeds.'
    )
    return (
        f'<h2>Interference</h2><p class="note">{note}</p>{chart(courses(measured))}'
        f'{as_table(interference_table(measured))}'
    )


def lead(name: str, lines: list[dict]) -> str:
    """The main claim in a sentence."""
    claim = next(claim for claim in CLAIMS[name] if claim.name == MAIN[name])
    told = judged(claim, lines)
    if told is None:
        return ''
    low, high = told['ci']
    return (
        f'<p class="lead">{html.escape(claim.text)}: {told_verdict(told)}. {told["mean"]:+.4f} in '
        f'slow {claim.score}, 95 % interval [{low:+.4f}, {high:+.4f}], {told["seeds"]} seeds.</p>'
    )


def negative(name: str, lines: list[dict]) -> str:
    """The claims that did not hold, or were not decided."""
    items = []
    for claim in CLAIMS[name]:
        told = judged(claim, lines)
        if told and told['verdict'] != 'confirmed':
            low, high = told['ci']
            said = f'{told_verdict(told)} ({told["mean"]:+.4f} [{low:+.4f}, {high:+.4f}])'
            items.append(f'<li>{html.escape(claim.text)} ({claim.name}): {said}</li>')
    return f'<h3>Not confirmed</h3><ul>{"".join(items)}</ul>' if items else ''


def examples(name: str, lines: list[dict]) -> str:
    """Slow answers of several arms to the clips on which these differ most, of the first seed."""
    arms, score = SHOWN[name]
    seed = min(line['seed'] for line in lines)
    held = {x['arm']: x for x in lines if x['seed'] == seed and x['arm'] in arms and x['examples']}
    if len(held) < 2:
        return ''
    said = {arm: {one['id']: one for one in line['examples']} for arm, line in held.items()}
    found = {
        arm: dict(zip(line['clips']['ids'], line['clips']['slow'][score], strict=True))
        for arm, line in held.items()
    }
    common = set.intersection(*(said[arm].keys() & found[arm].keys() for arm in held))

    def spread(clip: str) -> float:
        values = [found[arm][clip] for arm in held]
        return max(values) - min(values)

    parts = []
    for clip in sorted(common, key=lambda clip: (-spread(clip), clip))[:EXAMPLES]:
        rows = [
            f'<tr><th>{arm}</th><td>{found[arm][clip]:.2f}</td>'
            f'<td style="white-space: normal">{html.escape(said[arm][clip]["slow"])}</td></tr>'
            for arm in arms
            if arm in held
        ]
        gold = ', '.join(next(iter(said.values()))[clip]['gold'])
        parts.append(
            f'<article class="clip"><h4>{html.escape(clip)}: gold {html.escape(gold)}</h4>'
            f'<table><tbody>{"".join(rows)}</tbody></table></article>'
        )
    return f'<h3>Answers, seed {seed}, with their {score}</h3>{"".join(parts)}'


def protocol(lines: list[dict]) -> str:
    """Commits, machines, versions, seeds and hours of the runs."""
    facts = {
        'commit': {line['commit'] for line in lines},
        'hardware': {line['hardware'] for line in lines},
        'versions': {
            ', '.join(f'{k} {v}' for k, v in ({'python': x['python']} | x['versions']).items())
            for x in lines
        },
        'seeds': {str(line['seed']) for line in lines},
        'runs': {str(len(lines))},
        'hours, all runs': {f'{sum(line["seconds"] for line in lines) / 3600:.1f}'},
    }
    rows = ''.join(
        f'<tr><th>{fact}</th><td style="white-space: normal">'
        f'{html.escape("; ".join(sorted(values)))}</td></tr>'
        for fact, values in facts.items()
    )
    commands = html.escape('\n'.join(line['command'] for line in lines))
    return (
        f'<h3>Protocol</h3><table><tbody>{rows}</tbody></table>'
        f'<details><summary>Commands</summary><pre>{commands}</pre></details>'
    )


def chart(figure, note: str = '') -> str:
    """A figure as a part of the page."""
    return f'<figure>{as_svg(figure)}<figcaption>{html.escape(note)}</figcaption></figure>'


def as_table(markdown: str) -> str:
    """A table of Markdown as HTML."""
    head, _, *rows = (
        [html.escape(cell.strip()) for cell in row.strip('|').split('|')]
        for row in markdown.splitlines()
    )
    titles = ''.join(f'<th>{cell}</th>' for cell in head)
    lines = ''.join(f'<tr>{"".join(f"<td>{cell}</td>" for cell in row)}</tr>' for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{titles}</tr></thead>'
        f'<tbody>{lines}</tbody></table></div>'
    )
