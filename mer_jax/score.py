"""Scores a file of predictions against a file of labels, with confidence intervals.

python -m mer_jax.score --task open --wheels builtin --labels gold.csv --predictions a.jsonl
"""

import signal

from mer_jax.evaluation.scoring import main

if __name__ == '__main__':
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader such as `head` may leave early
    main()
