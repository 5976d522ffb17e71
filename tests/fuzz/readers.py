"""Reads a file of each kind with all readers of the package that take such files."""

import functools
import pathlib

# Imports are made where they are needed: a process reads files of one kind.


def read_media(path: pathlib.Path) -> None:
    """Film, sound or picture, as a prompt takes it, and by both rules of where sound starts."""
    from mer_jax.data.media.container import MediaError
    from mer_jax.data.media.look import as_json, as_text, look_at
    from mer_jax.data.media.sound import log_mel, read_audio
    from mer_jax.data.media.video import read_video

    look = look_at(str(path), 2.0)
    as_json(look), as_text(look)
    if look.kind != 'picture':
        try:
            samples = read_audio(path, 'sound')
            if samples is not None and len(samples):
                log_mel(samples)
        except MediaError:
            pass
    if look.kind == 'film':
        read_video(path, 2.0, 16, (56 * 56, 168 * 168))


def read_npz(path: pathlib.Path) -> None:
    """An archive of labels, as members and as columns."""
    from mer_jax.data.formats import npz

    npz.read_npz(path)
    read_labels(path)


def read_xlsx(path: pathlib.Path) -> None:
    """A workbook."""
    from mer_jax.data.formats.xlsx import read_sheet

    read_sheet(path, path.read_bytes())


def read_labels(path: pathlib.Path) -> None:
    """A file of labels, scored against itself as both tasks with words or numbers would."""
    from mer_jax.evaluation.label_files import plain_words, published_words, read_column
    from mer_jax.evaluation.scoring import SENTIMENT, Task, score

    keys = ('openset', 'emo', 'val', 'fileitems', SENTIMENT)
    column = read_column(path, keys)
    for value in column.values.values():
        if isinstance(value, str):
            plain_words(value), published_words(value)
    task = 'sentiment' if column.key == 'val' else 'open'
    score(Task(task, _wheels() if task == 'open' else None), column, column)


@functools.cache
def _wheels():
    """All wheels that are shipped."""
    from mer_jax.data.wheels.wheel import load_wheels

    return load_wheels()


def read_manifest(path: pathlib.Path) -> None:
    """A manifest of clips."""
    from mer_jax.data import clips

    clips.read_manifest(path)


def read_answer(path: pathlib.Path) -> None:
    """The answer of a model, by all readers of answers."""
    from mer_jax.data.answer_text import answer_text, find_answer, is_tagged
    from mer_jax.data.answer_text import read_answer as words_of
    from mer_jax.evaluation.label_files import plain_words, published_words
    from mer_jax.evaluation.valence import pleasantness, valence

    text = path.read_bytes().decode(errors='replace')
    words = words_of(text)
    plain_words(text), published_words(text), find_answer(text), is_tagged(text)
    pleasantness(answer_text(text)), valence(words)
    _wheels().cells([words])


def read_safetensors(path: pathlib.Path) -> None:
    """All tensors of a folder."""
    from mer_jax.models.checkpoint.safetensors import scan, view

    for entry in scan(path.parent).values():
        view(entry).sum()


def read_config(path: pathlib.Path) -> None:
    """The sizes and token ids of a model."""
    from mer_jax.models.spec import read_spec, read_token_ids

    read_spec(path.parent)
    read_token_ids(path.parent)


def read_tokenizer(path: pathlib.Path) -> None:
    """The tokenizer of a folder, with its chat template."""
    from mer_jax.data import tokenizer
    from mer_jax.models.spec import read_token_ids

    tokenizer.read_tokenizer(path.parent, read_token_ids(path.parent))


def read_checkpoint(path: pathlib.Path) -> None:
    """The setting and the policy of a folder, as a prediction opens it."""
    from mer_jax.run.setting import open_checkpoint

    open_checkpoint(str(path.parent))


READERS = {
    'film': read_media,
    'sound': read_media,
    'picture': read_media,
    'npz': read_npz,
    'xlsx': read_xlsx,
    'labels': read_labels,
    'manifest': read_manifest,
    'answer': read_answer,
    'safetensors': read_safetensors,
    'config': read_config,
    'tokenizer': read_tokenizer,
    'checkpoint': read_checkpoint,
}


def outcome_of(kind: str, path: pathlib.Path) -> str:
    """'read', 'refused', or the error with which a reader broke its promise."""
    try:
        READERS[kind](path)
    except ValueError as error:  # MediaError is one
        known = path.name in str(error) or path.parent.name in str(error)
        if type(error).__module__.startswith(('builtins', 'mer_jax')) and known:
            return 'refused'
        return f'{type(error).__module__}.{type(error).__name__}: {error}'
    except Exception as error:
        return f'{type(error).__name__}: {error}'
    return 'read'
