"""The report of a run: one self-contained HTML page, and its first table for the terminal."""

import base64
import html
import io
import json
import os
from collections.abc import Iterable, Sequence

import jax
import numpy as np
from PIL import Image

from mer_jax.methods.method import SECOND_LOOK
from mer_jax.run.curves import WIDE, curve_colors, draw_curves, smooth
from mer_jax.run.page import page
from mer_jax.storage.objects import make_folder, write_whole
from mer_jax.storage.paths import path_of

LABELS = {'f': 'F'}  # of scores whose name is no label
MOMENTS = {'cold_start': 'before RL', 'end': 'after RL'}
ANSWERS = ('fast', 'slow')
LEADING, LAST = ('loss',), ('kl', 'tokens')  # curves around those that a method plots
FRAMES, FRAME_HEIGHT = 6, 144  # of a clip, at most


def write_report(
    path: str | os.PathLike,
    results: dict,
    records: list[dict],
    examples: list[dict],
    title: str,
    config: dict,
    commit: str | None = None,
    plotted: Sequence[str] = (),
):
    """Writes the page; sections without data are left out.

    `results` holds 'clips', 'seed', 'seconds' and, for 'cold_start' and 'end', the figures of fast
    and slow answers; 'gain' their paired differences (run.gain) and 'clips'; 'evaluated' the policy
    of 'end' and its update; 'hardware' if the page is written on another machine than the run.
    `examples` hold 'id', 'frames' u8[n, height, width, 3], 'subtitle', 'gold', and for 'before' and
    'after' the 'fast' and the 'slow' answer as Method.describe gives them; 'hit' lists the words
    that count as found, by default the gold words themselves. `plotted` are the figures whose
    curves come first.
    """
    order = [*LEADING, *plotted, *LAST]
    body = [_headline(results), _plane(results), _curves(records, order), _spreads(records, order)]
    body += [_examples(examples), _run(results, config, commit)]
    path = path_of(path)
    make_folder(path.parent)
    write_whole(path, page(title, ''.join(body)))


