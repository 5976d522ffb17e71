"""Damages to a file on a disk: a bit that flips, a last byte that is lost, the whole file."""


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def delete(path):
    path.unlink()
