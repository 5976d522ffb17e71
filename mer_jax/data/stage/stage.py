"""The embedded stage: clips of a face, a voice and a subtitle, drawn from a seed.

A clip has one to four emotions of different families. Face, voice and subtitle each show some of
them; every emotion is shown somewhere. In a stated share of clips one modality lies: it shows an
emotion of the other valence, which is not felt, while the other two agree on the true valence.

`python -m mer_jax.data.stage` writes clips as films, or pictures (`picture.py`), with a manifest;
`--write-tokenizer` trains the tokenizers of both again.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import tqdm
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from mer_jax.data.clips import Clip, write_manifest
from mer_jax.data.stage import face as stage_face
from mer_jax.data.stage import picture_tokenizer
from mer_jax.data.stage import voice as stage_voice
from mer_jax.data.stage.folder import new_folder
from mer_jax.data.stage.generator import SPLITS, generator
from mer_jax.data.stage.picture import PICTURES
from mer_jax.data.stage.scene import annotate, draw_scene
from mer_jax.data.stage.tokenizer import read_tokenizer, train_tokenizer
from mer_jax.data.stage.words import FAMILIES, QUESTION

FPS = 2.0  # of the frames in memory
FILM_FPS = 8.0  # of the frames in a written file

TOKENIZER_FILE = 'stage_tokenizer.json'


def draw(seed: int, split: str, index: int) -> Clip:
    """The clip of a seed, split and index: four frames at 2 fps, two seconds of sound."""
    return _perform(seed, split, index, FPS)


def film(seed: int, split: str, index: int) -> Clip:
    """The clip of `draw` at 8 fps: every fourth of its sixteen frames is one of `draw`."""
    return _perform(seed, split, index, FILM_FPS)


def _perform(seed: int, split: str, index: int, fps: float) -> Clip:
    """The clip at this frame rate."""
    rng = generator(seed, split, index)
    scene = draw_scene(rng)
    clip = annotate(rng, scene, f'{split}-{seed}-{index:06d}')
    times = np.arange(int(stage_voice.SECONDS * fps)) / fps
    return dataclasses.replace(
        clip,
        audio=stage_voice.recording(rng, scene.shown['voice']),
        video=stage_face.frames(rng, scene.shown['face'], times),
        fps=fps,
    )


def stage_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of the stage, with Qwen2.5-Omni's special tokens and chat layout."""
    return read_tokenizer(TOKENIZER_FILE)


def build_tokenizer() -> Tokenizer:
    """Trains the tokenizer on sentences of the stage."""
    return train_tokenizer(_corpus())


def _corpus() -> list[str]:
    """The sentences on which the tokenizer is trained."""
    # Tags are lines of their own, so that '>' never merges with the next word.
    lines = ['<think', '></', 'think', '><', 'answer', '</', '.</', '<answer', '>', QUESTION] * 200
    lines += [line for role in ('system', 'user', 'assistant') for line in [role + '\n'] * 200]
    for words in FAMILIES.values():
        lines += [line for word in words for line in [word, f', {word}'] * 100]
    for index in range(1000):
        rng = generator(0, 'train', index)
        clip = annotate(rng, draw_scene(rng), '')
        lines += [clip.subtitle, clip.reasoning, ', '.join(clip.answer), ', '.join(clip.words)]
    return lines


def write(out: Path, clips: int, seed: int, split: str, sheet: bool) -> None:
    """Writes clips into a new or empty folder: films, manifest.jsonl and, if asked, sheet.png."""
    film(seed, split, 0)  # raises for a bad seed before a folder is made
    with new_folder(out, clips):
        write_films(out, clips, seed, split, sheet)


def write_films(out: Path, clips: int, seed: int, split: str, sheet: bool) -> None:
    """Writes films, manifest.jsonl and, if asked, sheet.png into a folder."""
    # Imported here because training, which only draws clips, needs no codec and no plotter.
    from mer_jax.data.stage import film as stage_film

    (out / 'clips').mkdir()
    written = []
    for index in tqdm.trange(clips, desc='clips', unit='clip'):
        clip = film(seed, split, index)
        path = out / 'clips' / f'{clip.id}.mp4'
        stage_film.write_film(path, clip)
        written.append(dataclasses.replace(clip, video=str(path), audio=None, fps=None))
    write_manifest(out / 'manifest.jsonl', written)
    if sheet:
        rows = [draw(seed, split, index) for index in range(min(clips, stage_film.ROWS))]
        stage_film.write_sheet(out / 'sheet.png', rows)


def main(about: str) -> None:
    """Runs the command line; `about` is the text above its flags in --help."""
    parser = _parser(about)
    flags = parser.parse_args()
    if flags.write_tokenizer == (flags.out is not None):
        parser.error('give either --out or --write-tokenizer')
    if not flags.pictures and (flags.domain != 'home' or flags.emoset):
        parser.error('--domain and --emoset are for pictures: add --pictures')
    if flags.write_tokenizer:
        for build, file in (
            (build_tokenizer, TOKENIZER_FILE),
            (picture_tokenizer.build_picture_tokenizer, picture_tokenizer.TOKENIZER_FILE),
        ):
            build().save(str(Path(__file__).with_name(file)))
        return
    try:
        _write_as_asked(flags)
    except (ValueError, OSError) as error:
        parser.error(str(error))


def _write_as_asked(flags: argparse.Namespace) -> None:
    """Writes films or pictures, as the flags of the command line say."""
    if not flags.pictures:
        write(flags.out, flags.clips, flags.seed, flags.split, flags.sheet)
        return
    from mer_jax.data.stage import gallery  # imports the plotter, as write_films does

    if flags.emoset:
        gallery.write_emoset(flags.out, flags.clips, flags.seed, flags.domain)
    else:
        gallery.write_pictures(
            flags.out, flags.clips, flags.seed, flags.split, flags.domain, flags.sheet
        )


def _parser(about: str) -> argparse.ArgumentParser:
    """The flags of the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m mer_jax.data.stage',
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--out', type=Path, help='a new or empty folder')
    parser.add_argument('--clips', type=int, default=32)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--split', choices=SPLITS, default='test')
    parser.add_argument('--sheet', action='store_true', help='also draw a contact sheet')
    parser.add_argument('--pictures', action='store_true', help='pictures in place of films')
    parser.add_argument(
        '--domain', choices=PICTURES, default='home', help='of pictures (default home)'
    )
    parser.add_argument(
        '--emoset',
        action='store_true',
        help='pictures in the folder layout of EmoSet, --clips of each split',
    )
    parser.add_argument(
        '--write-tokenizer',
        action='store_true',
        help='train the tokenizers again, into the package',
    )
    return parser
