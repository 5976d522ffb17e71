"""Figures and answers of a run in Weights & Biases or SwanLab, beside its own records."""

import contextlib
import importlib.util
import json
import logging
import os
import pathlib
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax

from mer_jax.errors import one_line
from mer_jax.run.config_rules import flat
from mer_jax.run.records import FIGURES, whole_lines
from mer_jax.storage.objects import contents, write_whole
from mer_jax.storage.paths import is_remote

FILE = 'tracker.json'  # the id of the run at each tracker that it was sent to
PROJECT = 'mer_jax'
PATIENCE = 60  # seconds that a tracker may take to start, and to send the rest at the end
PICTURE = 'frame'  # the column of a table of answers that holds a picture u8[height, width, 3]

log = logging.getLogger(__name__)


class Wandb:
    """A run of Weights & Biases. WANDB_PROJECT, WANDB_MODE and its other variables are heeded."""

    def __init__(self, run_id: str, name: str, folder: str, config: dict):
        import wandb  # optional, and imported where it is used alone

        self.library = wandb
        self.run = wandb.init(
            project=os.environ.get('WANDB_PROJECT', PROJECT),
            id=run_id,
            name=name,
            dir=folder,
            config=config,
            resume='allow',
            settings=wandb.Settings(
                console='off', init_timeout=PATIENCE, login_timeout=30, finish_timeout=PATIENCE
            ),
        )

    def add(self, figures: Mapping[str, float], step: int) -> None:
        self.run.log(dict(figures), step=step)

    def show(self, name: str, rows: Sequence[Mapping], step: int) -> None:
        table = self.library.Table(columns=list(rows[0]))
        for row in rows:
            shown = row[PICTURE] if row[PICTURE] is None else self.library.Image(row[PICTURE])
            table.add_data(*(row | {PICTURE: shown}).values())
        self.run.log({name: table}, step=step)

    def finish(self, failed: bool) -> None:
        self.run.finish(exit_code=int(failed))


class SwanLab:
    """A run of SwanLab. SWANLAB_PROJECT, SWANLAB_MODE and its other variables are heeded."""

    def __init__(self, run_id: str, name: str, folder: str, config: dict):
        import swanlab  # optional, and imported where it is used alone

        self.library = swanlab
        swanlab.init(
            project=os.environ.get('SWANLAB_PROJECT', PROJECT),
            id=run_id,
            name=name,
            log_dir=os.path.join(folder, 'swanlog'),
            config=config,
            resume='allow',
            settings=swanlab.Settings(interactive=False),
        )

    def add(self, figures: Mapping[str, float], step: int) -> None:
        self.library.log(dict(figures), step=step)

    def show(self, name: str, rows: Sequence[Mapping], step: int) -> None:
        """Its tables hold texts alone, so the pictures are beside them, with the ids of clips."""
        columns = [column for column in rows[0] if column != PICTURE]
        table = self.library.echarts.Table()
        table.add(columns, [[row[column] for column in columns] for row in rows])
        pictures = [
            self.library.Image(row[PICTURE], caption=row['id'])
            for row in rows
            if row[PICTURE] is not None
        ]
        shown = {f'{name}/{PICTURE}s': pictures} if pictures else {}
        self.library.log({f'{name}/table': table} | shown, step=step)

    def finish(self, failed: bool) -> None:
        state = {'state': 'crashed', 'error': 'see the terminal'} if failed else {}
        self.library.finish(**state)


CLIENTS = {'wandb': Wandb, 'swanlab': SwanLab}


