"""The clips that a checkpoint was trained on, and which clips of an evaluation are among them.

A run on a manifest keeps trained_on.jsonl in its workdir, an export beside its weights: a line a
clip, {'id', 'source', 'use', 'media'}. `use` is train or validation, `media` the contents of its
files (data.fingerprint.file_content). The lines of the checkpoint that a run began with come first.
"""

import concurrent.futures
import json
import logging
import pathlib
from collections.abc import Sequence

from mer_jax.data.clips import Clip
from mer_jax.data.fingerprint import file_content
from mer_jax.errors import one_line
from mer_jax.run.setting import Setting
from mer_jax.storage.objects import contents, write_whole
from mer_jax.storage.paths import path_of

FILE = 'trained_on.jsonl'
KEYS = ('id', 'source', 'use', 'media')
EXAMPLES = 3  # ids that a warning names
THREADS = 16  # that read the beginnings of files, which may be far away

log = logging.getLogger(__name__)


def keep_trained_on(setting: Setting, workdir: pathlib.Path) -> list[dict] | None:
    """The lines of a run, written once; None for clips of the embedded stage alone."""
    c, path = setting.config, workdir / FILE
    if not path.exists():
        lines = known(c.model.checkpoint) or []
        if c.data.manifest:
            lines += lines_of(setting.train_clips, 'train')
            lines += lines_of(setting.validation_clips, 'validation')
        if lines:
            write_whole(path, ''.join(json.dumps(line) + '\n' for line in lines))
    return known(str(workdir))


def known(checkpoint: str) -> list[dict] | None:
    """The lines of a checkpoint's file; None if it has none, or one that cannot be read."""
    if not checkpoint:
        return None
    path = path_of(checkpoint) / FILE
    try:
        lines = [json.loads(line) for line in contents(path).splitlines()]
        return [{key: line[key] for key in KEYS} for line in lines] or None
    except (OSError, ValueError, KeyError, TypeError) as error:
        told = '%s: cannot be read (%s), so clips that were trained on cannot be told'
        log.warning(told, path, one_line(error))
        return None


def lines_of(clips: Sequence[Clip], use: str) -> list[dict]:
    """The lines of clips."""
    return [
        {'id': clip.id, 'source': clip.source, 'use': use, 'media': contents}
        for clip, contents in zip(clips, media_contents(clips), strict=True)
    ]


def media_contents(clips: Sequence[Clip]) -> list[list[str]]:
    """The contents of the media files of each clip that are there."""

    def of_clip(clip: Clip) -> list[str]:
        files = [medium for medium in clip.media if isinstance(medium, str)]
        return [content for content in map(file_content, files) if content]

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(of_clip, clips))


def shared_with_training(trained: list[dict] | None, clips: Sequence[Clip]) -> dict | str:
    """The clips with the id or a media file of a clip trained on; 'unknown' without its lines.

    {'clips': of the evaluation, 'ids', 'media': how many share one, 'examples': ids of some}.
    """
    if trained is None:
        return 'unknown'
    ids = {line['id'] for line in trained}
    media = {content for line in trained for content in line['media']}
    by_id = [clip.id for clip in clips if clip.id in ids]
    pairs = zip(clips, media_contents(clips), strict=True)
    by_media = [clip.id for clip, contents in pairs if media & set(contents)]
    examples = [*dict.fromkeys(by_media + by_id)][:EXAMPLES]
    return {
        'clips': len(clips),
        'ids': len(by_id),
        'media': len(by_media),
        'examples': examples,
    }


def warning_of(shared: dict | str, name: str) -> str | None:
    """A warning about shared clips in words; None if there are none, or nothing is known."""
    if shared == 'unknown' or not shared['examples']:
        return None
    return (
        f'{name}: of {shared["clips"]} clips, {shared["media"]} share a media file and '
        f'{shared["ids"]} an id with clips that the checkpoint was trained on, e.g. '
        f'{", ".join(shared["examples"])}; scores on them say nothing about new clips'
    )
