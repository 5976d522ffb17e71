"""Updates of a finished stage that are made again, because its last checkpoint was lost."""

import logging
import pathlib
from collections.abc import Mapping

import jax

from mer_jax.run.records import read_records
from mer_jax.run.shares import gather_rows

FIGURE = 'loss'  # by which an update is compared with its record
SAME = 0.01  # of the recorded loss; an equal run differs by rounding, or not at all

log = logging.getLogger(__name__)


class OtherResult(ValueError):
    """Updates made again have other figures than their records."""


class Repeated:
    """Compares the updates of a stage from `start` + 1 to `steps` with their records.

    A later stage has begun with the result of this one. So no record is written or cut off.
    """

    def __init__(self, workdir: pathlib.Path, stage: str, start: int, steps: int):
        self.workdir, self.stage, self.start, self.steps = workdir, stage, start, steps
        writes = jax.process_index() == 0
        records = gather_rows(read_records(workdir, stage) if writes else [])
        self.recorded = {record['step']: record[FIGURE] for record in records if FIGURE in record}
        self.compared, self.furthest = 0, 0.0
        self._say(
            'the result that a later stage has begun with is lost; updates %d to %d are made '
            'again and compared with their records. All records and later stages stay as they are',
            start + 1,
            steps,
        )

    def compare(self, step: int, figures: Mapping[str, float]) -> None:
        """Raises OtherResult if an update differs from its record by more than rounding."""
        if step not in self.recorded:
            return
        now, before = float(figures[FIGURE]), self.recorded[step]
        apart = abs(now - before) / (abs(before) or 1.0)
        if not apart <= SAME:  # not a number is no agreement
            raise OtherResult(
                f'{self.workdir / self.stage}: update {step} was made again, because its '
                f'checkpoint is lost, and has {FIGURE}={now:.6g} where its record has '
                f'{before:.6g}: a later stage has begun with another result. Nothing was moved or '
                'removed. Restore the folder from a copy; or restore the config '
                '(config_changes.jsonl lists what changed) and the package that it was made with; '
                'or choose another --workdir'
            )
        self.compared, self.furthest = self.compared + 1, max(self.furthest, apart)

    def tell(self) -> None:
        """Says how well the updates agree with their records."""
        self._say(
            'updates %d to %d were made again; %d of %d have a record, and their loss differs '
            'from it by at most %.1e of itself',
            self.start + 1,
            self.steps,
            self.compared,
            self.steps - self.start,
            self.furthest,
        )

    def _say(self, told: str, *values) -> None:
        """Logs a warning, in process 0 alone."""
        if jax.process_index() == 0:
            log.warning(f'%s: {told}', self.workdir / self.stage, *values)