class Tracker:
    """Sends figures and answers to a tracker; without one it does nothing.

    Its failures never end a run: after the first one there is a warning, and no more is sent. The
    step of a figure is its update counted from the first one of the cold start: `offsets` are the
    updates before each stage. Updates up to `sent`, the last one of each stage that an earlier
    start has sent, are left out, so that steps grow and a curve has each point once.
    """

    def __init__(
        self,
        name: str = '',
        connect: Callable | None = None,
        offsets: Mapping[str, int] | None = None,
        sent: Mapping[str, int] | None = None,
    ):
        self.name, self.offsets, self.sent = name, offsets or {}, dict(sent or {})
        self.last = max((self.at(stage, step) for stage, step in self.sent.items()), default=0)
        self.open = None
        if connect:
            with self._harmless():
                self.open = connect()

    def at(self, stage: str, step: int) -> int:
        """The step of an update of a stage, counted over all stages."""
        return self.offsets.get(stage, 0) + step

    def add(self, stage: str, step: int, figures: Mapping[str, float]) -> None:
        """Sends the figures of an update, as STAGE/NAME."""
        at = self.at(stage, step)
        if self.open is None or step <= self.sent.get(stage, -1) or at < self.last:
            return
        self.sent[stage], self.last = step, at
        with self._harmless():
            self.open.add({f'{stage}/{name}': value for name, value in figures.items()}, at)

    def show(self, name: str, stage: str, step: int, make: Callable[[], Sequence[Mapping]]) -> None:
        """Sends a table of the rows that `make` returns; each may have a picture.

        A table of an update before the last one that was sent is left out.
        """
        at = self.at(stage, step)
        if self.open is None or at < self.last:
            return
        with self._harmless():
            if rows := make():
                self.open.show(f'{name}/answers', rows, at)

    def finish(self, failed: bool) -> None:
        """Sends the rest, for at most PATIENCE seconds."""
        if self.open is None:
            return

        def send():
            with self._harmless():
                self.open.finish(failed)

        sending = threading.Thread(target=send, daemon=True)
        sending.start()
        sending.join(PATIENCE)
        if sending.is_alive():
            told = 'records.tracker=%s: not everything was sent in %d seconds; its files hold all'
            log.warning(told, self.name, PATIENCE)

    @contextlib.contextmanager
    def _harmless(self) -> Iterator[None]:
        """Turns an error, or an exit, of the tracker into one warning, and stops sending."""
        try:
            yield
        except (Exception, SystemExit) as error:
            self.open = None
            log.warning(
                'records.tracker=%s: %s. The run goes on without it; all figures are in %s, and '
                '%s_MODE=offline needs no network',
                *(self.name, one_line(error).rstrip('.'), FIGURES, self.name.upper()),
            )


@contextlib.contextmanager
def tracking(c, workdir: pathlib.Path) -> Iterator[Tracker]:
    """The tracker of a run by its config, until the run ends; a resumed run continues its curves.

    Process 0 alone has one.
    """
    name = c.records.tracker
    if not name or jax.process_index() > 0:
        yield Tracker()
        return
    ids = read_ids(workdir / FILE)
    offsets = dict.fromkeys(('train', 'validation', 'evaluation'), c.cold_start.steps)
    sent = last_steps(workdir) if name in ids else {}
    if name not in ids:
        ids[name] = uuid.uuid4().hex[:21]  # the length of an id of SwanLab
        write_whole(workdir / FILE, json.dumps(ids))
    folder = tempfile.mkdtemp(prefix='mer_jax_') if is_remote(workdir) else str(workdir)
    given = ids[name], workdir.name, folder, json.loads(json.dumps(flat(c)))
    tracker = Tracker(name, lambda: CLIENTS[name](*given), offsets, sent)
    try:
        yield tracker
    except BaseException as error:
        tracker.finish(failed=isinstance(error, Exception))
        raise
    tracker.finish(failed=False)


def read_ids(path: pathlib.Path) -> dict[str, str]:
    """The ids of the run by tracker; none, with a warning, if their file is damaged."""
    try:
        ids = json.loads(contents(path) or '{}')
        if isinstance(ids, dict) and all(isinstance(one, str) for one in ids.values()):
            return ids
    except ValueError:
        pass
    log.warning('%s: must hold the ids of the run by tracker; its curves begin anew', path)
    return {}


def last_steps(workdir: pathlib.Path) -> dict[str, int]:
    """The last update of each stage that was recorded, and the last validation."""
    steps: dict[str, int] = {}
    for file, stage in ((FIGURES, None), ('validation.jsonl', 'validation')):
        for record in whole_lines(workdir / file)[0]:
            name = stage or record['stage']
            steps[name] = max(record['step'], steps.get(name, 0))
    return steps


def check_tracker(name: str) -> None:
    """Checks that the package of records.tracker is installed; it is not imported."""
    if name and importlib.util.find_spec(name) is None:
        raise ValueError(
            f'records.tracker={name!r}: the package {name} is not installed; pip install -r '
            "requirements-track.txt, or set records.tracker=''"
        )
