"""Traced programs of a run, kept beside the compiled ones, so that its next start traces none.

Tracing and lowering take JAX longer than reading a compiled program. A file holds a program as
portable StableHLO (jax.export), never as a pickle. Its name holds a hash of everything that the
program depends on (the package, the versions, the config, the words), a hash of the shapes of its
arguments, and how many of these are donated. It lies in the folder of compiled programs, whose
machine code is trusted no less.
"""

import concurrent.futures
import functools
import hashlib
import json
import logging
import os
import pathlib
import uuid
from collections.abc import Callable, Iterable

import jax
import jaxlib
from jax import export

from mer_jax.group import Branches, Keys, Rollout
from mer_jax.methods.emo_r3_reflection import Chances, Said
from mer_jax.run.agreement import digest_of_code
from mer_jax.run.compiled import processor
from mer_jax.run.config_rules import flat
from mer_jax.run.setting import Setting
from mer_jax.run.workdir import MOVABLE
from mer_jax.storage.paths import is_remote

FOLDER = 'traced'
LOADERS = 2  # threads of `load_ahead`; loading releases Python's lock for the most part
SUM = 32  # bytes of a file before its program: their SHA-256
UNREAD = ('cache', 'log', 'dump')  # parts of the names of JAX's settings that change no program
# Keys of a config, or their beginnings, that no program depends on, but for those whose name says
# so. Words and sizes that checkpoint and wheels give count by themselves.
UNTRACED = (
    *MOVABLE,
    *('seed', 'steps', 'cold_start.steps', 'export'),
    *('learn.rewards', 'learn.lengths', 'learn.packing'),
    *('data.cache', 'data.clips', 'data.held_out', 'data.validation'),
    *('data.max_bad_clips', 'data.threads'),
    *('every.', 'evaluate.', 'validation.', 'records.'),
)

log = logging.getLogger(__name__)
_AHEAD: dict[pathlib.Path, concurrent.futures.Future] = {}  # what `load_ahead` has begun to load

for kind in (Branches, Keys, Rollout, Chances, Said):  # results that export knows by name
    export.register_pytree_node_serialization(
        kind,
        serialized_name=f'mer_jax.{kind.__name__}',
        serialize_auxdata=lambda _: b'',
        deserialize_auxdata=lambda _: (),
    )


def keep_traced(setting: Setting, name: str, program: Callable, donates: bool = False) -> Callable:
    """The program of a run as a function that traces it only if no file holds it.

    The name holds those of the program's numbers that `about` leaves out.
    With `donates` its first argument is donated and its results are (an equal tree, figures).
    Only programs of one CPU device are kept; elsewhere compilation takes much longer than tracing.
    """
    if not keeps_traced(setting):
        return program
    return _kept(program, setting.traced, _name_of_file(setting, name), donates)


def load_ahead(setting: Setting, names: Iterable[str]) -> None:
    """Begins to load the programs with these names, where files hold them, in threads.

    Their first calls then need not wait as long. Of programs with one name, but other shapes, it
    loads the one that was written last. `keeps_traced` must be true.
    """

    def load(path):
        with setting.in_use():
            return _load(path)

    loader = concurrent.futures.ThreadPoolExecutor(LOADERS)
    for name in names:
        paths = setting.traced.glob(f'{_name_of_file(setting, name)}-*-*[0-9]')
        for path in sorted(paths, key=lambda path: path.stat().st_mtime)[-1:]:
            _AHEAD[path] = loader.submit(load, path)
    loader.shutdown(wait=False)


def keeps_traced(setting: Setting) -> bool:
    """Whether traced programs of this run are kept."""
    on_cpu = setting.mesh.size == 1 and jax.default_backend() == 'cpu'
    return setting.traced is not None and on_cpu


def _name_of_file(setting: Setting, name: str) -> str:
    """How the names of the files of a program begin, whatever the shapes of its arguments."""
    return _hash(f'{name} {about(setting)}')


