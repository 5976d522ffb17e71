"""Validation while training: scores on clips that are not trained on, the best update, early stop.

A test clip decides nothing here: validation clips are split off the training clips, or are those of
the validation split of a published set.
"""

import dataclasses
import functools
import logging
import pathlib
import sys
import time

import jax
import tqdm

from mer_jax.data.media.container import MediaError
from mer_jax.errors import one_line
from mer_jax.models.omni import Omni
from mer_jax.run.checkpoints import DamagedCheckpoints, open_to_read, read_policy
from mer_jax.run.held_out import answer_all, summary
from mer_jax.run.records import TIMINGS, Scalars, append_line, cut_lines, is_number, read_lines
from mer_jax.run.report_content import answers_with_frames
from mer_jax.run.setting import Setting, make_learn
from mer_jax.run.shares import gather_rows
from mer_jax.run.tracker import Tracker

FILE = 'validation.jsonl'
STAGE = 'train'
NAME = 'validation'  # in timings, TensorBoard and report

NO_TRACKER = Tracker()

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The outcome of a validation: whether to save this update, and whether to stop training."""

    best: bool = False
    stop: bool = False


class Validation:
    """The validations of a training, one line each in validation.jsonl.

    Its lines alone decide which update is the best and when training stops, so a resumed run
    decides as an uninterrupted one. A line holds {'stage', 'step', 'clips', 'fast': {…},
    'slow': {…}}, the figures as in `held_out.summary`.
    """

    def __init__(self, setting: Setting, workdir: pathlib.Path, tracker: Tracker = NO_TRACKER):
        c = setting.config
        self.setting, self.workdir, self.path = setting, workdir, workdir / FILE
        self.tracker = tracker
        self.every, self.last, self.patience = c.every.validate, c.steps, c.early_stop
        self.score = leading_score(setting)
        self.lines: list[dict] = []
        self.update = 0  # that training has reached
        self.writes = jax.process_index() == 0

    def resume(self, state, start: int) -> Verdict:
        """The verdict at update `start`, from which a run continues; later lines are dropped.

        An update that was saved before it was validated is validated now.
        """
        self.update = start
        if self.writes:
            cut_lines(self.path, STAGE, start, self.has_score)
        self.lines = gather_rows(read_lines(self.path, self.has_score) if self.writes else [])
        due = {*range(self.every, start, self.every)}
        if self.writes and (missing := sorted(due - {line['step'] for line in self.lines})):
            told = '%s: has no validation of updates %s; the best one is chosen among the others'
            log.warning(told, self.path, ', '.join(map(str, missing)))
        if self.lines and self.lines[-1]['step'] == start:
            return self.verdict()
        if self.lines and self.verdict().stop:
            return Verdict(stop=True)
        return self.after(state, start)

    def has_score(self, line: dict) -> bool:
        """Whether a line holds the score that decides."""
        slow = line.get('slow')
        return isinstance(slow, dict) and is_number(slow.get(self.score))

    def after(self, state, step: int) -> Verdict:
        """The verdict after an update; most updates are not validated."""
        self.update = step
        due = step > 0 and (step % self.every == 0 or step == self.last)
        if not due:
            return Verdict()
        self.validate(state.policy, step)
        return self.verdict()

    def validate(self, policy: Omni, step: int) -> None:
        """Answers the validation clips, with the seed of the run, and writes their scores."""
        setting, began = self.setting, time.perf_counter()
        # Of towers that change, no features are kept: the next validation could not use them.
        cached = not make_learn(setting.config.learn).trains_towers
        clips = setting.validation_clips
        rows = answer_all(setting, policy, clips, f'validate, update {step}', cached)
        if len(rows) < 2:
            raise MediaError(
                f'{len(rows)} of the {len(clips)} validation clips can be used, and a standard '
                f'error needs two; the others are named in {setting.damages.path}. Mend them, or '
                'validate on more (data.validation)'
            )
        line = {'stage': STAGE, 'step': step} | summary(
            rows, setting.method.scored, setting.method.labels
        )
        self.lines.append(line)
        if not self.writes:
            return
        seconds = {'stage': NAME, 'step': step, 'seconds': time.perf_counter() - began}
        append_line(self.path, line)
        append_line(self.workdir / TIMINGS, seconds)
        tqdm.tqdm.write(self.told(), file=sys.stderr)
        with Scalars(self.workdir, NAME, step - 1) as scalars:
            scalars.add(figures_of(line), step)
        self.tracker.add(NAME, step, figures_of(line))
        make = functools.partial(answers_with_frames, setting, clips, rows)
        self.tracker.show(NAME, NAME, step, make)

    def told(self) -> str:
        """The last line and the best one in words, for the terminal."""
        scores = [
            f'slow {self.score} {line["slow"][self.score]:.3f} at update {line["step"]}'
            for line in (self.lines[-1], self.best)
        ]
        return f'validation: {scores[0]}; best: {scores[1]}'

    def verdict(self) -> Verdict:
        """The verdict at the last line."""
        best = self.lines.index(self.best)
        later = len(self.lines) - 1 - best
        return Verdict(best=not later, stop=0 < self.patience <= later)

    @property
    def best(self) -> dict | None:
        """The line with the highest score of slow answers, the first of equals."""
        return max(self.lines, key=lambda line: line['slow'][self.score], default=None)

    def is_best(self, step: int) -> bool:
        """Whether the best line so far is that of this update."""
        return bool(self.lines) and self.best['step'] == step

    @property
    def stopped(self) -> int | None:
        """The update at which training stopped early."""
        stopped = self.lines and self.verdict().stop and self.update < self.last
        return self.update if stopped else None

    def records(self) -> list[dict]:
        """The scores of all validations as records of a stage, for its curves in the report."""
        return [{'stage': NAME, 'step': line['step']} | figures_of(line) for line in self.lines]

    def results(self) -> dict:
        """The score that decides, its best value, and the update of an early stop."""
        best = self.best
        found = {'score': self.score, 'clips': len(self.setting.validation_clips)}
        if best:
            found['best'] = {'update': best['step'], self.score: best['slow'][self.score]}
        return found | {'stopped': self.stopped}


def make_validation(
    setting: Setting, workdir: pathlib.Path, tracker: Tracker = NO_TRACKER
) -> Validation | None:
    """The validations that a config asks for; ValueError for a score that the method lacks."""
    return Validation(setting, workdir, tracker) if setting.config.every.validate else None


def leading_score(setting: Setting) -> str:
    """The score of slow answers that validation.score names; '' is F, or the method's first one."""
    scored, named = setting.method.scored, setting.config.validation.score
    if named and named not in scored:
        raise ValueError(
            f'validation.score={named!r}: must be a score of the method, one of '
            f"{', '.join(scored)}, or '' for the method's own"
        )
    return named or ('f' if 'f' in scored else scored[0])


