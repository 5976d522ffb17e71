"""Placeholders of a prompt repeated for the tokens of their media, and positions of all tokens."""

import dataclasses
import itertools

import numpy as np

# Where the text after a video of Qwen2.5-VL continues. 'paper': behind the largest position of the
# video on any axis, as in the paper, vLLM and `transformers` up to 5.2. 'transformers_5_3': behind
# its longer side in cells, as in `transformers` since 5.3, where the text after a long video takes
# positions of its later frames. Images and the Omni Thinker have the same positions by both.
VIDEO_POSITIONS = ('paper', 'transformers_5_3')


@dataclasses.dataclass(frozen=True)
class Layout:
    """The numbers of a checkpoint that prompts depend on; audio ids are None if it cannot hear."""

    family: str  # 'omni' or 'vl'
    image: int  # token ids
    video: int
    vision_start: int
    vision_end: int
    audio: int | None = None
    audio_start: int | None = None
    audio_end: int | None = None
    patch: int = 14  # pixels
    merge: int = 2  # a cell is merge x merge patches and becomes one token
    temporal_patch: int = 2  # frames
    window: int = 4  # cells along a side of an attention window: window_size // merge // patch
    chunk: int = 200  # log-mel frames encoded together: 2 · n_window
    bands: int = 128
    position_id_per_seconds: int = 25  # temporal positions, 'omni'
    seconds_per_chunk: int = 2  # of video, then of its sound, alternately
    tokens_per_second: int = 2  # temporal positions, 'vl'
    max_rule: bool = True  # 'vl': text after a video follows the 'paper' of VIDEO_POSITIONS