def terminal_table(results: dict) -> str:
    """The first table of the report as aligned plain text; the last line is the gain."""
    columns = _columns(results)
    rows = [['', '', *map(_label, columns)]]
    for answer, moment, figures in _measured(results):
        rows.append([answer, MOMENTS[moment], *(_cell(figures, name) for name in columns)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [[x.ljust(width) for x, width in zip(row, widths, strict=True)] for row in rows]
    lines = ['  '.join(row).rstrip() for row in padded]
    return '\n'.join([*lines, _verdict(results)]).rstrip()


def hardware() -> str:
    """The devices of this process, in words."""
    devices = jax.devices()
    kind, cores = devices[0].device_kind, os.cpu_count()
    return f'{len(devices)} × {kind}, {cores} CPU cores, JAX {jax.__version__}'


def _measured(results: dict) -> list[tuple[str, str, dict]]:
    """All measured (answer, moment, figures): fast, then slow; before, then after."""
    pairs = [(answer, moment) for answer in ANSWERS for moment in MOMENTS]
    return [(a, m, results[m][a]) for a, m in pairs if a in results.get(m, {})]


def _columns(results: dict) -> list[str]:
    """The names of the scores, in their order; fast answers may lack some."""
    most = max((figures for *_, figures in _measured(results)), key=len, default={})
    return [name for name in most if not name.endswith('_se')]


def _label(name: str) -> str:
    return LABELS.get(name, name)


def _cell(figures: dict, name: str) -> str:
    if name not in figures:
        return ''
    if name == 'tokens':
        return f'{figures[name]:.1f}'
    error = figures.get(f'{name}_se')
    return f'{figures[name]:.3f}' + ('' if error is None else f' ± {error:.3f}')


def _change(before: dict, after: dict, gain: dict, name: str) -> tuple[str, str]:
    """The change of a figure and its 95 % interval, '' for a figure without one."""
    if name not in before:
        return '', ''
    if name in gain:
        return f'{gain[name]["difference"]:+.3f}', _interval(gain[name]['ci'])
    change = after[name] - before[name]
    return f'{change:+.1f}' if name == 'tokens' else f'{change:+.3f}', ''


def _interval(ci: list[float]) -> str:
    return f'[{ci[0]:+.3f}, {ci[1]:+.3f}]'


def _verdict(results: dict) -> str:
    """The gain of slow answers in a sentence, '' unless they were measured before and after.

    It is told by F, or by the first score of a method without F.
    """
    slow = [figures for answer, _, figures in _measured(results) if answer == 'slow']
    if len(slow) < 2:
        return ''
    columns, gain = _columns(results), results.get('gain', {})
    name = 'f' if 'f' in columns else columns[0]
    before, after = (figures[name] for figures in slow)
    change, interval = _change(*slow, gain.get('slow', {}), name)
    text = f'Slow {_label(name)}: {before:.3f} before RL, {after:.3f} after: {change}'
    if not interval:
        return text
    text += f', 95 % interval {interval}, paired over {gain["clips"]} clips'
    paired = gain['slow'][name]
    if not paired.get('se'):
        return text
    return f'{text} ({paired["difference"] / paired["se"]:.1f} standard errors)'


def _headline(results: dict) -> str:
    if not _measured(results):
        return ''
    head = ''.join(
        f'<th scope="col">{html.escape(_label(name))}</th>' for name in _columns(results)
    )
    return f"""
<p class="lead">{_verdict(results)}</p>
<div class="scroll"><table><thead><tr><th></th><th></th>{head}</tr></thead>
{''.join(_rows(results, answer) for answer in ANSWERS)}</table></div>
<p class="note">Means over {results['clips']} clips ± standard error. Fast answers come at once,
slow ones after reasoning; form is the share of answers with all tags; tokens is the mean length of
a branch. {_note_on_gain(results)} Figures measured on the embedded stage, whose clips the project
draws from a seed, are figures of that stage: they do not compare with published benchmarks.</p>"""


def _note_on_gain(results: dict) -> str:
    if 'gain' not in results:
        return ''
    return (
        f'A change is the mean difference of the same {results["gain"]["clips"]} clips, after '
        'minus before; the interval below it holds 95 % of its bootstrap resamples over clips.'
    )


def _rows(results: dict, answer: str) -> str:
    """The rows of an answer, before, after and the change, as a <tbody>."""
    columns = _columns(results)
    measured = [(m, figures) for name, m, figures in _measured(results) if name == answer]
    rows = [(MOMENTS[m], [_cell(figures, name) for name in columns]) for m, figures in measured]
    if len(measured) == 2:
        (_, before), (_, after) = measured
        gain = results.get('gain', {}).get(answer, {})
        changes = [_change(before, after, gain, name) for name in columns]
        rows.append(('change', [f'{x}<small>{interval}</small>' for x, interval in changes]))
    lines = [
        f'<tr><th class="{answer}">{answer}</th><th scope="row">{label}</th>'
        f'{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for label, cells in rows
    ]
    return f'<tbody>{"".join(lines)}</tbody>'


def _plane(results: dict) -> str:
    measured = _measured(results)
    if not measured or not {'recall', 'precision'} <= set(_columns(results)):
        return ''
    from mer_jax.run.charts import draw_plane  # matplotlib takes half a second to import

    points = {
        answer: [(moment == 'cold_start', row) for name, moment, row in measured if name == answer]
        for answer in ANSWERS
    }
    return f"""
<h2>Fast against slow</h2>
<p class="note">Recall and precision before RL (hollow) and after (full), with standard errors.
Along a dashed line F is constant.</p>
<figure class="plane">{draw_plane(points)}</figure>"""


def _curves(records: list[dict], order: list[str]) -> str:
    sections = []
    for stage in dict.fromkeys(record['stage'] for record in records):
        curves = _series(records, stage)
        names = _sorted((name for name in curves if not name.endswith('_std')), order)
        figures = []
        for name in names:
            strong = smooth(curves[name][1])
            ends = f'{strong[0]:.3g} → {strong[-1]:.3g}'
            caption = f'<figcaption><b>{html.escape(name)}</b><span>{ends}</span></figcaption>'
            figures.append(f'<figure>{caption}{draw_curves([curves[name]])}</figure>')
        sections.append(f"""
<h2>Learning curves: {html.escape(stage.replace('_', ' '))}</h2>
<p class="note">Over steps; the strong line is a moving average.</p>
<div class="grid">{''.join(figures)}</div>""")
    return ''.join(sections)


def _spreads(records: list[dict], order: list[str]) -> str:
    curves = _series(records, 'train')
    names = _sorted((name for name in curves if name.endswith('_std')), order)
    if not names:
        return ''
    keys = ''.join(
        f'<span class="key" style="color: var(--{color})">{html.escape(name[:-4])}</span>'
        for name, color in zip(names, curve_colors(len(names)), strict=True)
    )
    chart = draw_curves([curves[name] for name in names], WIDE)
    return f"""
<h2>Spread of the reward terms within groups</h2>
<p class="note">The standard deviation of each term among the branches of a prompt: where it is
zero a term teaches nothing, and in a plain sum the term with the largest one dominates.</p>
<figure class="wide"><figcaption>{keys}</figcaption>{chart}
</figure>"""


def _sorted(names: Iterable[str], order: list[str]) -> list[str]:
    """Names of figures or of their spreads: those of `order` first, then the others by letter."""

    def place(name: str) -> tuple[int, str]:
        term = name.removesuffix('_std')
        return (order.index(term) if term in order else len(order), term)

    return sorted(names, key=place)


def _series(records: list[dict], stage: str) -> dict[str, np.ndarray]:
    """Each figure of a stage as steps and values: f[2, n]."""
    kept = [record for record in records if record['stage'] == stage]
    names = [n for n in dict.fromkeys(n for r in kept for n in r) if n not in ('stage', 'step')]
    return {n: np.array([(r['step'], r[n]) for r in kept if n in r], np.float64).T for n in names}


def _examples(examples: list[dict]) -> str:
    return '<h2>Clips</h2>' + ''.join(map(_clip, examples)) if examples else ''


def _clip(example: dict) -> str:
    found = {word.lower() for word in example.get('hit', example['gold'])}
    gold = ''.join(f'<span class="word">{html.escape(word)}</span>' for word in example['gold'])
    answers = [
        f'<div><h4>{label}</h4>{_words("fast", example[moment]["fast"]["words"], found)}'
        f'{_slow(example[moment]["slow"], found)}</div>'
        for moment, label in zip(('before', 'after'), MOMENTS.values(), strict=True)
        if moment in example
    ]
    return f"""
<article class="clip"><h3>{html.escape(example['id'])}</h3>{_strip(example['frames'])}
<blockquote>{html.escape(example['subtitle'])}</blockquote>
<div class="words"><i>gold</i>{gold}</div><div class="grid">{''.join(answers)}</div></article>"""


def _slow(answer: dict, found: set[str]) -> str:
    """Words, reasoning and reflection of a slow answer; one without its form is shown whole."""
    thought = answer['think'] if answer['formed'] else answer['text']
    scores = [f'{name} {answer[name]:.2f}' for name in SECOND_LOOK if name in answer]
    reflection = f'<small>{", ".join(scores)}</small>' if scores else ''
    return (
        f'{_words("slow", answer["words"], found)}'
        f'<div class="thought">{html.escape(thought.strip())}</div>{reflection}'
    )


def _words(answer: str, words: list[str], found: set[str]) -> str:
    kinds = ['hit' if word.lower() in found else 'miss' for word in words]
    marked = ''.join(
        f'<span class="word {kind}">{html.escape(word)}</span>'
        for word, kind in zip(words, kinds, strict=True)
    )
    named = marked or '<small>names nothing</small>'
    return f'<div class="words"><i class="{answer}">{answer}</i>{named}</div>'


def _strip(frames: np.ndarray | None) -> str:
    """Frames of a clip side by side as one embedded PNG."""
    if frames is None or not len(frames):
        return ''
    shown = np.unique(np.linspace(0, len(frames) - 1, FRAMES).round().astype(int))
    picture = Image.fromarray(np.concatenate([frames[k] for k in shown], axis=1))
    picture.thumbnail((picture.width, FRAME_HEIGHT))
    file = io.BytesIO()
    picture.save(file, format='PNG')
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{len(shown)} frames" src="data:image/png;base64,{data}">'


def _run(results: dict, config: dict, commit: str | None) -> str:
    facts = {'seed': results.get('seed'), 'clips': results.get('clips')}
    facts |= {'hardware': results.get('hardware', hardware()), 'commit': commit}
    if evaluated := results.get('evaluated'):
        facts['evaluated policy'] = f'{evaluated["policy"]}, of update {evaluated["update"]}'
    for stage, seconds in results.get('seconds', {}).items():
        facts[stage.replace('_', ' ')] = f'{seconds:.1f} s'
    rows = ''.join(
        f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(str(fact))}</td></tr>'
        for name, fact in facts.items()
        if fact is not None
    )
    return f"""
<h2>Run</h2><div class="scroll"><table><tbody>{rows}</tbody></table></div>
<details><summary>Configuration</summary>
<pre>{html.escape(json.dumps(config, indent=2, default=str))}</pre></details>"""
