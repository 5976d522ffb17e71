"""HEIC and AVIF pictures of one or many tiles, assembled byte by byte from encoded frames."""

import struct

import av

CODECS = {'heic': ('libx265', b'hvc1', b'hvcC'), 'avif': ('libsvtav1', b'av01', b'av1C')}


def box(kind, *parts):
    """A box of ISO media files."""
    data = b''.join(parts)
    return struct.pack('>I', 8 + len(data)) + kind + data


def full_box(kind, version, flags, *parts):
    """A box with a version and flags."""
    return box(kind, struct.pack('>I', version << 24 | flags), *parts)


def encoded_tile(pixels, kind, folder):
    """One tile as its configuration box and its coded data, by way of an MP4 file."""
    codec, _, configuration = CODECS[kind]
    path = folder / f'tile.{kind}.mp4'
    options = {'crf': '1', 'x265-params': 'log-level=none'} if kind == 'heic' else {'crf': '5'}
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=1, options=options)
        stream.height, stream.width, stream.pix_fmt = *pixels.shape[:2], 'yuv420p'
        container.start_encoding()
        frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
        frame.pts = 0
        for packet in (*stream.encode(frame), *stream.encode()):
            packet.pts = packet.dts = 0  # the encoder may leave them unset
            container.mux(packet)
    raw = path.read_bytes()
    at = raw.index(configuration)
    (size,) = struct.unpack('>I', raw[at - 4 : at])
    with av.open(str(path)) as container:
        data = b''.join(bytes(packet) for packet in container.demux(video=0))
    return raw[at - 4 : at - 4 + size], data


def write_heif(path, pixels, rows, columns, kind, folder, turns=0):
    """A picture u8[H, W, 3] as a grid of rows x columns tiles; `turns` quarters anticlockwise."""
    height, width = pixels.shape[:2]
    high, wide = height // rows, width // columns
    tiles = [
        encoded_tile(pixels[r * high : (r + 1) * high, c * wide : (c + 1) * wide], kind, folder)
        for r in range(rows)
        for c in range(columns)
    ]
    count, grid = len(tiles), len(tiles) + 1
    layout = struct.pack('>BBBBHH', 0, 0, rows - 1, columns - 1, width, height)
    payloads = [data for _, data in tiles] + [layout]
    entry = CODECS[kind][1]
    kinds = [entry] * count + [b'grid']
    infos = [
        full_box(
            b'infe', 2, int(kinds[i] != b'grid'), struct.pack('>HH', i + 1, 0), kinds[i], b'\0'
        )
        for i in range(grid)
    ]
    properties = box(
        b'ipco',
        tiles[0][0],
        full_box(b'ispe', 0, 0, struct.pack('>II', wide, high)),
        full_box(b'ispe', 0, 0, struct.pack('>II', width, height)),
        box(b'irot', bytes([turns])),
        full_box(b'pixi', 0, 0, bytes([3, 8, 8, 8])),
    )
    links = [struct.pack('>HBBBB', i + 1, 3, 0x81, 2, 5) for i in range(count)]
    links.append(struct.pack('>HBBBB', grid, 3, 3, 0x84, 5))
    ties = full_box(b'ipma', 0, 0, struct.pack('>I', grid), *links)
    tiled = struct.pack(f'>HH{count}H', grid, count, *range(1, count + 1))

    def meta(start):
        """The box of all items whose data begin at `start`."""
        places, at = [], start
        for number, data in enumerate(payloads, 1):
            places.append(struct.pack('>HHHII', number, 0, 1, at, len(data)))
            at += len(data)
        return full_box(
            b'meta',
            0,
            0,
            full_box(b'hdlr', 0, 0, bytes(4), b'pict', bytes(13)),
            full_box(b'pitm', 0, 0, struct.pack('>H', grid)),
            full_box(b'iloc', 0, 0, struct.pack('>BBH', 0x44, 0, grid), *places),
            full_box(b'iinf', 0, 0, struct.pack('>H', grid), *infos),
            full_box(b'iref', 0, 0, box(b'dimg', tiled)),
            box(b'iprp', properties, ties),
        )

    brand = b'heic' if kind == 'heic' else b'avif'
    start = box(b'ftyp', brand, bytes(4), brand, b'mif1')
    offset = len(start) + len(meta(0)) + 8
    path.write_bytes(start + meta(offset) + box(b'mdat', *payloads))
    return path
