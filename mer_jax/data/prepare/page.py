"""The report of a prepared manifest as one HTML page: problems, histograms, first frames."""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from PIL import Image

from mer_jax.data.media.container import MediaError
from mer_jax.data.media.look import look_at

MOST_ROWS = 20  # of a table
MOST_SHOWN = 12  # clips with pictures
SHOWN_FRAMES = 4
WIDTH, HEIGHT = 320, 96  # of a histogram
STYLE = """
:root { color-scheme: light dark; --ink: #222; --dim: #666; --paper: #fff; --bar: #3b6fb6;
  --rule: #ddd; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --dim: #999; --paper: #16181c;
  --bar: #7aa7e0; --rule: #333; } }
body { margin: 0 auto; max-width: 64rem; padding: 2rem 1.2rem 4rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; }
.grid { display: grid; gap: 1.2rem 1.6rem;
  grid-template-columns: repeat(auto-fill, minmax(min(18rem, 100%), 1fr)); }
figure { margin: 0; } figcaption, .note { color: var(--dim); font-size: .85rem; }
svg, img { display: block; width: 100%; height: auto; } rect { fill: var(--bar); }
text { fill: var(--dim); font: 10px system-ui, sans-serif; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0;
  border-bottom: 1px solid var(--rule); font-weight: 400; }
"""


