"""Tables in parquet files; the library that reads and writes them is optional."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mer_jax.storage.objects import local_copy

INSTALL = 'pip install pyarrow'


def parquet_library():
    """The module pyarrow.parquet; ValueError says what to install."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise ValueError(f'parquet files need pyarrow, which is not installed: {INSTALL}') from None
    return pyarrow.parquet


def read_parquet(path: str | os.PathLike) -> Iterator[dict[str, Any]]:
    """The rows of a parquet file; ValueError if it is none."""
    library = parquet_library()
    try:
        with local_copy(path) as held, library.ParquetFile(os.fspath(held)) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except (OSError, ValueError) as error:
        raise ValueError(f'{path}: not a parquet file that can be read: {error}') from None


def write_parquet(path: str | os.PathLike, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows with the same columns to a parquet file, completely or not at all."""
    library = parquet_library()
    import pyarrow

    draft = f'{os.fspath(path)}.tmp'
    library.write_table(pyarrow.Table.from_pylist(list(map(dict, rows))), draft)
    os.replace(draft, path)
