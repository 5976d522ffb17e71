"""Arrays and plain values from .npz files with pickled members, without running any of their code.

A pickle is a program for a small stack machine. This module interprets only the few steps that make
numbers, texts, containers and NumPy arrays; it has no step that imports or calls anything that a
file names.
"""

import io
import itertools
import pickletools
import re
import sys
import warnings
import zipfile
from typing import Any, BinaryIO

import numpy as np

MOST_BYTES = 2**29  # of all members of a file, unpacked
MOST_STEPS = 2**23  # of a pickle; the labels of a hundred thousand clips take two million
_DTYPE = re.compile(r'[biufSUO]\d{0,6}')
_MARK = object()
_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}
_LITERALS = set(
    'INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT UNICODE SHORT_BINUNICODE '
    'BINUNICODE BINUNICODE8 SHORT_BINBYTES BINBYTES BINBYTES8'.split()
)
_EMPTY = {'EMPTY_LIST': list, 'EMPTY_DICT': dict, 'EMPTY_SET': set, 'EMPTY_TUPLE': tuple}
_TUPLES = {'TUPLE1': 1, 'TUPLE2': 2, 'TUPLE3': 3}
_MAKERS = {  # the same under the names of NumPy 1 and 2
    f'{module} {name}': name
    for module, name in [
        *itertools.product(
            ('numpy.core.multiarray', 'numpy._core.multiarray'), ('_reconstruct', 'scalar')
        ),
        *itertools.product(('numpy.core.numeric', 'numpy._core.numeric'), ('_frombuffer',)),
        ('numpy', 'ndarray'),
        ('numpy', 'dtype'),
        ('_codecs', 'encode'),
        ('collections', 'OrderedDict'),
    ]
}


def read_npz(path) -> dict[str, Any]:
    """The members of an .npz file: an array each, or the value that a pickled 0-d array holds.

    Raises ValueError, naming the file and the member, for a file that is damaged or no .npz, for
    more than MOST_BYTES unpacked, and for a pickle that asks for anything but numbers, texts,
    lists, tuples, dictionaries, sets and NumPy arrays of those. Such a pickle could run code; none
    of it is run.
    """
    with open(path, 'rb') as file:
        try:
            return _members(file)
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from error
        except Exception as error:  # archives and headers that are damaged raise errors of any type
            raise ValueError(f'{path}: not a readable .npz file: {error}') from error


def _members(file: BinaryIO) -> dict[str, Any]:
    """The members of an open archive by their names."""
    with zipfile.ZipFile(file) as archive:
        size = sum(member.file_size for member in archive.infolist())
        if size > MOST_BYTES:
            raise ValueError(f'{size} bytes unpacked, at most {MOST_BYTES} are read')
        return {
            member.filename.removesuffix('.npy'): _member(archive, member)
            for member in archive.infolist()
        }


def unpickle(data: bytes | BinaryIO) -> Any:
    """The plain value or NumPy array that a pickle holds; ValueError for any other pickle."""
    machine = _Machine()
    try:
        with warnings.catch_warnings(action='ignore', category=DeprecationWarning):
            # The warnings are about odd escapes in names, none of which is looked up.
            for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
                if count >= MOST_STEPS:
                    raise ValueError(f'more than {MOST_STEPS} steps')
                machine.step(opcode.name, argument)
        (value,) = machine.stack
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f'its pickle cannot be read: {error}') from error
    return value


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Any:
    """One array of an archive, in the .npy format."""
    try:
        return _array_file(archive.read(member))
    except ValueError as error:
        raise ValueError(f'{member.filename}: {error}') from error


