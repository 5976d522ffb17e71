"""Which column of a table holds what: guessed by its name, or named by the user."""

import re
from collections.abc import Iterable, Mapping

ROLES = {  # role → names of columns, the most telling first
    'id': 'id name clip_id video_id utterance_id sample_id item_id uid key filenames'.split(),
    'video': 'video video_path videos video_file video_name clip clip_path clip_name mp4'.split(),
    'audio': 'audio audio_path audios audio_file sound wav speech'.split(),
    'image': 'image image_path images image_file picture photo img'.split(),
    'media': 'file path filename file_name file_path media media_path'.split(),
    'words': (
        'words emotions emotion openset open_set label labels emotion_label emo discrete answer '
        'solution gold target category class fileitems'
    ).split(),
    'answer': ['answer'],  # the gold answer, beside another column of words
    'cues': 'cues clues'.split(),
    'subtitle': (
        'subtitle subtitles transcript transcription english sentence utterance speech_text text '
        'chinese'
    ).split(),
    'question': 'question problem instruction query prompt'.split(),
    'reasoning': 'reasoning reason rationale description explanation think analysis'.split(),
    'source': (
        'source speaker speaker_id film movie dialogue dialogue_id dialog_id conversation '
        'conversation_id session show series actor subject'
    ).split(),
    'split': 'split subset partition fold usage'.split(),
}
MEDIA_ROLES = ('video', 'audio', 'image', 'media')
_OTHER = re.compile(r'[^0-9a-z]+')


def plain_name(column: str) -> str:
    """A name of a column in small letters, with _ for everything that is no letter or digit."""
    return _OTHER.sub('_', column.strip().lower()).strip('_')


def guess(columns: Iterable[str], asked: Mapping[str, str], where: str) -> dict[str, str]:
    """Role → column of a table, as `asked` names it, else by its name; without roles that it lacks.

    ValueError if an asked column is not in the table.
    """
    columns = list(columns)
    by_name = {plain_name(column): column for column in reversed(columns)}
    found: dict[str, str] = {}
    for role, column in asked.items():
        if column not in columns:
            there = ', '.join(columns)[:200]
            raise ValueError(f'{where}: --{role}={column}: there is no such column; it has {there}')
        found[role] = column
    for role, names in ROLES.items():
        free = (by_name[name] for name in names if name in by_name)
        column = next((column for column in free if column not in found.values()), None)
        if role not in found and column is not None:
            found[role] = column
    return found


def is_labelled(columns: Mapping[str, str]) -> bool:
    """Whether a table names its clips and their words."""
    named = any(role in columns for role in ('id', *MEDIA_ROLES))
    return named and 'words' in columns
