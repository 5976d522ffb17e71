"""The names in the tables of docs/METRICS.md, and those of a workdir that it lacks."""

import json
import re

from programs import ROOT

from mer_jax.run.records import whole_lines

PAGE = ROOT / 'docs/METRICS.md'
FILES = {  # a file of a workdir: the headings of its tables
    'records.jsonl': ('records.jsonl, stage',),
    'timings.jsonl': ('timings.jsonl',),
    'validation.jsonl': ('validation.jsonl',),
    'results.json': ('results.json', 'validation.jsonl'),
}
PLACE = {'stage', 'step'}  # of a line
GROUPS = {'fast', 'slow'}  # of scores


def sections() -> dict[str, list[list[str]]]:
    """The tables of each heading: the names of their rows, table by table."""
    found: dict[str, list[list[str]]] = {}
    heading = ''
    for line in PAGE.read_text().splitlines():
        if line.startswith('## '):
            heading = line[3:]
        elif line.startswith('| name |'):
            found.setdefault(heading, []).append([])
        elif line.startswith('| `'):
            found[heading][-1] += re.findall(r'`([^`]+)`', line.split('|')[1])
    return found


def named(start: str) -> set[str]:
    """All names in the tables of the headings that begin so."""
    found = [tables for heading, tables in sections().items() if heading.startswith(start)]
    return {name for tables in found for table in tables for name in table}


def keys_of(value) -> set[str]:
    """All keys of a nested JSON object."""
    if not isinstance(value, dict):
        return set()
    return set(value).union(*map(keys_of, value.values()))


def is_named(name: str, names: set[str]) -> bool:
    """Whether a name, or its ending, is among those of the page."""
    endings = [known.removeprefix('…') for known in names if known.startswith('…')]
    bases = {name.removesuffix(ending) for ending in endings if name.endswith(ending)}
    return name in names or any(base in names for base in bases)


def unknown_names(workdir, own=()) -> list[str]:
    """The names in the files of a run that the page lacks; `own` are its own rewards."""
    missing = []
    for file, starts in FILES.items():
        names = set().union(*map(named, starts)) | PLACE | GROUPS | set(own)
        for name in sorted(names_in(workdir / file)):
            if not is_named(name, names):
                missing.append(f'{file}: {name}')
    return missing


def names_in(file) -> set[str]:
    """All names in a file of JSON lines, or in one of JSON."""
    if file.suffix == '.jsonl':
        return set().union(*map(keys_of, whole_lines(file)[0]))
    return keys_of(json.loads(file.read_text()))
