"""Checkpoint folders of safetensors files, read and written tensor by tensor.

A tensor is a view of its file, so only the parts in use are in memory. Names are those of the
releases ('model.layers.0.…', 'visual.…', 'audio_tower.…', 'lm_head.weight') for every layout of
files. Nothing is ever unpickled.
"""

import dataclasses
import itertools
import json
import math
import pathlib
import re
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from mer_jax.models.checkpoint.other_formats import other_weights
from mer_jax.storage.objects import read_range, size_of
from mer_jax.storage.paths import is_remote, naming, path_of
from mer_jax.storage.stand_ins import BEGIN, refuse_stand_in

SINGLE, INDEX = 'model.safetensors', 'model.safetensors.index.json'
SHARD = re.compile(r'model-[0-9]{5}-of-([0-9]{5})\.safetensors')
DTYPES = {
    'F64': np.dtype(np.float64),
    'F32': np.dtype(np.float32),
    'F16': np.dtype(np.float16),
    'BF16': np.dtype(jnp.bfloat16),
}
CODES = {dtype: code for code, dtype in DTYPES.items()}
# Prefixes of other layouts, full Omni models and newer `transformers`, and the released ones.
RENAMES = (
    ('thinker.', ''),
    ('model.visual.', 'visual.'),
    ('model.audio_tower.', 'audio_tower.'),
    ('model.language_model.', 'model.'),
)


@dataclasses.dataclass(frozen=True)
class Entry:
    """The place of a tensor: `key` is its name in the file, `begin` its first byte."""

    path: pathlib.Path
    key: str
    code: str  # of its dtype, e.g. BF16
    shape: tuple[int, ...]
    begin: int


def scan(folder: pathlib.Path) -> dict[str, Entry]:
    """Every tensor of a checkpoint folder under its released name; reads the headers alone.

    Raises ValueError naming the file if the folder holds no safetensors checkpoint, or a file is
    missing, cut off or damaged.
    """
    entries = {}
    for path, named in _weight_files(path_of(folder)).items():
        header = read_header(path)
        _require_named(path, header, named)
        for entry in header:
            name = released_name(entry.key)
            if name in entries:
                other = entries[name]
                raise ValueError(
                    f'{path}: {entry.key} is the same weight as {other.key} in {other.path}: '
                    'delete the file that does not belong to the checkpoint'
                )
            entries[name] = entry
    return entries


def _require_named(path: pathlib.Path, header: list[Entry], named: list[str]) -> None:
    """Raises ValueError unless the file holds all tensors that the index names in it."""
    absent = sorted(set(named) - {entry.key for entry in header})
    if absent:
        raise ValueError(
            f'{path.parent / INDEX} names {absent[0]} in {path.name}, and it is not there '
            f'({len(absent)} such tensors): the two belong to different checkpoints; download both '
            'again'
        )


def released_name(key: str) -> str:
    """The released name of a tensor that a file calls `key`."""
    for before, after in RENAMES:
        if key.startswith(before):
            key = after + key.removeprefix(before)
    return key


def view(entry: Entry) -> np.ndarray:
    """The tensor as a read-only view of its file, or read from a bucket; freed with the view.

    Raises ValueError unless it holds floats of 16 to 64 bits.
    """
    if entry.code not in DTYPES:
        raise ValueError(
            f'{entry.path}: {entry.key} has type {entry.code}, and only {", ".join(DTYPES)} can be '
            'read: take a checkpoint that is not quantised'
        )
    dtype = DTYPES[entry.code]
    if is_remote(entry.path):
        end = entry.begin + math.prod(entry.shape) * dtype.itemsize
        data = read_range(entry.path, entry.begin, end)
        return np.frombuffer(data, dtype).reshape(entry.shape)
    return np.asarray(np.memmap(entry.path, dtype, 'r', entry.begin, entry.shape))


def _weight_files(folder: pathlib.Path) -> dict[pathlib.Path, list[str]]:
    """The safetensors files of a checkpoint folder, each with the tensors that its index names."""
    if not folder.is_dir():
        raise ValueError(f'{folder}: there is no such folder; give the folder of a checkpoint')
    if (folder / SINGLE).exists():
        return {folder / SINGLE: []}
    if not (folder / INDEX).exists():
        return _whole_set(folder)
    files = {}
    for key, name in read_index(folder).items():
        files.setdefault(folder / name, []).append(key)
    for path, keys in sorted(files.items()):
        if not path.exists():
            raise ValueError(
                f'{folder / INDEX} names {path.name} for {len(keys)} tensors, and that file is '
                'missing: download it too'
            )
    return dict(sorted(files.items()))


def read_index(folder: pathlib.Path) -> dict[str, str]:
    """The file of each tensor by the index of a folder; ValueError if it is damaged."""
    named = read_json(folder / INDEX).get('weight_map')
    if not isinstance(named, dict) or not named or not all(map(_is_file_name, named.values())):
        raise ValueError(
            f"{folder / INDEX}: 'weight_map' must name a file of the folder for each tensor: copy "
            'or download it again'
        )
    return named