def picture_tokens(grid, layout):
    """How many tokens an image or video of (t, rows, columns) patches becomes."""
    t, rows, columns = grid
    return t * (rows // layout.merge) * (columns // layout.merge)


def audio_tokens(mel_frames):
    """How many tokens a sound of `mel_frames` log-mel frames becomes (40 ms each)."""
    return ((mel_frames - 1) // 2 + 1) // 2


def expand(ids, grids, seconds_per_grid, audio_lengths, layout, audio_in_video):
    """Token ids i[t] in which each placeholder is repeated as often as its medium has tokens.

    `grids` (t, rows, columns in patches) and `seconds_per_grid` hold one entry for each image or
    video in order of appearance (the seconds of an image are ignored), `audio_lengths` the log-mel
    frames of each sound. With `audio_in_video` every video takes the next sound, and their tokens
    alternate between an audio start token and an audio end token.
    """
    ids = np.asarray(ids)
    places = _placeholders(ids, layout)
    kinds = ids[places]
    sounds = np.sum(kinds == layout.audio) + audio_in_video * np.sum(kinds == layout.video)
    _require_equal('placeholders of images and videos', np.sum(kinds != layout.audio), len(grids))
    _require_equal('placeholders of sounds', sounds, len(audio_lengths))
    pictures, lengths = zip(grids, seconds_per_grid, strict=True), iter(audio_lengths)
    pieces = np.split(ids, np.stack([places, places + 1], 1).ravel())  # text, placeholder, text, …
    for i, kind in enumerate(kinds):
        if kind == layout.audio:
            pieces[2 * i + 1] = np.full(audio_tokens(next(lengths)), kind)
            continue
        grid, seconds = next(pictures)
        pieces[2 * i + 1] = np.full(picture_tokens(grid, layout), kind)
        if kind == layout.video and audio_in_video:
            order = np.concatenate(_turns(grid, seconds, next(lengths), layout))
            mixed = np.where(order < picture_tokens(grid, layout), layout.video, layout.audio)
            pieces[2 * i + 1] = np.concatenate([[layout.audio_start], mixed, [layout.audio_end]])
    return np.concatenate(pieces).astype(np.int32)


def positions(ids, grids, seconds_per_grid, audio_lengths, layout):
    """The (time, height, width) position of each token of one expanded, unpadded prompt: i[3, t].

    Text and sound count up by one, equally on the three axes; a picture fills a box, and counting
    continues after it. A video with its sound inside is recognised by its start tokens; the other
    arguments are those of `expand`. Equals `get_rope_index` of `transformers` for the Omni Thinker
    and, with max_rule off, for Qwen2.5-VL since 5.3; see VIDEO_POSITIONS.
    """
    ids = np.asarray(ids)
    places = _placeholders(ids, layout)
    heard = np.sum(ids == layout.audio)
    _require_equal('tokens of sounds', heard, sum(map(audio_tokens, audio_lengths)))
    cells = sum(picture_tokens(grid, layout) for grid in grids)
    _require_equal('tokens of images and videos', len(places) - heard, cells)
    pictures, lengths = zip(grids, seconds_per_grid, strict=True), iter(audio_lengths)
    blocks, done, free = [], 0, 0
    while (ahead := np.searchsorted(places, done)) < len(places):
        start = places[ahead]
        if start > 0 and ids[start] == layout.video and ids[start - 1] == layout.audio_start:
            start -= 1  # the second start token belongs to the block
        blocks.append(_line(free, start - done))
        free += start - done
        if ids[start] == layout.audio:
            block, free = _sound(free, next(lengths))
        elif ids[start] == layout.audio_start:
            block, free = _film(free, *next(pictures), next(lengths), layout)
        else:
            grid, seconds = next(pictures)
            moving = ids[start] == layout.video
            block, free = _picture(free, grid, seconds if moving else 0.0, layout)
        blocks.append(block)
        done = start + block.shape[1]
    blocks.append(_line(free, len(ids) - done))
    return np.concatenate(blocks, 1).astype(np.int32)


def _placeholders(ids, layout):
    """The indices of all image, video and audio tokens in ids."""
    kinds = [layout.image, layout.video]
    return np.flatnonzero(np.isin(ids, kinds if layout.audio is None else [*kinds, layout.audio]))


def _require_equal(what, found, wanted):
    if found != wanted:
        raise ValueError(f'the prompt has {found} {what}, but media for {wanted} were given')


def _line(free, tokens):
    """Positions that count on from `free`, the same on all three axes."""
    return np.broadcast_to(np.arange(free, free + tokens), (3, tokens))


def _sound(free, mel_frames):
    tokens = audio_tokens(mel_frames)
    return _line(free, tokens), free + tokens


def _picture(free, grid, seconds, layout):
    """The box of an image or video, frame by frame in raster order, and the position after it."""
    t, rows, columns = grid[0], grid[1] // layout.merge, grid[2] // layout.merge
    box = np.indices((t, rows, columns)).reshape(3, -1)
    box[0] = _times(t, seconds, layout)[box[0]]
    beyond = max(rows, columns) if layout.family == 'vl' and not layout.max_rule else box.max() + 1
    return box + free, free + beyond


def _film(free, grid, seconds, mel_frames, layout):
    """A video with its sound inside, from the second start token to the second end token.

    The two start tokens share a position, and so do the two end tokens. These follow the last turn,
    though an earlier turn may hold a larger position.
    """
    together = np.concatenate(
        [_picture(free, grid, seconds, layout)[0], _sound(free, mel_frames)[0]], 1
    )
    turns = _turns(grid, seconds, mel_frames, layout)
    end = together[:, turns[-1]].max() + 1
    mixed = together[:, np.concatenate(turns)]
    return np.concatenate([_line(free - 1, 1), mixed, _line(end, 1), _line(end, 1)], 1), end + 1


def _times(t, seconds, layout):
    """The temporal position of each temporal patch: i[t].

    Computed in float32 and in this order of factors, because the products are truncated: float64
    would give other integers.
    """
    patch, seconds = np.arange(t, dtype=np.float32), np.float32(seconds)
    if layout.family == 'omni':
        return (patch * seconds * np.float32(layout.position_id_per_seconds)).astype(np.int64)
    return (patch * (np.float32(layout.tokens_per_second) * seconds)).astype(np.int64)


def _turns(grid, seconds, mel_frames, layout):
    """Video and sound cut into alternating spans of `seconds_per_chunk`: a list of indices.

    The indices count the tokens of the video, then those of the sound.
    """
    cells = picture_tokens(grid, layout)
    span = int(layout.position_id_per_seconds * layout.seconds_per_chunk)
    film = _spans(np.repeat(_times(grid[0], seconds, layout), cells // grid[0]), span)
    sound = [cells + index for index in _spans(np.arange(audio_tokens(mel_frames)), span)]
    pairs = itertools.zip_longest(film, sound)
    return [turn for pair in pairs for turn in pair if turn is not None]


def _spans(times, span):
    """The indices of the rising `times`, cut at each multiple of `span`.

    A token closes at most one span. If frames lie more than a span apart, the second token of a
    frame closes the next span and splits the frame: the checkpoints were trained this way.
    """
    cuts = [int(np.searchsorted(times, span))]
    while cuts[-1] < len(times):
        following = int(np.searchsorted(times, span * (len(cuts) + 1)))
        cuts.append(max(cuts[-1] + 1, following))
    return np.split(np.arange(len(times)), cuts[:-1])