def figures_of(line: dict) -> dict[str, float]:
    """The means of a line without their standard errors, {'slow_f': …}."""
    modes = {mode: scores for mode, scores in line.items() if isinstance(scores, dict)}
    return {
        f'{mode}_{name}': value
        for mode, scores in modes.items()
        for name, value in scores.items()
        if not name.endswith('_se')
    }


def choose_policy(
    setting: Setting, policy: Omni, workdir: pathlib.Path, validation: Validation | None
) -> tuple[Omni, dict]:
    """The policy to evaluate and export, the last or the best, and which one it is.

    {'policy': 'last' or 'best', 'update'}. `policy` is the last one; it is taken too where the best
    one cannot be read.
    """
    last = {'policy': 'last', 'update': setting.config.steps}
    if validation is None:
        return policy, last
    if validation.stopped:
        last['update'] = validation.stopped
    if setting.config.evaluate.policy == 'last' or validation.best is None:
        return policy, last
    chosen = {'policy': 'best', 'update': validation.best['step']}
    if chosen['update'] == last['update']:
        return policy, chosen
    try:
        saved = open_to_read(workdir / STAGE)
        return read_policy(saved, chosen['update'], policy), chosen
    except DamagedCheckpoints as error:
        log.warning('the last policy is evaluated instead of the best one: %s', one_line(error))
        return policy, last