def _array_file(data: bytes) -> Any:
    """The array of a .npy file; the value itself if it is one pickled value."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f'version {version} of the .npy format; 1.0 and 2.0 are read')
    if dtype.char != 'O':
        return _array(shape, dtype, fortran, data[file.tell() :])
    value = unpickle(file)
    if not isinstance(value, np.ndarray) or value.shape != shape:
        raise ValueError(f'its header promises an array of shape {shape}, its pickle holds another')
    return value if shape else value.item()


def _array(shape: tuple, dtype: np.dtype, fortran: bool, data: Any) -> np.ndarray:
    """An array from its bytes or, if it holds objects, from a list; their number must fit."""
    if not isinstance(dtype, np.dtype) or not isinstance(shape, tuple):
        raise ValueError('an array without a type or a shape')
    count = 1
    for length in shape:
        count *= _whole(length)
    if dtype.char == 'O' and isinstance(data, list):
        found, flat = len(data), np.empty(len(data), object)
        flat[:] = [*data, None][:-1]
    elif isinstance(data, bytes) and not dtype.hasobject and dtype.itemsize:
        found = len(data) / dtype.itemsize
        flat = np.frombuffer(data, dtype, len(data) // dtype.itemsize)
        if dtype.kind == 'U':
            _refuse_no_letters(flat)
    else:
        raise ValueError(f'an array of {dtype} from a {type(data).__name__}')
    if found != count:
        raise ValueError(f'an array of shape {shape} with {found} values')
    return flat.reshape(shape, order='F' if fortran else 'C')


def _refuse_no_letters(flat: np.ndarray) -> None:
    """Raises ValueError if numbers of a text are those of no letter, or of half of one."""
    codes = flat.view(flat.dtype.byteorder + 'u4')
    if (codes > sys.maxunicode).any() or ((codes >= 0xD800) & (codes <= 0xDFFF)).any():
        raise ValueError('a text that is no Unicode')


def _whole(length: Any) -> int:
    if not isinstance(length, int) or length < 0:
        raise ValueError(f'an array with an axis of {type(length).__name__} {length!r:.20}')
    return length


class _Asked:
    """A function or class that a pickle names: alone, or called and waiting for its state."""

    def __init__(self, maker: str, arguments: tuple = ()):
        self.maker, self.arguments, self.place = maker, arguments, None


class _Machine:
    """The stack and the memory of a pickle, and the steps that make plain values."""

    def __init__(self):
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Carries out one opcode; ValueError for one that plain values do not need."""
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in ('MEMOIZE', 'BINPUT', 'LONG_BINPUT', 'PUT'):
            self.keep(len(self.memory) if argument is None else int(argument))
        elif name in ('BINGET', 'LONG_BINGET', 'GET'):
            self.stack.append(self.memory[int(argument)])
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            self.stack[-_TUPLES[name] :] = [tuple(self.stack[-_TUPLES[name] :])]
        elif name == 'MARK':
            self.stack.append(_MARK)
        elif name in ('TUPLE', 'LIST', 'DICT', 'APPENDS', 'SETITEMS', 'ADDITEMS'):
            self.gather(name, self.since_mark())
        elif name == 'APPEND':
            self.gather('APPENDS', [self.stack.pop()])
        elif name == 'SETITEM':
            self.gather('SETITEMS', [self.stack.pop(-2), self.stack.pop()])
        elif name in ('GLOBAL', 'STACK_GLOBAL'):
            asked = argument or f'{self.stack.pop(-2)} {self.stack.pop()}'
            if asked not in _MAKERS:
                raise ValueError(
                    f'it asks for {asked.replace(" ", ".")!r:.99}, which could run code; only '
                    'NumPy arrays and plain containers are read, and nothing was run. Do not '
                    'unpickle it elsewhere; ask its author for CSV or JSONL'
                )
            self.stack.append(_Asked(_MAKERS[asked]))
        elif name == 'REDUCE':
            arguments, asked = self.stack.pop(), self.stack.pop()
            self.stack.append(_make(asked.maker, arguments))
        elif name == 'BUILD':
            self.build(self.stack.pop())
        elif name not in ('PROTO', 'FRAME', 'STOP'):
            raise ValueError(f'the step {name} is not needed for arrays and plain containers')

    def keep(self, place: int) -> None:
        """Remembers the value on top of the stack."""
        value = self.stack[-1]
        if isinstance(value, _Asked):
            value.place = place
        self.memory[place] = value

    def since_mark(self) -> list:
        """Takes the values above the last mark off the stack, with the mark."""
        values = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def gather(self, name: str, values: list) -> None:
        """Puts values into a new container, or into the one on top of the stack."""
        if name in ('TUPLE', 'LIST', 'DICT'):
            self.stack.append({'TUPLE': tuple, 'LIST': list, 'DICT': dict}[name]())
        top = self.stack[-1]
        if name == 'TUPLE':
            self.stack[-1] = tuple(values)
        elif isinstance(top, list):
            top.extend(values)
        elif isinstance(top, dict):
            top.update(zip(map(_key, values[::2]), values[1::2], strict=True))
        elif isinstance(top, set):
            top.update(map(_key, values))
        else:
            raise ValueError(f'values for a {type(top).__name__}')

    def build(self, state: tuple) -> None:
        """Gives the array or the type on top of the stack its state, as NumPy would."""
        asked = self.stack[-1]
        if asked.maker == 'dtype':
            kind, order = asked.arguments[0], state[1]
            if not _DTYPE.fullmatch(kind) or order not in tuple('<>|='):
                raise ValueError(f'arrays of type {order!r:.9}{kind!r:.20} are not read')
            value = np.dtype(order + kind)
        elif asked.maker == '_reconstruct':
            _, shape, dtype, fortran, data = state
            value = _array(shape, dtype, fortran, data)
        else:
            raise ValueError(f'{asked.maker} has no state')
        self.stack[-1] = value
        if asked.place is not None:
            self.memory[asked.place] = value


def _make(maker: str, arguments: tuple) -> Any:
    """The value of a call in a pickle; arrays and types wait for their state."""
    if maker in ('dtype', '_reconstruct'):
        return _Asked(maker, arguments)
    if maker == 'scalar':
        dtype, data = arguments
        return _array((), dtype, False, data).item()
    if maker == '_frombuffer':
        data, dtype, shape, order = arguments
        return _array(shape, dtype, order == 'F', data)
    if maker == 'encode' and arguments[1] == 'latin1':
        return arguments[0].encode('latin1')
    if maker == 'OrderedDict' and not arguments:
        return {}
    raise ValueError(f'a call of {maker} that no array needs')


def _key(value: Any) -> Any:
    """A key of a dictionary or set; containers are refused, as nested ones could hash for ever."""
    if value is not None and not isinstance(value, str | int | float | bytes):
        raise ValueError(f'a {type(value).__name__} as a key')
    return value
