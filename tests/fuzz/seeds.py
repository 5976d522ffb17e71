"""Small whole files of each kind, made by code, from which mutations start."""

import io
import json
import pathlib
import struct
import tempfile
import zipfile
from typing import NamedTuple

import av
import numpy as np
from heif_files import write_heif
from media_files import encode_numbered, noise, numbered, sound_packets, tone, write_wave
from PIL import Image
from workbook import workbook

FILMS = {  # file: codecs of film and sound
    'a.mp4': ('libx264', 'aac'),
    'b.mp4': ('libx265', None),
    'c.mov': ('mjpeg', 'pcm_s16le'),
    'd.mkv': ('ffv1', 'flac'),
    'e.webm': ('libvpx', 'libopus'),
    'f.webm': ('libvpx-vp9', None),
    'g.avi': ('mpeg4', 'libmp3lame'),
    'h.ts': ('mpeg2video', 'mp2'),
    'i.flv': ('flv', 'libmp3lame'),
    'j.mpg': ('mpeg1video', 'mp2'),
    'k.wmv': ('wmv2', 'wmav2'),
    'l.nut': ('mpeg4', 'ac3'),
    'm.mp4': ('libsvtav1', None),
    'n.gif': ('gif', None),
}
SOUNDS = {  # file: codec
    'a.mp3': 'libmp3lame',
    'b.flac': 'flac',
    'c.ogg': 'libopus',
    'd.aac': 'aac',
    'e.m4a': 'alac',
    'f.aiff': 'pcm_s16be',
    'g.au': 'pcm_s16be',
    'h.caf': 'pcm_s16le',
    'i.ac3': 'ac3',
    'j.wma': 'wmav2',
    'k.w64': 'pcm_f32le',
    'l.mka': 'libopus',
}
PICTURES = ('png', 'jpeg', 'gif', 'tiff', 'webp', 'bmp', 'ppm')
ROWS = [['name', 'openset'], ['clip1', 'happy, sad'], ['clip2', 'angry'], ['clip3', '担心']]
LABELS = [{'name': f'clip{i}', 'openset': words} for i, words in enumerate(['happy, sad', 'angry'])]
CLIPS = [
    {'id': 'a', 'video': 'a.mp4', 'words': ['happy', 'sad'], 'subtitle': 'I see.', 'cues': ['x']},
    {'id': 'b', 'audio': 'b.wav', 'image': ['c.png', 'd.png'], 'words': ['angry'], 'source': 's'},
    {
        'id': 'c',
        'words': ['calm'],
        'subtitle': 'No.',
        'reasoning': 'Low voice.',
        'answer': ['calm'],
    },
]
ANSWERS = (
    '<think>He smiles, so <answer>sad</answer> is wrong.</think>\n<answer>happy, at ease</answer>',
    'The person is not only happy but thrilled. Answer: **happy**, thrilled<|im_end|>',
    r'<think>x</think> $\boxed{\text{sad},\ \mathrm{angry}}$',
    '{"emotions": ["happy", "self‑conscious"], "valence": -0.5}',
    "['worried' 'sad']",
    '<step1>rain</step1><step2>sad</step2><step3>negative</step3>\\boxed{sadness}',
    '喜极而泣，担心、高兴',
    '1. worried\n2. sad (slightly)\n- none',
)


class Seed(NamedTuple):
    """A file as parts, and how they are packed; most files are of one part."""

    name: str
    parts: dict[str, bytes]
    packing: str = 'plain'

    def data(self, parts: dict[str, bytes] | None = None) -> bytes:
        """The bytes of the file, with other parts if they are given."""
        parts = parts or self.parts
        if self.packing == 'zip':
            file = io.BytesIO()
            with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
                for name, part in parts.items():
                    archive.writestr(name, part)
            return file.getvalue()
        if self.packing == 'safetensors':
            return struct.pack('<Q', len(parts['header'])) + parts['header'] + parts['data']
        return parts['all']


def plain(name: str, data: bytes) -> Seed:
    """A file of one part."""
    return Seed(name, {'all': data})


