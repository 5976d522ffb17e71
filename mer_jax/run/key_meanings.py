"""The keys of a config with their values, meanings, units and sources.

Meanings and units are the comments of the default configs, read from their source.
"""

import ast
import dataclasses
import inspect
import io
import re
import tokenize
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import ModuleType

from mer_jax.run import defaults
from mer_jax.run.all_defaults import DEFAULTS
from mer_jax.run.config_rules import flat
from mer_jax.run.config_values import SIZES, WEIGHTS

CONFIGS = {'c': '', 'rules': 'mesh.rules.'}  # names of a config in its source: the keys begin so
UNIT = re.compile(r' \[([^\[\]]+)\]$')
OF_OWN_REWARD = 'weight of a reward of your own'
OF_SIZE = 'size of the model, as in the config.json of a release'
LEGEND = {
    'house': 'a choice of this project',
    'flag': 'given on the command line',
    'file': 'set by the config file or its variant',
}


@dataclasses.dataclass(frozen=True)
class Key:
    """A key of a config as people see it; `unit` is '' for a pure number, a text or a switch."""

    name: str
    value: object
    meaning: str
    unit: str
    source: str  # 'paper', 'code', or a key of LEGEND


def keys_of_run(c, given: Collection[str] = ()) -> tuple[list[Key], dict[str, str]]:
    """The keys of the config of a run, and what their sources are called in full.

    `given` are the keys that were set on the command line. ValueError for an unknown method.
    """
    if 'method' not in c or c.method not in DEFAULTS:
        raise ValueError(f'method: must be set in the config, to one of {", ".join(DEFAULTS)}')
    module = DEFAULTS[c.method]
    families = [
        flat(module.published(family)) for family in sorted(set(defaults.FAMILIES.values()))
    ]
    known = [flat(module.stage()), *families]
    named = {key: name for name, (_, keys) in module.SOURCES.items() for key in keys}
    meanings = meanings_of(dict.fromkeys([defaults, module]))
    legend = {name: title for name, (title, _) in module.SOURCES.items()} | LEGEND
    return described(flat(c), meanings, given, known, named), legend


def described(
    values: Mapping,
    meanings: Mapping[str, tuple[str, str]],
    given: Collection[str],
    known: Sequence[Mapping],
    named: Mapping[str, str],
) -> list[Key]:
    """The keys of flat values.

    `known` are default values, the published ones last. `named` holds the sources of the published
    values that are no choice of this project.
    """
    keys = []
    for name, value in values.items():
        meaning, unit = meanings.get(name) or (fallback(name), '')
        source = 'house'
        if name in given:
            source = 'flag'
        elif name in named and any(one.get(name) == value for one in known[1:]):
            source = named[name]
        elif all(name in one and one[name] != value for one in known):
            source = 'file'
        keys.append(Key(name, value, meaning, unit, source))
    return keys


def fallback(name: str) -> str:
    """The meaning of a key that no default config has; '' for an unknown one."""
    if name.startswith(WEIGHTS):
        return OF_OWN_REWARD
    return OF_SIZE if name.startswith(tuple(SIZES)) else ''


def keys_as_text(keys: Sequence[Key], legend: Mapping[str, str], prefix: str = '') -> str:
    """The keys that begin with a prefix, two lines each; ValueError if there are none."""
    shown = [key for key in keys if key.name.startswith(prefix)]
    if not shown:
        sections = sorted({key.name.partition('.')[0] for key in keys})
        raise ValueError(
            f'--print_config={prefix}: no key begins so; name one of {", ".join(sections)}, or '
            'leave the value out for all keys'
        )
    lines = []
    for key in shown:
        unit = f' {key.unit}' if key.unit else ''
        lines += [f'{key.name} = {key.value!r}{unit}  ({key.source})', f'    {key.meaning}']
    used = {key.source for key in shown}
    named = [f'{name}: {title}' for name, title in legend.items() if name in used]
    return '\n'.join([*lines, '', 'Sources: ' + '; '.join(named)])


def meanings_of(modules: Collection[ModuleType]) -> dict[str, tuple[str, str]]:
    """The meaning and the unit of every key that has a comment in these modules.

    Comments of several places are joined in the order of the modules.
    """
    found: dict[str, list[str]] = {}
    for module in modules:
        for name, comment in comments_of(inspect.getsource(module)):
            found.setdefault(name, []).append(comment)
    meanings = {}
    for name, comments in found.items():
        units = [match[1] for match in map(UNIT.search, comments) if match]
        text = '. '.join(UNIT.sub('', comment).rstrip('.') for comment in comments)
        meanings[name] = text, units[0] if units else ''
    return meanings


def comments_of(source: str) -> Iterator[tuple[str, str]]:
    """The dotted keys that a source sets and their comments: those beside them, then those above.

    Values of published settings have comments on the value, not on the key; they are left out.
    """
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {t.start[0]: t for t in tokens if t.type == tokenize.COMMENT}
    for function in ast.parse(source).body:
        if not isinstance(function, ast.FunctionDef) or function.name == 'published':
            continue
        for name, first, last in places_of(function):
            beside = comments.get(last)
            above = first - 1
            while above in comments and comments[above].line.lstrip().startswith('#'):
                above -= 1
            lines = [comments[line] for line in range(above + 1, first)]
            for group in ([beside] if beside else [], lines):
                if group:
                    yield name, ' '.join(one.string.lstrip('# ') for one in group)


def places_of(function: ast.FunctionDef) -> Iterator[tuple[str, int, int]]:
    """The keys that a function sets, with the first and the last line of each."""
    for node in ast.walk(function):
        if not isinstance(node, ast.Assign):
            continue
        for name in filter(None, map(dotted, node.targets)):
            inner = keywords_of(node.value)
            if inner:
                for keyword in inner:
                    yield f'{name}.{keyword.arg}', keyword.lineno, keyword.end_lineno
            else:
                yield name, node.lineno, node.end_lineno


def dotted(target: ast.expr) -> str:
    """The key that an assignment sets, '' for anything else."""
    parts = []
    while isinstance(target, ast.Attribute):
        parts.append(target.attr)
        target = target.value
    if not parts or not isinstance(target, ast.Name) or target.id not in CONFIGS:
        return ''
    return CONFIGS[target.id] + '.'.join(reversed(parts))


def keywords_of(value: ast.expr) -> list[ast.keyword]:
    """The keywords of ConfigDict(dict(…)); [] for another value."""
    while isinstance(value, ast.Call) and not value.keywords and len(value.args) == 1:
        (value,) = value.args
    named = isinstance(value, ast.Call) and isinstance(value.func, ast.Name)
    return value.keywords if named and value.func.id == 'dict' else []