def page(report: Mapping[str, Any], clips: Sequence[tuple[str, str, str]]) -> str:
    """The page of a report; `clips` are shown with their first frames: (id, words, film)."""
    body = [
        _head(report),
        _problems(report),
        _histograms(report),
        _bars('Words', report['words'], f'{len(report["words"])} different words'),
        _bars('Words that no wheel knows', report['unknown_words'], ''),
        _table('Clips with a file in common', _duplicate_rows(report), ('clips', 'sides')),
        _table(
            'Sources on more than one side',
            [(one['source'], one['clips'], _listed(one['sides'])) for one in _leaks(report)],
            ('source', 'clips', 'sides'),
        ),
        _table(
            'Rows left out',
            [(one['where'], one['reason']) for one in report['left_out']['examples']],
            ('where', 'why'),
        ),
        _frames(clips),
    ]
    title = f'Report of {report["manifest"]}'
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{html.escape(title)}</title><style>{STYLE}</style></head>
<body><h1>{html.escape(title)}</h1>{''.join(body)}</body></html>
"""


def _head(report: Mapping[str, Any]) -> str:
    """The counts, and how the folder was read."""
    kinds = ', '.join(f'{n} {kind}' for kind, n in report['kinds'].items())
    sides = ', '.join(f'{side} {n}' for side, n in report['sides'].items())
    lines = [
        f'{report["clips"]} clips from {report["folder"]}, read as {report["layout"]}: {kinds}.',
        f'Sides ({report["sides_are"]}): {sides}.',
        *(f'{file}: {said}' for file, said in report['columns'].items()),
        *report['notes'],
    ]
    return ''.join(f'<p>{html.escape(line)}</p>' for line in lines)


def _problems(report: Mapping[str, Any]) -> str:
    rows = [(count, text) for count, text in report['problems'] if count]
    if not rows:
        return '<h2>Problems</h2><p>None was found.</p>'
    return _table('Problems', rows, ('number', 'what, and the way out'))


def _histograms(report: Mapping[str, Any]) -> str:
    media = report['media']
    shown = (
        ('seconds', media['seconds']),
        ('frames', media['frames']),
        ('frames a second', media['fps']),
        ('height in pixels', media['height']),
        ('seconds of sound', media['sound_seconds']),
        ('words per clip', report['words_per_clip']),
        ('words of a subtitle', report['subtitle_words']),
    )
    figures = [_histogram(title, values) for title, values in shown if values['count']]
    return f'<h2>Distributions</h2><div class="grid">{"".join(figures)}</div>'


def _histogram(title: str, summary: Mapping[str, Any]) -> str:
    """A histogram as SVG; the last bar holds all values beyond it."""
    counts = summary['histogram']['counts']
    low, width = summary['histogram']['low'], summary['histogram']['width']
    bar, most = WIDTH / len(counts), max(counts)
    bars = ''.join(
        f'<rect x="{i * bar:.1f}" y="{HEIGHT * (1 - n / most):.1f}" width="{bar * 0.9:.1f}" '
        f'height="{HEIGHT * n / most:.1f}"><title>{n}</title></rect>'
        for i, n in enumerate(counts)
    )
    ends = (
        f'<text x="0" y="{HEIGHT + 14}">{low:g}</text><text x="{WIDTH}" y="{HEIGHT + 14}" '
        f'text-anchor="end">{low + width * len(counts):g}</text>'
    )
    said = (
        f'{title}: {summary["count"]}, least {summary["least"]:g}, median {summary["median"]:g}, '
        f'greatest {summary["greatest"]:g}'
    )
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT + 18}">{bars}{ends}</svg>'
        f'<figcaption>{said}</figcaption></figure>'
    )


def _bars(title: str, counts: Mapping[str, int], note: str) -> str:
    """The most frequent names with a bar each."""
    if not counts:
        return ''
    most = max(counts.values())
    rows = ''.join(
        f'<tr><td>{html.escape(name)}</td><td>{count}</td><td style="width:60%"><svg '
        f'viewBox="0 0 300 8"><rect width="{300 * count / most:.1f}" height="8"/></svg></td></tr>'
        for name, count in list(counts.items())[:MOST_ROWS]
    )
    more = (
        f'{len(counts) - MOST_ROWS} more are in the JSON beside this page'
        if len(counts) > MOST_ROWS
        else ''
    )
    said = '. '.join(filter(None, [note, more]))
    return f'<h2>{title}</h2><p class="note">{html.escape(said)}</p><table>{rows}</table>'


def _table(title: str, rows: Sequence[Sequence[Any]], names: Sequence[str]) -> str:
    if not rows:
        return ''
    head = ''.join(f'<th>{name}</th>' for name in names)
    cells = (''.join(f'<td>{html.escape(str(cell))}</td>' for cell in row) for row in rows)
    body = ''.join(f'<tr>{row}</tr>' for row in list(cells)[:MOST_ROWS])
    more = f'<p class="note">{len(rows) - MOST_ROWS} more</p>' if len(rows) > MOST_ROWS else ''
    return f'<h2>{title}</h2><table><tr>{head}</tr>{body}</table>{more}'


def _duplicate_rows(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    groups = report['duplicates']['examples']
    return [(', '.join(one['clips']), _listed(one['sides'])) for one in groups]


def _leaks(report: Mapping[str, Any]) -> list[dict]:
    return report['leaks']['examples']


def _listed(counts: Mapping[str, int]) -> str:
    return ', '.join(f'{name} {count}' for name, count in counts.items())


def _frames(clips: Iterable[tuple[str, str, str]]) -> str:
    """The first clips with four frames each; those that cannot be read are left out."""
    figures = []
    for name, words, path in clips:
        try:
            frames = look_at(path, 1.0).frames
        except MediaError:
            continue
        if not len(frames):
            continue
        step = max(len(frames) // SHOWN_FRAMES, 1)
        shown = ''.join(f'<img src="{_picture(one)}" alt="">' for one in frames[::step][:4])
        said = html.escape(f'{name}: {words}')
        row = f'<div style="display:flex">{shown}</div>'
        figures.append(f'<figure>{row}<figcaption>{said}</figcaption></figure>')
    if not figures:
        return ''
    return f'<h2>Clips</h2><div class="grid">{"".join(figures)}</div>'


def _picture(frame) -> str:
    """A frame as an address that holds it."""
    held = io.BytesIO()
    Image.fromarray(frame).save(held, 'JPEG', quality=80)
    return f'data:image/jpeg;base64,{base64.b64encode(held.getvalue()).decode()}'
