"""Sheets: cells of all kinds, and refused workbooks."""

import io
import pathlib
import zipfile

import pytest
from workbook import workbook

from mer_jax.data.formats import xlsx
from mer_jax.data.formats.xlsx import read_sheet

FILE = pathlib.Path('some.xlsx')


def packed(parts):
    """The bytes of a zip archive of these parts."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, 'w', zipfile.ZIP_DEFLATED) as book:
        for name, text in parts.items():
            book.writestr(name, text)
    return data.getvalue()


def replaced(data, name, change):
    """A workbook with one of its parts changed."""
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        parts = {part: book.read(part) for part in book.namelist()}
    return packed(parts | {name: change(parts[name])})


def test_rows_are_read_under_the_names_of_the_first_row_and_missing_cells_are_empty():
    data = workbook([['level1', 'level2'], ['Mad', ''], ['', 'b & <c>'], ['', ''], ['d', 'e']])
    assert read_sheet(FILE, data) == [
        {'level1': 'Mad', 'level2': ''},
        {'level1': '', 'level2': 'b & <c>'},
        {'level1': 'd', 'level2': 'e'},
    ]


def test_text_in_runs_inline_text_and_numbers_are_read_and_phonetic_guides_are_not():
    main = 'http://schemas.openxmlformats.org/spreadsheetml/2006/main'
    strings = (
        f'<sst xmlns="{main}"><si><t>name</t></si>'
        '<si><r><t>so</t></r><r><t>rry</t></r><rPh sb="0" eb="1"><t>x</t></rPh></si></sst>'
    )
    cells = (
        f'<worksheet xmlns="{main}"><sheetData><row r="1"><c r="A1" t="s"><v>0</v></c></row>'
        '<row r="2"><c r="A2" t="s"><v>1</v></c></row>'
        '<row r="3"><c r="A3" t="inlineStr"><is><t>glad</t></is></c></row>'
        '<row r="4"><c r="A4"><v>7</v></c><c r="B4"><v>no name</v></c></row>'
        '</sheetData></worksheet>'
    )
    data = replaced(workbook([['name']]), 'xl/sharedStrings.xml', lambda _: strings)
    data = replaced(data, 'xl/worksheets/sheet1.xml', lambda _: cells)
    assert [row['name'] for row in read_sheet(FILE, data)] == ['sorry', 'glad', '7']


def test_a_sheet_without_rows_is_empty():
    assert read_sheet(FILE, workbook([])) == []


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-16'])
def test_a_document_type_is_refused_before_its_entities_are_read(encoding, tmp_path):
    secret = tmp_path / 'secret'
    secret.write_text('hidden')
    bomb = (
        f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE sst [<!ENTITY a SYSTEM '
        f'"file://{secret}"><!ENTITY b "{"z" * 10}">]><sst><si><t>&a;&b;</t></si></sst>'
    ).encode(encoding)
    data = replaced(workbook([['a'], ['b']]), 'xl/sharedStrings.xml', lambda _: bomb)
    with pytest.raises(ValueError, match=r'some.xlsx: it holds a document type \(sst\)'):
        read_sheet(FILE, data)


def test_a_part_that_unpacks_to_too_much_is_refused(monkeypatch):
    monkeypatch.setattr(xlsx, 'MOST_BYTES', 10_000)
    data = replaced(
        workbook([['a'], ['b']]), 'xl/sharedStrings.xml', lambda text: text + b' ' * 20_000
    )
    assert len(data) < 10_000
    with pytest.raises(ValueError, match='some.xlsx: xl/sharedStrings.xml unpacks to more than'):
        read_sheet(FILE, data)


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'', 'not an Excel workbook'),
        (b'level1,level2', 'not an Excel workbook'),
        (packed({'a': ''}), 'not an Excel workbook.*workbook.xml'),
        (packed({'xl/workbook.xml': '<a', 'xl/_rels/workbook.xml.rels': '<a/>'}), 'not an Excel'),
        (
            packed({'xl/workbook.xml': '<a/>', 'xl/_rels/workbook.xml.rels': '<a/>'}),
            'some.xlsx: it has no sheet',
        ),
    ],
)
def test_another_file_is_refused_by_name(data, message):
    with pytest.raises(ValueError, match=message):
        read_sheet(FILE, data)


def test_a_cell_that_refers_to_a_missing_string_is_refused():
    data = replaced(
        workbook([['a'], ['b']]),
        'xl/worksheets/sheet1.xml',
        lambda text: text.replace(b'<v>1</v>', b'<v>99</v>'),
    )
    with pytest.raises(ValueError, match='some.xlsx: a cell names string 99 of 2'):
        read_sheet(FILE, data)
