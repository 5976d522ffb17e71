"""Images to pixels and frames to patches: by hand and against `transformers`."""

import struct
import zlib

import numpy as np
import pytest
from heif_files import write_heif
from media_files import read_at_two, refusal, write_bytes
from PIL import Image

from mer_jax.data.media import container
from mer_jax.data.media.container import MediaError
from mer_jax.data.media.kind import kind_of_file
from mer_jax.data.media.pictures import MEAN, STD, patches, read_image, resize, smart_resize
from mer_jax.data.media.sound import read_audio

UPRIGHT = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
STORED = {  # how a camera stores the upright picture under each EXIF orientation
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.T,
    6: UPRIGHT.T[::-1],
    7: UPRIGHT.T[::-1, ::-1],
    8: UPRIGHT.T[:, ::-1],
}


@pytest.mark.parametrize('orientation', STORED)
def test_an_image_of_any_orientation_is_read_upright(tmp_path, orientation):
    tag = Image.Exif()
    tag[0x0112] = orientation
    Image.fromarray(STORED[orientation].copy()).save(tmp_path / 'a.png', exif=tag)
    assert read_image(tmp_path / 'a.png')[..., 1].tolist() == UPRIGHT.tolist()


def test_images_of_every_mode_become_colours(tmp_path):
    grey = np.array([[0, 100, 255]], np.uint8)
    wanted = np.repeat(grey[..., None], 3, -1).tolist()
    images = {
        'grey.png': Image.fromarray(grey),
        'deep.png': Image.fromarray(grey.astype(np.uint16) * 257),
        'palette.gif': Image.fromarray(grey).convert('P'),
        'ink.tif': Image.fromarray(np.stack([*[255 - grey] * 3, 0 * grey], -1), 'CMYK'),
        'glass.png': Image.fromarray(np.stack([grey, grey * 0 + 255], -1), 'LA'),
    }
    for name, image in images.items():
        image.save(tmp_path / name)
        assert read_image(tmp_path / name).tolist() == wanted, name
    Image.new('RGBA', (1, 1), (0, 0, 0, 0)).save(tmp_path / 'clear.png')
    assert read_image(tmp_path / 'clear.png').tolist() == [[[255, 255, 255]]]
    Image.new('F', (1, 1)).save(tmp_path / 'float.tif')
    assert 'have no known range' in refusal(read_image, tmp_path / 'float.tif')


def test_pictures_that_are_read_in_strips_equal_those_read_at_once(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (700, 30, 4), np.uint8)
    image = Image.fromarray(pixels)
    tag = Image.Exif()
    tag[0x0112] = 6
    image.save(tmp_path / 'glass.png', exif=tag)
    image.convert('RGB').quantize(16).save(tmp_path / 'palette.png', transparency=3)
    deep = rng.integers(0, 65_536, (700, 30)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / 'deep.png')
    for name, turns in (('glass.png', 3), ('palette.png', 0)):
        whole = Image.open(tmp_path / name).convert('RGBA')
        wanted = Image.alpha_composite(Image.new('RGBA', whole.size, 'white'), whole)
        wanted = np.rot90(np.asarray(wanted.convert('RGB')), turns)
        np.testing.assert_array_equal(read_image(tmp_path / name), wanted)
    wanted = (deep / 257).round().astype(np.uint8)
    np.testing.assert_array_equal(read_image(tmp_path / 'deep.png')[..., 2], wanted)


