"""The content of a report besides figures: example clips with their frames, title, commit."""

import pathlib
import subprocess
from collections.abc import Sequence

import numpy as np

from mer_jax.data.clips import Clip
from mer_jax.data.media.pictures import read_image
from mer_jax.data.media.video import read_video
from mer_jax.evaluation.answers import MODES
from mer_jax.run.setting import Setting

ROOT = pathlib.Path(__file__).parents[2]  # of the checkout, if the package runs from one


def title_of(setting: Setting) -> str:
    """The method and the data of a run in words; a manifest by its name alone."""
    manifest = pathlib.Path(setting.config.data.manifest).name
    return f'{setting.method.title} on {manifest or "the embedded stage"}'


def commit() -> str | None:
    """The commit of the running code; None unless it runs from a checkout."""
    if not (ROOT / '.git').exists():  # an installed package, maybe inside another repository
        return None
    command = ['git', 'rev-parse', '--short', 'HEAD']
    try:
        asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    except OSError:  # git is not installed
        return None
    return asked.stdout.strip() or None


def example_clips(
    setting: Setting, before: list[dict], after: list[dict], count: int = 6
) -> list[dict]:
    """The first clips of two evaluations with their frames, as `write_report` shows them."""
    clip_of = {}
    for index in range(min(len(setting.test_clips), 4 * count)):
        clip = setting.test_clips[index]
        clip_of[clip.id] = clip
    shown = [pair for pair in zip(before, after, strict=True) if pair[0]['id'] in clip_of]
    return [
        {
            'id': old['id'],
            'frames': shown_pictures(clip_of[old['id']], setting.config.data.fps),
            'subtitle': clip_of[old['id']].subtitle,
            'gold': list(old['gold']),
            'hit': right_words(setting, old, new),
            'before': {mode: old[mode] for mode in MODES},
            'after': {mode: new[mode] for mode in MODES},
        }
        for old, new in shown[:count]
    ]


def answers_with_frames(
    setting: Setting, clips: Sequence[Clip], rows: Sequence[dict], count: int = 8
) -> list[dict]:
    """The first answers of an evaluation as rows of a table, each with a frame of its clip.

    `frame` is u8[height, width, 3], or None for a clip without pictures.
    """
    wanted, table = {row['id']: row for row in rows[:count]}, []
    for index in range(min(len(clips), 4 * count)):
        clip = clips[index]
        if row := wanted.get(clip.id):
            pictures = shown_pictures(clip, setting.config.data.fps)
            table.append(
                {
                    'id': clip.id,
                    'frame': pictures[len(pictures) // 2] if len(pictures) else None,
                    'subtitle': clip.subtitle,
                    'gold': ', '.join(row['gold']),
                    'fast': ', '.join(row['fast']['words']),
                    'slow': ', '.join(row['slow']['words']),
                    'reasoning': row['slow']['think'],
                }
            )
    return table


def right_words(setting: Setting, *answers: dict) -> list[str]:
    """The words of the answers that the method counts as right."""
    gold = answers[0]['gold']
    said = {word for answer in answers for mode in MODES for word in answer[mode]['words']}
    return sorted(word for word in said if setting.method.right(gold, word))


def shown_pictures(clip: Clip, fps: float) -> np.ndarray:
    """A few small frames of a clip's video, or its first image, uint8[n, h, w, 3]; maybe none."""
    if clip.video is None and clip.images:
        image = clip.images[0]
        return (read_image(image) if isinstance(image, str) else image)[None]
    if clip.video is None:
        return np.zeros((0, 1, 1, 3), np.uint8)
    if isinstance(clip.video, str):
        return read_video(clip.video, fps, max_frames=6, pixels=(56 * 56, 168 * 168))[0]
    return clip.video