def zipped(name: str, data: bytes) -> Seed:
    """A zip archive whose members are mutated before they are packed, or the file after it."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return Seed(name, {member: archive.read(member) for member in archive.namelist()}, 'zip')


def films(folder: pathlib.Path) -> list[Seed]:
    """Films of 10 frames of 64 x 128 pixels in many containers, most with sound."""
    return [
        plain(name, write_film(folder / name, *codecs).read_bytes())
        for name, codecs in FILMS.items()
    ]


def write_film(path, film, sound):
    """A film of 10 frames, with 0.4 s of sound if its codec is given."""
    with av.open(str(path), 'w') as container:
        stream, packets = _pictures(container, film)
        if sound:
            heard = container.add_stream(
                sound, rate=16_000 if sound == 'aac' else 48_000, layout='mono'
            )
            heard.bit_rate = 64_000
            packets = packets + sound_packets(heard, tone(heard.rate, 0.4, beep=0.2))
        for packet in sorted(packets, key=lambda one: (one.dts or 0) * one.time_base):
            container.mux(packet)
    return path


def _pictures(container, codec):
    """The stream and the packets of 10 numbered frames in the pixel format of the codec."""
    if codec not in ('gif', 'mjpeg'):
        quiet = {'x265-params': 'log-level=none'} if codec == 'libx265' else {}
        return encode_numbered(container, codec, 10, options=quiet)
    stream = container.add_stream(codec, rate=25)
    (stream.height, stream.width) = (64, 128)
    stream.pix_fmt = {'gif': 'rgb8', 'mjpeg': 'yuvj420p'}[codec]
    packets = []
    for number in range(10):
        frame = av.VideoFrame.from_ndarray(numbered(number), format='rgb24')
        frame.pts = number
        packets += stream.encode(frame.reformat(format=stream.pix_fmt))
    return stream, packets + stream.encode()


def sounds(folder: pathlib.Path) -> list[Seed]:
    """Sounds of half a second in many containers."""
    made = [plain('z.wav', write_wave(folder / 'z.wav', noise(8000), 16_000).read_bytes())]
    for name, codec in SOUNDS.items():
        with av.open(str(folder / name), 'w') as container:
            stream = container.add_stream(codec, rate=48_000, layout='mono')
            stream.bit_rate = 64_000
            for packet in sound_packets(stream, tone(48_000, 0.5, beep=0.2)):
                container.mux(packet)
        made.append(plain(name, (folder / name).read_bytes()))
    return made


def pictures(folder: pathlib.Path) -> list[Seed]:
    """Pictures of 30 x 40 pixels of each format, of several depths and modes."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    image = Image.fromarray(pixels)
    turned = image.getexif()
    turned[0x0112] = 6
    made = []
    for kind in PICTURES:
        file = io.BytesIO()
        image.save(file, kind, **({} if kind in ('bmp', 'ppm', 'gif') else {'exif': turned}))
        made.append(plain(f'a.{kind}', file.getvalue()))
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    for name, one in (
        ('deep.png', deep),
        ('deep.tiff', deep),
        ('palette.png', image.convert('P')),
        ('clear.png', image.convert('RGBA')),
        ('cmyk.jpeg', image.convert('CMYK')),
        ('bits.png', image.convert('1')),
    ):
        file = io.BytesIO()
        one.save(file, name.rpartition('.')[2])
        made.append(plain(name, file.getvalue()))
    whole = np.kron(pixels[:8, :8], np.ones((16, 16, 1), np.uint8))
    for kind in ('heic', 'avif'):
        path = write_heif(folder / f'a.{kind}', whole, 1, 1, kind, folder)
        made.append(plain(path.name, path.read_bytes()))
    return made


def archives(_) -> list[Seed]:
    """Published .npz files of labels: parallel arrays, and corpora of dictionaries."""
    corpus = {'clip1': {'emo': 'happy', 'val': np.float32(0.5)}, 'clip2': {'emo': 'sad', 'val': -1}}
    made = []
    for members in (
        {'test_corpus': corpus},
        {'filenames': np.array(['a', 'b']), 'fileitems': np.array(['[happy]', '[sad]'], object)},
    ):
        file = io.BytesIO()
        np.savez_compressed(file, **members)
        made.append(zipped('a.npz', file.getvalue()))
    return made


def workbooks(_) -> list[Seed]:
    """An Excel workbook of labels."""
    return [zipped('a.xlsx', workbook(ROWS))]