@pytest.mark.parametrize('maxval', [255, 1023, 4095, 65_535])
@pytest.mark.parametrize('plain', [False, True])
def test_a_pgm_of_any_depth_is_read(tmp_path, maxval, plain):
    grey = np.array([[0, maxval // 3, maxval]])
    text = ' '.join(map(str, grey.ravel())).encode()
    data = grey.astype('>u2' if maxval > 255 else np.uint8).tobytes()
    header = f'P{2 if plain else 5}\n3 1\n{maxval}\n'.encode()
    path = write_bytes(tmp_path / 'a.pgm', header + (text if plain else data))
    assert read_image(path)[0, :, 0].tolist() == [0, 85, 255]


TILES = np.zeros((256, 384, 3), np.uint8)
TILES[:128, :192], TILES[128:, 192:], TILES[:128, 192:] = (
    (250, 20, 20),
    (20, 20, 250),
    (20, 220, 20),
)


@pytest.mark.parametrize('kind', ['heic', 'avif'])
@pytest.mark.parametrize('rows, columns', [(1, 1), (2, 3), (4, 1)])
@pytest.mark.parametrize('turns', [0, 1])
def test_a_picture_of_many_tiles_is_read_whole_and_upright(tmp_path, kind, rows, columns, turns):
    path = write_heif(tmp_path / f'a.{kind}', TILES, rows, columns, kind, tmp_path, turns)
    pixels = read_image(path)
    wanted = np.rot90(TILES, turns)
    assert pixels.shape == wanted.shape
    assert np.abs(pixels.astype(int) - wanted).mean() < 2
    assert kind_of_file(path) == 'image'
    for read in (read_at_two, read_audio):
        assert 'is a HEIC or AVIF picture' in refusal(read, path)


def test_a_heic_picture_that_is_cut_off_is_refused(tmp_path):
    path = write_heif(tmp_path / 'a.heic', TILES, 2, 3, 'heic', tmp_path)
    for share in (0.2, 0.5, 0.9):
        raw = path.read_bytes()
        half = write_bytes(tmp_path / 'b.heic', raw[: int(len(raw) * share)])
        assert 'cannot be decoded' in refusal(read_image, half)


def test_without_its_library_a_heic_picture_is_refused_with_the_way_out(tmp_path, monkeypatch):
    for kind in ('heic', 'avif'):
        write_heif(tmp_path / f'a.{kind}', TILES, 1, 1, kind, tmp_path)
    monkeypatch.setattr(container, 'pi_heif', None)
    assert 'pip install pi-heif' in refusal(read_image, tmp_path / 'a.heic')
    assert read_image(tmp_path / 'a.avif').shape == TILES.shape


def test_of_an_animated_image_the_first_frame_is_read(tmp_path):
    frames = [Image.new('RGB', (4, 3), name) for name in ('red', 'blue')]
    frames[0].save(tmp_path / 'a.gif', save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / 'a.gif')[0, 0].tolist() == [255, 0, 0]


def test_an_image_that_is_cut_off_is_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / 'a.jpg')
    raw = (tmp_path / 'a.jpg').read_bytes()
    half = write_bytes(tmp_path / 'b.jpg', raw[: len(raw) // 2])
    assert 'truncated' in refusal(read_image, half)


@pytest.mark.parametrize('side', [9000, 30_000])
def test_a_huge_image_is_refused_before_it_is_decoded(tmp_path, side):
    def chunk(kind, data):
        return (
            struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        )

    header = chunk(b'IHDR', struct.pack('>IIBBBBB', side, side, 8, 2, 0, 0, 0))
    body = chunk(b'IDAT', zlib.compress(bytes(1000))) + chunk(b'IEND', b'')
    path = write_bytes(tmp_path / 'a.png', b'\x89PNG\r\n\x1a\n' + header + body)
    assert 'more than 67108864 pixels' in refusal(read_image, path)


def test_smart_resize_equals_the_reference():
    from transformers.models.qwen2_vl import image_processing_pil_qwen2_vl as reference

    draw = np.random.default_rng(0)
    for height, width in [(70, 42), (29, 5000), *draw.integers(10, 2000, (500, 2)).tolist()]:
        for bounds in [(56 * 56, 28 * 28 * 1280), (128 * 784, 768 * 784), (3136, 3136)]:
            wanted = reference.smart_resize(height, width, 28, *bounds)
            assert smart_resize(height, width, 28, *bounds) == wanted
    with pytest.raises(MediaError, match='over 200 times'):
        smart_resize(10, 2001, 28, 3136, 9999)


def test_patches_of_an_image_equal_the_image_processor():
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
        Qwen2VLImageProcessorPil,
    )

    draw, bounds = np.random.default_rng(0), (56 * 56, 140 * 140)
    processor = Qwen2VLImageProcessorPil(min_pixels=bounds[0], max_pixels=bounds[1])
    for height, width in [(56, 84), (90, 61), (300, 200), (20, 30)]:
        image = draw.integers(0, 256, (height, width, 3), np.uint8)
        wanted = processor(image, return_tensors='np')
        frames = resize(image[None], *smart_resize(height, width, 28, *bounds))
        found, grid = patches(frames, 14, 2, 2)
        assert [list(grid)] == wanted['image_grid_thw'].tolist()
        np.testing.assert_allclose(found, wanted['pixel_values'], rtol=0, atol=1e-6)


def test_a_patch_lists_colour_then_time_then_rows_and_cells_stay_together():
    frames = np.arange(3 * 8 * 12 * 3, dtype=np.uint32).reshape(3, 8, 12, 3).astype(np.uint8)
    found, grid = patches(frames, 2, 2, 2)
    assert grid == (2, 4, 6)
    found = found.reshape(2, 2, 3, 2, 2, 3, 2, 2, 2)
    for t, row, column, colour, time in [(0, 0, 0, 0, 0), (0, 3, 4, 1, 1), (1, 2, 5, 2, 1)]:
        frame = min(2 * t + time, 2)  # three frames: the last one is repeated as the fourth
        pixels = frames[frame, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2, colour]
        wanted = (pixels / 255 - MEAN[colour]) / STD[colour]
        shown = found[t, row // 2, column // 2, row % 2, column % 2, colour, time]
        np.testing.assert_allclose(shown, wanted, atol=1e-6)


def test_patches_of_an_ill_fitting_frame_are_refused():
    with pytest.raises(MediaError, match='57 x 56 pixels: .* multiples of patch .* 28'):
        patches(np.zeros((1, 57, 56, 3), np.uint8), 14, 2, 2)
