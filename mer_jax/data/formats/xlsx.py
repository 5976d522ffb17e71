"""The first sheet of an Excel workbook as rows of text, read with the standard library alone.

A workbook may come from anywhere: its unpacked size is bounded, and a document type, which could
name files or expand without end, is refused.
"""

import io
import posixpath
import re
import zipfile
from pathlib import PurePath
from xml.etree import ElementTree

MOST_BYTES = 32 * 2**20  # bytes of one part, unpacked; the largest published one has 0.2 MB
_MAIN = '{http://schemas.openxmlformats.org/spreadsheetml/2006/main}'
_LINK = '{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id'
_COLUMN = re.compile('[A-Z]+')


def read_sheet(file: PurePath, data: bytes) -> list[dict[str, str]]:
    """The rows below the first, as text under the names of the first; an empty cell is ''.

    `file` names the workbook in errors. ValueError for a workbook that cannot be read.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as book:
            shared = _shared(book)
            sheet = _part(book, _first_sheet(book))
        rows = [_cells(row, shared) for row in sheet.iter(f'{_MAIN}row')]
    except ValueError as error:
        raise ValueError(f'{file}: {error}') from error
    except Exception as error:  # archives that are damaged raise errors of any type
        raise ValueError(f'{file}: not an Excel workbook (.xlsx): {error}') from error
    names = {column: name.strip() for column, name in rows[0].items() if name} if rows else {}
    return [
        {name: row.get(column, '') for column, name in names.items()}
        for row in rows[1:]
        if any(row.values())
    ]


class _Builder(ElementTree.TreeBuilder):
    """A tree of elements that refuses a document type."""

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise ValueError(f'it holds a document type ({name}), which no workbook needs')


def _part(book: zipfile.ZipFile, name: str) -> ElementTree.Element:
    """The XML of one part of the workbook."""
    with book.open(name) as file:
        text = file.read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise ValueError(f'{name} unpacks to more than {MOST_BYTES} bytes: too large for a wheel')
    return ElementTree.fromstring(text, ElementTree.XMLParser(target=_Builder()))


def _first_sheet(book: zipfile.ZipFile) -> str:
    """The part that holds the first sheet."""
    sheets = _part(book, 'xl/workbook.xml').findall(f'{_MAIN}sheets/{_MAIN}sheet')
    links = _part(book, 'xl/_rels/workbook.xml.rels')
    target = {link.get('Id'): link.get('Target') for link in links}
    if not sheets or target.get(sheets[0].get(_LINK)) is None:
        raise ValueError('it has no sheet')
    return posixpath.join('/xl', target[sheets[0].get(_LINK)]).lstrip('/')


def _shared(book: zipfile.ZipFile) -> list[str]:
    """The strings that cells name by number."""
    if 'xl/sharedStrings.xml' not in book.namelist():
        return []
    return [_text(item) for item in _part(book, 'xl/sharedStrings.xml').iter(f'{_MAIN}si')]


def _text(item: ElementTree.Element) -> str:
    """The text of an item in one or several runs, phonetic guides left out."""
    parts = item.findall(f'{_MAIN}t') + item.findall(f'{_MAIN}r/{_MAIN}t')
    return ''.join(part.text or '' for part in parts)


def _cells(row: ElementTree.Element, shared: list[str]) -> dict[str, str]:
    """The text of each cell of a row, by the letters of its column."""
    return {_column(cell): _value(cell, shared) for cell in row.iter(f'{_MAIN}c')}


def _column(cell: ElementTree.Element) -> str:
    found = _COLUMN.match(cell.get('r', ''))
    if found is None:
        raise ValueError('a cell has no reference such as r="A1"')
    return found[0]


def _value(cell: ElementTree.Element, shared: list[str]) -> str:
    inline, value = cell.find(f'{_MAIN}is'), cell.findtext(f'{_MAIN}v', '')
    if inline is not None:
        return _text(inline)
    if cell.get('t') != 's' or not value:
        return value
    if int(value) not in range(len(shared)):
        raise ValueError(f'a cell names string {value} of {len(shared)}')
    return shared[int(value)]