def folder_of_traced() -> pathlib.Path | None:
    """The folder of traced programs, within JAX's own of compiled ones; None without one."""
    compiled = jax.config.jax_compilation_cache_dir
    if not compiled or is_remote(compiled):
        return None
    return pathlib.Path(compiled) / FOLDER


def about(setting: Setting) -> str:
    """A hash of everything but the shapes of its arguments that a program of a run depends on."""
    settings = {
        name: repr(value)
        for name, value in jax.config.values.items()
        if not any(part in name for part in UNREAD)
    }
    parts = (
        _software(),
        os.environ.get('XLA_FLAGS'),
        settings,
        {key: value for key, value in flat(setting.config).items() if not key.startswith(UNTRACED)},
        repr(setting.spec),
        setting.wheels.digest if setting.wheels else None,
        _words(setting.tokenizer),
    )
    return _hash(json.dumps(parts, default=repr, sort_keys=True))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@functools.lru_cache(maxsize=8)
def _words(tokenizer) -> str:
    """A hash of a tokenizer, which may take megabytes to write."""
    return _hash(tokenizer.backend_tokenizer.to_str())


@functools.cache
def _software() -> tuple[str, ...]:
    return digest_of_code(), jax.__version__, jaxlib.__version__, processor()


@functools.cache
def _kept(program, folder: pathlib.Path, beginning: str, donates: bool) -> Callable:
    """A function that finds the loaded program for the shapes of its arguments and calls it."""
    loaded = {}

    def call(*arguments):
        leaves, tree = jax.tree.flatten(arguments)
        shapes = tuple((x.shape, str(x.dtype)) for x in leaves)
        if (tree, shapes) not in loaded:
            donated = jax.tree.structure(arguments[0]).num_leaves if donates else 0
            path = folder / f'{beginning}-{_hash(f"{tree} {shapes}")}-{donated}'
            held = _AHEAD.pop(path).result() if path in _AHEAD else _load(path)
            if held is None:
                held = _compile(_trace(program, tree, leaves, donates, path), donated)
            loaded[tree, shapes] = held
        found = loaded[tree, shapes](*leaves)
        if donates:
            found = jax.tree.unflatten(jax.tree.structure(arguments[0]), found[0]), found[1]
        return found

    return call


def _load(path: pathlib.Path) -> Callable | None:
    """The program of a file, compiled; None if there is none, or a damaged one."""
    traced = _read(path)
    return None if traced is None else _compile(traced, int(path.name.rpartition('-')[2]))


def _compile(traced: export.Exported, donated: int) -> Callable:
    """A traced program, compiled; of its arguments the first `donated` are given to it."""
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in traced.in_avals]
    return jax.jit(traced.call, donate_argnums=tuple(range(donated))).lower(*shapes).compile()


def _trace(program, tree, leaves, donates: bool, path: pathlib.Path) -> export.Exported:
    """The traced program, which is written to this path and then read from there or from memory.

    Both give the same program to the compiler, which then compiles it once.
    """

    def flat_program(*leaves):
        found = program(*jax.tree.unflatten(tree, leaves))
        return (jax.tree.leaves(found[0]), found[1]) if donates else found

    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in leaves]
    data = export.export(jax.jit(flat_program))(*shapes).serialize()
    draft = path.with_name(f'{path.name}.{uuid.uuid4().hex}.tmp')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(hashlib.sha256(data).digest() + data)
        draft.replace(path)
    except OSError as error:  # the run can do without the file
        log.warning('%s: cannot keep a traced program: %s', path.parent, error)
    return export.deserialize(data)


def _read(path: pathlib.Path) -> export.Exported | None:
    """The program of a file; None if there is none, or a damaged one."""
    try:
        held = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(held[SUM:]).digest() != held[:SUM]:
        return None
    return export.deserialize(bytearray(held[SUM:]))
