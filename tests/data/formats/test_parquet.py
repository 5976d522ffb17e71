"""Rows in parquet files, and files that are none."""

import sys

import pytest

from mer_jax.data.formats.parquet import read_parquet, write_parquet


def test_rows_come_back_in_order(tmp_path):
    pytest.importorskip('pyarrow')
    rows = [{'name': 'a', 'n': 1}, {'name': 'b', 'n': None}]
    write_parquet(tmp_path / 'x.parquet', rows)
    assert list(read_parquet(tmp_path / 'x.parquet')) == rows
    assert [path.name for path in tmp_path.iterdir()] == ['x.parquet']


def test_a_file_that_is_no_parquet_is_named(tmp_path):
    pytest.importorskip('pyarrow')
    (tmp_path / 'x.parquet').write_bytes(b'no')
    with pytest.raises(ValueError, match=r'x.parquet: not a parquet file'):
        list(read_parquet(tmp_path / 'x.parquet'))


def test_without_pyarrow_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pyarrow.parquet', None)
    with pytest.raises(ValueError, match='pip install pyarrow'):
        list(read_parquet(tmp_path / 'x.parquet'))
