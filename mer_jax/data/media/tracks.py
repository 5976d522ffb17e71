"""Which track of a file is its film, and which its sound."""

import av

from mer_jax.data.media.container import MediaError, open_container

# Tracks that accompany a film or are parts of a picture.
_COVERS = (
    av.stream.Disposition.attached_pic
    | av.stream.Disposition.timed_thumbnails
    | av.stream.Disposition.still_image
    | av.stream.Disposition.dependent
)
_NEEDED = {'video': 2, 'audio': 1}  # packets of a track that holds more than a still, or nothing


def film_track(container: av.container.InputContainer) -> av.stream.Stream | None:
    """The video track that a player would show; None if there is none.

    Cover pictures do not count, and a still picture counts only where no track moves.
    """
    return _best(container, 'video', None)


def sound_track(container: av.container.InputContainer) -> av.stream.Stream | None:
    """The audio track that a player would play; None if there is none.

    In a broadcast of several programmes it is a track of the film's own programme.
    """
    streams = container.streams.video
    film = film_track(container) if streams and len(container.streams.audio) > 1 else None
    return _best(container, 'audio', film)


def passed_over(container: av.container.InputContainer, chosen: av.stream.Stream) -> str:
    """A note on the other tracks of the kind of the chosen one; '' if there are none."""
    others = [
        str(stream.index)
        for stream in container.streams
        if stream.type == chosen.type and stream.index != chosen.index
    ]
    if not others:
        return ''
    return f'{chosen.type} track {chosen.index} is read; not read: track {", ".join(others)}'


def _best(
    container: av.container.InputContainer, kind: str, related: av.stream.Stream | None
) -> av.stream.Stream | None:
    """FFmpeg's best stream of this kind among those that can be decoded and are not empty."""
    streams = [
        stream
        for stream in container.streams
        if stream.type == kind and not stream.disposition & _COVERS
    ]
    usable = [stream for stream in streams if stream.codec_context is not None]
    if streams and not usable:
        raise MediaError(f'the {kind} track has a codec that cannot be decoded')
    if len(usable) > 1:
        full = _full(container.name, [stream.index for stream in usable], _NEEDED[kind])
        usable = [stream for stream in usable if stream.index in full] or usable
    best = container.streams.best(kind, related=related)
    if best is not None and best.index in [stream.index for stream in usable]:
        return best
    default = av.stream.Disposition.default
    return next((stream for stream in usable if stream.disposition & default), None) or next(
        iter(usable), None
    )


def _full(path: str, indices: list[int], needed: int) -> set[int]:
    """Those of these tracks that hold at least `needed` packets; decodes nothing."""
    count = dict.fromkeys(indices, 0)
    with open_container(path) as container:
        for packet in container.demux([container.streams[index] for index in indices]):
            if packet.size:
                count[packet.stream_index] += 1
            if min(count.values()) >= needed:
                break
    return {index for index, packets in count.items() if packets >= needed}
