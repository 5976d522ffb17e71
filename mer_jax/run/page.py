"""A self-contained HTML page: its colours, light and dark, its style, its head."""

import html

from mer_jax.run.curves import DARK, LIGHT, css_variables

COLORS = f"""
:root {{ color-scheme: light dark; {css_variables(LIGHT)} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {css_variables(DARK)} }} }}
"""
STYLE = """
@media (max-width: 40rem) { table { font-size: .85rem; } } * { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 2.5rem 1.25rem 4rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.55 system-ui, "Segoe UI", sans-serif; overflow-wrap: anywhere; }
h1, h2 { font: 600 1.9rem/1.2 Georgia, "Times New Roman", serif; margin: 0 0 .4rem; }
h2 { font-size: 1.25rem; margin: 3rem 0 .3rem; }
h3, h4 { font-size: .95rem; margin: 0; }
h4, small, .note, figcaption { color: var(--dim); font-size: .84rem; }
p { max-width: 46rem; margin: .3rem 0 1rem; }
.lead { margin: 1.2rem 0; font-size: 1.1rem; } .scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .8rem .4rem 0; text-align: left; white-space: nowrap; font-weight: 400; }
thead th { border-bottom: 1px solid var(--ink); color: var(--dim); }
tbody { border-bottom: 1px solid var(--rule); }
td small { display: block; line-height: 1.2; }
.fast { color: var(--fast); font-weight: 600; } .slow { color: var(--slow); font-weight: 600; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(17rem, 100%), 1fr));
  gap: 1.2rem 1.6rem; }
figcaption { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 1rem; }
figcaption b { color: var(--ink); }
figure { margin: 0; break-inside: avoid; } svg { display: block; width: 100%; height: auto; }
.wide { max-width: 36rem; } .wide figcaption { justify-content: flex-start; }
.plane { max-width: 30rem; } .key::before { content: "\\25ac\\00a0"; }
.clip { margin: 1.2rem 0; padding: 1rem 1.1rem; border: 1px solid var(--rule); border-radius: 8px;
  background: var(--card); break-inside: avoid; }
.clip img { width: 36rem; max-width: 100%; margin: .7rem 0 0; image-rendering: pixelated; }
.clip blockquote { margin: .5rem 0; font: italic 1.02rem/1.5 Georgia, serif; }
.clip .grid { grid-template-columns: repeat(auto-fit, minmax(min(17rem, 100%), 1fr)); }
.thought { font-size: .9rem; white-space: pre-wrap; }
.words { display: flex; flex-wrap: wrap; align-items: center; gap: .3rem; margin: .3rem 0; }
.words i { min-width: 2.4rem; font-style: normal; font-size: .84rem; }
.word { padding: 0 .5rem; border: 1px solid var(--rule); border-radius: 1rem; font-size: .88rem; }
.hit { color: var(--hit); border-color: currentColor; } .hit::before { content: "\\2713\\00a0"; }
.miss { color: var(--miss); border-color: currentColor; } .miss::before { content: "\\2717\\00a0"; }
details { margin: 1rem 0; } summary { cursor: pointer; } pre { overflow: auto; font-size: .8rem; }
@media print { :root { --paper: #fff; --card: #fff; } body { max-width: none; padding: 0; } }
"""


def page(title: str, body: str) -> str:
    """The page of a title, which is escaped, and of a body in HTML."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{html.escape(title)}</title><style>{COLORS}{STYLE}</style></head>
<body><h1>{html.escape(title)}</h1>{body}</body></html>
"""
