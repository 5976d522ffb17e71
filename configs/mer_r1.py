"""MER-R1: slow-fast thinking with disentangled recall and precision.

The default variant plays on the embedded stage and needs no downloads:

    python -m mer_jax.main --config configs/mer_r1.py --workdir runs/first

Single keys change on the command line: --config.learn.weights.recall=2 --config.learn.kl=0.01
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The embedded stage: a model of about a million weights, minutes on two CPU cores."""
    c = ConfigDict()
    c.seed = 0
    c.steps = 150  # updates of reinforcement learning
    c.prompts_per_step = 16

    c.model = ConfigDict()
    c.model.checkpoint = ''  # a workdir whose last policy to start from; '' = random weights
    c.model.family = 'omni'
    c.model.dtype = 'float32'  # of activations
    c.model.remat = True  # recompute layers in the backward pass: less memory, and faster on CPUs
    c.model.text = ConfigDict(
        dict(
            hidden_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            intermediate_size=384,
            mrope_section=(4, 6, 6),
            rope_theta=10_000.0,
            tie_word_embeddings=False,
        )
    )
    c.model.vision = ConfigDict(
        dict(
            hidden_size=96,
            depth=2,
            num_heads=3,
            intermediate_size=256,
            window_size=56,
            fullatt_block_indexes=(1,),
        )
    )
    c.model.audio = ConfigDict(
        dict(d_model=96, encoder_layers=2, encoder_attention_heads=3, encoder_ffn_dim=256)
    )

    c.data = ConfigDict()
    c.data.clips = 16_384  # of the stage, to train on
    c.data.manifest = ''  # JSON lines of clips to use instead of the stage
    c.data.held_out = 0.2  # share of a manifest's clips that are kept for evaluation
    c.data.max_bad_clips = 10
    c.data.prompt_tokens = 120
    c.data.fps = 2.0  # frames sampled from a video file
    c.data.max_frames = 4
    c.data.min_pixels = 56 * 56  # of a frame; others are resized
    c.data.max_pixels = 56 * 56
    c.data.wheels = ('parrott', 'feeling', 'ekman')

    c.cold_start = ConfigDict()
    c.cold_start.steps = 170
    c.cold_start.prompts_per_step = 32
    c.cold_start.learning_rate = 2e-3
    c.cold_start.towers = True  # train the towers too

    c.rollout = ConfigDict()
    c.rollout.group = 8
    c.rollout.temperature = 1.0
    c.rollout.top_p = 1.0
    c.rollout.slow_tokens = 48  # of a branch at most
    c.rollout.echo_tokens = 24  # of the fast echo of an answer
    c.rollout.anchors = 8  # words of an answer whose confidence is compared

    c.learn = ConfigDict()
    c.learn.weights = ConfigDict(dict(recall=1.0, precision=1.0, f=1.0, form=0.1))
    c.learn.disentangle = 'advantage'  # none | reward | advantage
    c.learn.calibration = ConfigDict()
    c.learn.calibration.weight = 0.2
    c.learn.calibration.space = 'advantage'  # off | reward | advantage | mixed
    c.learn.calibration.level = 'category'  # category | word
    c.learn.calibration.sides = 'both'  # recall | precision | both
    c.learn.standardise = True  # False: only the group's mean is taken off (Dr. GRPO)
    c.learn.kl = 0.04
    c.learn.clip_low = 0.2
    c.learn.clip_high = 0.2
    c.learn.aggregate = 'token'  # token | sequence | constant
    c.learn.chunk = 128

    c.optim = ConfigDict()
    c.optim.learning_rate = 3e-4
    c.optim.warmup = 5  # updates
    c.optim.clip_norm = 1.0
    c.optim.weight_decay = 0.0
    c.optim.b2 = 0.95

    c.evaluate = ConfigDict()
    c.evaluate.clips = 512
    c.evaluate.batch = 64
    c.evaluate.temperature = 0.9
    c.evaluate.top_p = 0.9

    c.mesh = ConfigDict(dict(data=-1, fsdp=1, tensor=1))  # -1: what the others leave
    c.every = ConfigDict(dict(save=25, keep=2))  # updates between checkpoints, how many stay
    return c
