"""Answers clips with a checkpoint: slow thinking, fast thinking, or both.

python -m mer_jax.predict --checkpoint runs/first clip.mp4 --subtitle "I am fine."
"""

from mer_jax.evaluation.prediction import main

if __name__ == '__main__':
    main()
