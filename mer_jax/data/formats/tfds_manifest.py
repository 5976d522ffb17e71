"""Writes manifests as a TensorFlow Datasets data set with splits and a version.

    python -m mer_jax.data.formats.tfds_manifest --out tfds train=train.jsonl test=test.jsonl

It needs no TensorFlow.
The data set holds the bytes of all media files, so it can be copied as a whole. It is read without
this module by `tfds.builder_from_directory` and `as_data_source`.
"""

import argparse
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath

import numpy as np
import tensorflow_datasets as tfds

from mer_jax.data.clips import LISTS, MEDIA, TEXTS, Clip, read_manifest
from mer_jax.errors import quiet_pipes

_FORMAT = tfds.core.FileFormat.ARRAY_RECORD  # the format that needs no TensorFlow
_FILE = {'name': tfds.features.Text(), 'bytes': tfds.features.Tensor(shape=(), dtype=np.object_)}


class Manifest(tfds.core.GeneratorBasedBuilder):
    """The clips of manifests, one split each; `manifests` maps the name of a split to its file."""

    def __init__(
        self,
        *,
        manifests: Mapping[str, str | os.PathLike],
        data_dir: str | os.PathLike,
        version: str = '1.0.0',
    ):
        self.manifests = {split: Path(path) for split, path in manifests.items()}
        self.VERSION = tfds.core.Version(version)
        super().__init__(data_dir=os.fspath(data_dir), file_format=_FORMAT)

    def origin(self) -> dict[str, str]:
        """The digest of each manifest, kept as metadata of the data set."""
        return {
            split: hashlib.sha256(path.read_bytes()).hexdigest()
            for split, path in self.manifests.items()
        }

    def _info(self) -> tfds.core.DatasetInfo:
        text, several = tfds.features.Text, tfds.features.Sequence
        columns = {'id': text()} | {key: text() for key in TEXTS}
        columns |= {key: several(text()) for key in LISTS} | {key: several(_FILE) for key in MEDIA}
        return tfds.core.DatasetInfo(
            builder=self,
            description='Clips of people and their annotations.',
            features=tfds.features.FeaturesDict(columns),
            metadata=tfds.core.MetadataDict(self.origin()),
            disable_shuffling=True,  # clips stay in the order of their manifest
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        return {split: self._generate_examples(path) for split, path in self.manifests.items()}

    def _generate_examples(self, path: Path) -> Iterator[tuple[int, dict]]:
        for index, clip in enumerate(read_manifest(path)):
            example = {'id': clip.id} | {key: getattr(clip, key) for key in TEXTS}
            example |= {key: list(getattr(clip, key)) for key in LISTS}
            example |= {key: _files(clip, key) for key in MEDIA}
            yield index, example


def prepare(
    manifests: Mapping[str, str | os.PathLike], out: str | os.PathLike, version: str = '1.0.0'
) -> Path:
    """Writes the data set and returns its folder, `out`/manifest/`version`.

    An existing data set of the same manifests is left as it is. ValueError if it was made of other
    manifests, if a manifest breaks a rule or a media file cannot be read; OSError for a missing
    manifest.
    """
    builder = Manifest(manifests=manifests, data_dir=out, version=version)
    builder.download_and_prepare()
    if builder.info.metadata != builder.origin():
        raise ValueError(
            f'{builder.data_path}: was made of other manifests; give this data set another version'
        )
    return Path(builder.data_path)


def read_clips(prepared: str | os.PathLike, split: str, media: str | os.PathLike) -> list[Clip]:
    """The clips of a split ('train', 'train[:10%]', …), their media written into folder `media`.

    A media file is named by the digest of its bytes and its old ending, so reading a second time
    writes nothing.
    """
    source = tfds.builder_from_directory(os.fspath(prepared)).as_data_source(split)
    Path(media).mkdir(parents=True, exist_ok=True)
    return [_clip(example, Path(media)) for example in source]


def _files(clip: Clip, key: str) -> list[dict]:
    """The names and bytes of a clip's media files of one kind."""
    paths = clip.images if key == 'image' else (getattr(clip, key),)
    files = []
    for path in paths:
        if path is not None:
            try:
                files.append({'name': PurePath(path).name, 'bytes': Path(path).read_bytes()})
            except OSError as error:
                raise ValueError(f'clip {clip.id!r}: {key}={path}: {error.strerror}') from error
    return files


def _clip(example: dict, media: Path) -> Clip:
    # A data set of an earlier release lacks the texts that were added later.
    texts = {key: example[key].decode() for key in ('id', *TEXTS) if key in example}
    lists = {key: tuple(word.decode() for word in example[key]) for key in LISTS}
    paths = {}
    for key in MEDIA:
        named = zip(example[key]['name'], example[key]['bytes'], strict=True)
        found = tuple(_keep(media, name.decode(), data) for name, data in named)
        paths[key] = found if len(found) > 1 else next(iter(found), None)
    return Clip(**texts, **lists, **paths)


def _keep(media: Path, name: str, data: bytes) -> str:
    """The path of a file with these bytes, which is written if it is missing."""
    # The name may be hostile: only an ending of letters and digits is kept.
    ending = PurePath(name).suffix if PurePath(name).suffix[1:].isalnum() else ''
    path = media / (hashlib.sha256(data).hexdigest()[:32] + ending)
    if not path.exists():
        part = path.with_name(f'{path.name}.{os.getpid()}')
        part.write_bytes(data)
        part.rename(path)
    return str(path)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m mer_jax.data.formats.tfds_manifest',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--out', type=Path, required=True, help='a TFDS data_dir')
    parser.add_argument('--version', default='1.0.0', help='three numbers (default 1.0.0)')
    parser.add_argument('splits', nargs='+', metavar='SPLIT=MANIFEST', help='train=a.jsonl …')
    flags = parser.parse_args(arguments)
    manifests = {}
    for split in flags.splits:
        name, _, path = split.partition('=')
        if not name or not path:
            parser.error(f'{split!r} must be SPLIT=MANIFEST, as in train=clips/manifest.jsonl')
        manifests[name] = path
    try:
        print(prepare(manifests, flags.out, flags.version))
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == '__main__':
    with quiet_pipes():
        main()