def _whole_set(folder: pathlib.Path) -> dict[pathlib.Path, list[str]]:
    """All of model-00001-of-0000N.safetensors, for a folder without an index.

    ValueError if one is missing, or the folder has no such files.
    """
    shards = [path for path in folder.glob('model-*.safetensors') if SHARD.fullmatch(path.name)]
    if not shards:
        raise ValueError(
            f'{folder}: a checkpoint has {SINGLE} or {INDEX}, and this folder has '
            f'{other_weights(folder)}'
        )
    counts = sorted({int(SHARD.fullmatch(path.name)[1]) for path in shards})
    named = [f'model-{i:05}-of-{counts[-1]:05}.safetensors' for i in range(1, counts[-1] + 1)]
    missing = sorted(set(named) - {path.name for path in shards})
    if missing or len(counts) > 1:
        raise ValueError(
            f'{folder}: has no {INDEX}, and its files are not one whole set of {counts[-1]}'
            f'{f": {missing[0]} is missing" if missing else ""}: download all of them again'
        )
    return {path: [] for path in sorted(shards)}


def _is_file_name(name) -> bool:
    """Whether this is a plain file name, without any folder."""
    return isinstance(name, str) and pathlib.PurePath(name).name == name


def read_json(path: pathlib.Path) -> dict:
    """The object in a JSON file; raises ValueError naming the file if it is damaged."""
    with naming(path):
        data = path.read_bytes()
    refuse_stand_in(path, data)
    try:
        found = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} is not JSON ({error}): copy or download it again') from error
    if not isinstance(found, dict):
        raise ValueError(f'{path} must hold a JSON object, and holds a {type(found).__name__}')
    return found


def read_header(path: pathlib.Path) -> list[Entry]:
    """The tensors of a safetensors file; raises ValueError if it is cut off or damaged."""
    size, begin = size_of(path), read_range(path, 0, BEGIN)
    refuse_stand_in(path, begin)
    length = int.from_bytes(begin[:8], 'little')
    if 8 + length > size:
        raise ValueError(
            f'{path} has {size} bytes and should have a header of {length}: it is cut off or '
            'not a safetensors file; copy or download it again'
        )
    text = read_range(path, 8, 8 + length)
    try:
        header = json.loads(text)
        header.pop('__metadata__', None)
        entries = [_entry_of(path, 8 + length, key, item) for key, item in header.items()]
        _refuse_shared({key: item['data_offsets'] for key, item in header.items()})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(
            f'{path} has a damaged header ({error}): copy or download it again'
        ) from error
    for entry, item in zip(entries, header.values(), strict=True):
        end = 8 + length + item['data_offsets'][1]
        if end > size:
            raise ValueError(
                f'{path} is cut off: {entry.key} ends at byte {end}, and the file has {size}; '
                'copy or download it again'
            )
    return entries


def _entry_of(path: pathlib.Path, start: int, key: str, item: dict) -> Entry:
    """The entry for an item of a header; `start` is the first byte of the data."""
    begin, end = item['data_offsets']
    shape, code = tuple(item['shape']), item['dtype']
    if any(type(n) is not int or n < 0 for n in (begin, end - begin, *shape)):
        raise ValueError(f'{key} has shape {shape} and spans bytes {begin} to {end}')
    if code in DTYPES and end - begin != math.prod(shape) * DTYPES[code].itemsize:
        raise ValueError(f'{key} of shape {shape} and type {code} has {end - begin} bytes')
    return Entry(path, key, code, shape, start + begin)


def _refuse_shared(spans: dict[str, list[int]]) -> None:
    """Raises ValueError if two tensors overlap; `spans` gives the first and end byte of each."""
    in_order = sorted(spans, key=spans.get)
    for key, following in itertools.pairwise(in_order):
        if spans[key][1] > spans[following][0]:
            raise ValueError(f'{key} and {following} overlap')


@dataclasses.dataclass(frozen=True)
class Plan:
    """A tensor to write; `make` fetches it to the host just before."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    make: Callable[[], np.ndarray]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def write_folder(folder: pathlib.Path, plans: list[Plan], shard_bytes: float) -> None:
    """Write the tensors as one safetensors file, or as files of at most `shard_bytes` and an index.

    A larger tensor gets a file of its own. The host holds one tensor at a time.
    """
    shards, held = [[]], 0
    for plan in plans:
        if shards[-1] and held + plan.bytes > shard_bytes:
            shards.append([])
            held = 0
        shards[-1].append(plan)
        held += plan.bytes
    if len(shards) == 1:
        write_file(folder / SINGLE, plans)
        return
    places = {}
    for number, shard in enumerate(shards, 1):
        name = f'model-{number:05}-of-{len(shards):05}.safetensors'
        write_file(folder / name, shard)
        places |= {plan.name: name for plan in shard}
    total = sum(plan.bytes for plan in plans)
    index = {'metadata': {'total_size': total}, 'weight_map': dict(sorted(places.items()))}
    with naming(folder):
        (folder / INDEX).write_text(json.dumps(index, indent=2) + '\n')


def write_file(path: pathlib.Path, plans: list[Plan]) -> None:
    """Write one safetensors file, tensor by tensor."""
    header, end = {'__metadata__': {'format': 'pt'}}, 0
    for plan in plans:
        span = [end, end + plan.bytes]
        header[plan.name] = {
            'dtype': CODES[plan.dtype],
            'shape': plan.shape,
            'data_offsets': span,
        }
        end = span[1]
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)  # so that the data begin at a multiple of 8 bytes
    with naming(path), path.open('wb') as file:
        file.write(len(text).to_bytes(8, 'little') + text)
        for plan in plans:
            array = np.ascontiguousarray(plan.make())
            file.write(array.view(np.uint8).data)
