"""Published .npz files are read as by NumPy, and none of them can run code."""

import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mer_jax.data.formats import npz
from mer_jax.data.formats.npz import read_npz, unpickle

CORPUS = {
    'clip1': {'emo': 'happy', 'val': np.float32(0.5), 'x': np.arange(6.0).reshape(2, 3).T},
    'clip2': {'emo': np.str_('sad'), 'val': -1, 'x': np.array(['a', 'bc'], object)},
}
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
KEYS = SCALARS | st.binary(min_size=1, max_size=5)
PLAIN = st.recursive(
    KEYS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=4)
    ),
)


class Call:
    """An object whose pickle asks for a call of a function."""

    def __init__(self, function, *arguments):
        self.asked = function, arguments

    def __reduce__(self):
        return self.asked


def write_members(path, members):
    """An .npz file of these .npy files."""
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f'{name}.npy', data)
    return path


def object_file(pickled, shape=()):
    """A .npy file of objects: a header and this pickle."""
    file = io.BytesIO()
    about = {'descr': '|O', 'fortran_order': False, 'shape': shape}
    np.lib.format.write_array_header_1_0(file, about)
    return file.getvalue() + pickled


def test_members_come_back_as_they_were_saved(tmp_path):
    path = tmp_path / 'a.npz'
    plain = {
        'names': np.array(['clip1', 'clip2']),
        'items': np.array(['[happy]', '[sad, lonely]'], object),
        'turned': np.asfortranarray(np.arange(6).reshape(2, 3)),
        'none': np.zeros((0, 3), np.float32),
        'yes': np.array(True),
    }
    np.savez_compressed(path, test_corpus=CORPUS, **plain)
    read = read_npz(path)
    assert list(read) == ['test_corpus', *plain]
    for name, array in plain.items():
        np.testing.assert_array_equal(read[name], array, strict=True)
    one, other = read['test_corpus'].values()
    assert one['emo'] == 'happy' and one['val'] == 0.5
    np.testing.assert_array_equal(one['x'], CORPUS['clip1']['x'], strict=True)
    assert (other['emo'], other['val'], other['x'].tolist()) == ('sad', -1, ['a', 'bc'])


@pytest.mark.parametrize('protocol', [2, 3, 4])
def test_arrays_are_read_in_every_protocol_that_numpy_has_written(protocol):
    arrays = [np.arange(4.0, dtype='>f8'), np.array([b'ab']), np.array(['é']), np.float64(2)]
    for array, back in zip(arrays, unpickle(pickle.dumps(arrays, protocol)), strict=True):
        np.testing.assert_array_equal(back, array)


@settings(deadline=None)  # the machine may be busy
@given(PLAIN, st.integers(0, 5))
def test_plain_values_are_read_as_pickle_reads_them(value, protocol):
    pickled = pickle.dumps(value, protocol)
    assert unpickle(pickled) == pickle.loads(pickled)


HOSTILE = {
    'posix.system': Call(os.system, 'touch ran'),
    'builtins.eval': Call(eval, 'open("ran", "w")'),
    'builtins.getattr': Call(getattr, 'numpy', 'load'),
    'numpy.load': Call(np.load, 'ran'),
    'numpy.fromfile': Call(np.fromfile, 'ran'),
    'numpy.memmap': Call(np.memmap, 'ran', 'u1', 'w+', 0, (9,)),
}


@pytest.mark.parametrize('name', HOSTILE)
def test_a_file_that_would_run_code_is_refused_and_nothing_runs(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    corpus = {'clip1': {'emo': 'happy', 'val': HOSTILE[name]}}
    np.savez('a.npz', test_corpus=np.array(corpus, object))
    with pytest.raises(ValueError, match=r'a\.npz: test_corpus\.npy: .* could run code') as refused:
        read_npz('a.npz')
    assert name.split('.')[1] in str(refused.value)
    assert os.listdir() == ['a.npz']


@pytest.mark.parametrize(
    'pickled',
    [
        b"(S'touch ran'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'touch ran'\no.",  # OBJ
        b'Pname\n.',  # a persistent id
        b'\x80\x02\x82\x01.',  # an extension of copyreg
        b'\x80\x02cnumpy\nndarray\n)\x81.',  # NEWOBJ
        b'\x80\x02cnumpy\nndarray\n}b.',  # state for the class itself
        b'\x80\x02cnumpy\ndtype\nU\x02O8\x85R}X\x01\x00\x00\x00aK\x01sb.',
        b'\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.',
        b'\x80\x02cnumpy\nndarray.tofile\n.',
        b'\x80\x04\x8c\x05numpy\x8c\x0elib.npyio.load\x93.',
    ],
)
def test_indirect_ways_to_run_code_are_refused(tmp_path, monkeypatch, pickled):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match='cannot be read'):
        unpickle(pickled)
    assert os.listdir() == []


