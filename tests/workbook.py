"""A small Excel workbook as tests write it."""

import io
import zipfile
from xml.sax.saxutils import escape

_MAIN = 'http://schemas.openxmlformats.org/spreadsheetml/2006/main'
_LINKS = 'http://schemas.openxmlformats.org/officeDocument/2006/relationships'
_PACKAGE = 'http://schemas.openxmlformats.org/package/2006/relationships'


def workbook(rows):
    """The bytes of a workbook of one sheet that holds these rows of text; '' leaves a cell out."""
    strings = list(dict.fromkeys(cell for row in rows for cell in row if cell))
    sheet = ''.join(
        f'<row r="{number}">'
        + ''.join(
            f'<c r="{chr(65 + column)}{number}" t="s"><v>{strings.index(cell)}</v></c>'
            for column, cell in enumerate(row)
            if cell
        )
        + '</row>'
        for number, row in enumerate(rows, 1)
    )
    items = ''.join(f'<si><t>{escape(string)}</t></si>' for string in strings)
    parts = {
        'xl/workbook.xml': f'<workbook xmlns="{_MAIN}" xmlns:r="{_LINKS}"><sheets>'
        '<sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>',
        'xl/_rels/workbook.xml.rels': f'<Relationships xmlns="{_PACKAGE}">'
        '<Relationship Id="rId1" Target="worksheets/sheet1.xml"/></Relationships>',
        'xl/sharedStrings.xml': f'<sst xmlns="{_MAIN}">{items}</sst>',
        'xl/worksheets/sheet1.xml': f'<worksheet xmlns="{_MAIN}"><sheetData>{sheet}</sheetData>'
        '</worksheet>',
    }
    data = io.BytesIO()
    with zipfile.ZipFile(data, 'w', zipfile.ZIP_DEFLATED) as book:
        for name, text in parts.items():
            book.writestr(name, text)
    return data.getvalue()