def labels(_) -> list[Seed]:
    """Files of labels and of predictions."""
    table = '\n'.join(','.join(f'"{cell}"' for cell in row) for row in ROWS)
    lines = '\n'.join(json.dumps(row) for row in LABELS)
    valued = 'name,val\nclip1,0.5\nclip2,-10\nclip3,nan\n'
    return [
        plain('a.csv', table.encode()),
        plain('b.csv', b'\xef\xbb\xbf' + valued.encode()),
        plain('c.jsonl', lines.encode()),
    ]


def manifests(_) -> list[Seed]:
    """A manifest of three clips."""
    return [plain('a.jsonl', '\n'.join(json.dumps(clip) for clip in CLIPS).encode())]


def answers(_) -> list[Seed]:
    """Answers of models in many spellings."""
    return [plain('a.txt', text.encode()) for text in ANSWERS]


def tensors(_) -> list[Seed]:
    """A file of two tensors."""
    about = {
        '__metadata__': {'format': 'pt'},
        'a.weight': {'dtype': 'F32', 'shape': [2, 3], 'data_offsets': [0, 24]},
        'b.bias': {'dtype': 'BF16', 'shape': [4], 'data_offsets': [24, 32]},
    }
    parts = {'header': json.dumps(about).encode(), 'data': bytes(range(32))}
    return [Seed('model.safetensors', parts, 'safetensors')]


def configs(_) -> list[Seed]:
    """The config.json of a small model of each family."""
    return [plain('config.json', json.dumps(config).encode()) for config in hf_configs().values()]


def hf_configs() -> dict[str, dict]:
    """The config.json of a small model, by family."""
    from mer_jax.models.checkpoint.save import hf_config  # imports JAX
    from mer_jax.run.defaults import mer_r1
    from mer_jax.run.origin import open_origin

    made = {}
    for family in ('omni', 'vl'):
        c = mer_r1()
        c.model.family = family
        origin = open_origin(c.model, c.data.stage)
        made[family] = hf_config(origin.spec, origin.ids)
    return made


def tokenizers(folder: pathlib.Path) -> list[Seed]:
    """Each file of a tokenizer in turn; the reader finds the others beside it."""
    return [plain(name, data) for name, data in tokenizer_files(folder).items()]


def tokenizer_files(folder: pathlib.Path) -> dict[str, bytes]:
    """The files of the tokenizer of the stage."""
    from mer_jax.data.stage.stage import stage_tokenizer  # imports transformers

    stage_tokenizer().save_pretrained(folder / 'tokenizer')
    return {path.name: path.read_bytes() for path in sorted((folder / 'tokenizer').iterdir())}


def checkpoints(folder: pathlib.Path) -> list[Seed]:
    """Each file of a checkpoint in turn; the reader finds the others beside it."""
    made = []
    for name, data in checkpoint_files(folder).items():
        if name.endswith('.safetensors'):
            length = struct.unpack('<Q', data[:8])[0]
            parts = {'header': data[8 : 8 + length], 'data': data[8 + length :]}
            made.append(Seed(name, parts, 'safetensors'))
        else:
            made.append(plain(name, data))
    return made


def checkpoint_files(folder: pathlib.Path) -> dict[str, bytes]:
    """The files of a small Omni checkpoint with a tokenizer, as a run exports it."""
    import small  # imports JAX

    from mer_jax.run.defaults import mer_r1

    small.write_export(small.shrink(mer_r1()), folder / 'omni')
    return {path.name: path.read_bytes() for path in sorted((folder / 'omni').iterdir())}


KINDS = {
    'film': films,
    'sound': sounds,
    'picture': pictures,
    'npz': archives,
    'xlsx': workbooks,
    'labels': labels,
    'manifest': manifests,
    'answer': answers,
    'safetensors': tensors,
    'config': configs,
    'tokenizer': tokenizers,
    'checkpoint': checkpoints,
}


def make_seeds(kind: str) -> tuple[list[Seed], dict[str, bytes]]:
    """The seeds of a kind, and the files that must be beside each of them."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        seeds, beside = KINDS[kind](folder), {}
        if kind == 'config':
            beside = {'model.safetensors': tensors(folder)[0].data()}
        elif kind in ('tokenizer', 'checkpoint'):
            beside = {seed.name: seed.data() for seed in seeds}
        if kind == 'tokenizer':
            beside['config.json'] = json.dumps(hf_configs()['omni']).encode()
        return seeds, beside