def test_a_file_that_would_fill_the_memory_is_refused_before_it_does(tmp_path, monkeypatch):
    # A far index of the memory, for which an unpickler would reserve room.
    assert unpickle(b'\x80\x02K\x07r\xff\xff\xff\x7f.') == 7
    pairs = b'\x80\x02K\x00' + b'q\x00h\x00\x86' * 60  # a tuple of two, of two, …
    with pytest.raises(ValueError, match='a tuple as a key'):
        unpickle(b'\x80\x02}' + pairs[2:] + b'K\x01s.')
    claimed = pickle.dumps(np.zeros(3), 2).replace(b'K\x03', b'J\xff\xff\xff\x7f', 1)
    with pytest.raises(ValueError, match='cannot be read'):
        unpickle(claimed.replace(b'K\x03\x85', b'J\xff\xff\xff\x7f\x85'))
    monkeypatch.setattr(npz, 'MOST_STEPS', 100)
    with pytest.raises(ValueError, match='more than 100 steps'):
        unpickle(b'\x80\x02' + b']' * 200 + b'.')
    bomb = write_members(tmp_path / 'bomb.npz', {'x': bytes(10**6)})
    assert bomb.stat().st_size < 2000
    monkeypatch.setattr(npz, 'MOST_BYTES', 10**6 - 1)
    with pytest.raises(ValueError, match=r'bomb\.npz: 1000000 bytes unpacked, at most 999999'):
        read_npz(bomb)


def test_a_header_that_does_not_match_its_data_is_refused(tmp_path):
    file = io.BytesIO()
    about = {'descr': '<f8', 'fortran_order': False, 'shape': (10**12,)}
    np.lib.format.write_array_header_1_0(file, about)
    members = {
        'long': file.getvalue() + bytes(16),
        'other': object_file(pickle.dumps(np.array(['a', 'b'], object)), (3,)),
        'scalar': object_file(pickle.dumps({'a': 1})),
        'text': b'What a lovely day.',
        'none': b'',
    }
    for name, data in members.items():
        with pytest.raises(ValueError, match=rf'a\.npz: {name}\.npy: '):
            read_npz(write_members(tmp_path / 'a.npz', {name: data}))


def test_another_file_and_a_missing_one_are_refused(tmp_path):
    (tmp_path / 'a.npz').write_text('name,openset\n')
    with pytest.raises(ValueError, match=r'a\.npz: not a readable \.npz file'):
        read_npz(tmp_path / 'a.npz')
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / 'none.npz')


def test_a_damaged_pickle_raises_value_error_alone():
    whole = pickle.dumps(np.array(CORPUS, object), 3)
    draw = np.random.default_rng(0)
    for end in range(len(whole)):
        with pytest.raises(ValueError, match='cannot be read'):
            unpickle(whole[:end])
    refused = 0
    for _ in range(3000):
        damaged = bytearray(whole)
        for place in draw.integers(len(whole), size=3):
            damaged[place] = draw.integers(256)
        try:
            unpickle(bytes(damaged))
        except ValueError:
            refused += 1
    assert 1000 < refused < 3000


def test_a_damaged_archive_raises_value_error_alone(tmp_path):
    np.savez_compressed(tmp_path / 'a.npz', test_corpus=CORPUS, names=np.arange(99))
    whole = (tmp_path / 'a.npz').read_bytes()
    draw = np.random.default_rng(0)
    for _ in range(400):
        damaged = bytearray(whole[: draw.integers(len(whole) // 2, len(whole) + 1)])
        damaged[draw.integers(len(damaged))] ^= 1 << draw.integers(8)
        (tmp_path / 'b.npz').write_bytes(damaged)
        try:
            read_npz(tmp_path / 'b.npz')
        except ValueError as error:
            assert 'b.npz' in str(error)


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('code', [0x110000, 0xFFFFFFFF, 0xD800])
def test_an_array_of_texts_that_are_no_unicode_is_refused(tmp_path, order, code):
    names = np.array(['clip1', '担心', '\U0010ffff'], f'{order}U5')
    np.savez(tmp_path / 'a.npz', names=names)
    assert read_npz(tmp_path / 'a.npz')['names'].tolist() == names.tolist()
    names.view(f'{order}u4')[3] = code
    np.savez(tmp_path / 'b.npz', names=names)
    with pytest.raises(ValueError, match=r'b\.npz: names\.npy: a text that is no Unicode'):
        read_npz(tmp_path / 'b.npz')


def test_headers_that_cannot_be_parsed_and_places_outside_the_file_are_refused(tmp_path):
    np.savez(tmp_path / 'a.npz', names=np.arange(3))
    whole = (tmp_path / 'a.npz').read_bytes()
    with zipfile.ZipFile(tmp_path / 'a.npz') as archive:
        member = archive.read('names.npy')
    write_members(tmp_path / 'b.npz', {'names': member.replace(b'}', b' ', 1)})
    at = whole.index(b'PK\x01\x02')  # the directory, with the place of the member
    (tmp_path / 'c.npz').write_bytes(whole[: at + 42] + b'\xff' * 4 + whole[at + 46 :])
    for name in ('b.npz', 'c.npz'):
        with pytest.raises(ValueError, match=name):
            read_npz(tmp_path / name)


def test_a_false_size_does_not_lift_the_bound(tmp_path):
    path = write_members(tmp_path / 'a.npz', {'x': bytes(10**5)})
    raw = path.read_bytes()
    path.write_bytes(raw.replace(struct.pack('<I', 10**5), struct.pack('<I', 10)))
    with pytest.raises(ValueError, match=r'a\.npz'):
        read_npz(path)
