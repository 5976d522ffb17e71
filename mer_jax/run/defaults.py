"""Default configs of a run: MER-R1, the GRPO baseline, the cold start alone.

Files of configs/ import these functions; a config of your own may call one and change single keys.
mer_jax.main reads this file itself where `--config` is not given.

The comment beside a key is its meaning, with its unit in brackets; a comment above belongs to it
too. `--print_config` shows them (key_meanings), so every key has one.
"""

from collections.abc import Iterable

from ml_collections import ConfigDict

from mer_jax.models.lora import TARGETS

FAMILIES = {  # variant: the family of its checkpoint
    'qwen2_5_omni_7b': 'omni',
    'qwen2_5_omni_3b': 'omni',
    'qwen2_5_vl_7b': 'vl',
    'qwen2_5_vl_3b': 'vl',
}
LORA = ',lora'  # at the end of a variant
SOURCES = {  # of values of `published`; its other values are choices of this project
    'paper': (
        'MER-R1, arXiv 2606.27652',
        (
            *('steps', 'rollout.group', 'optim.learning_rate'),
            *('cold_start.steps', 'cold_start.learning_rate'),
        ),
    ),
    'code': (
        'vhzy/HumanOmniV2 on GitHub, affect_r1',
        (
            *('seed', 'prompts_per_step', 'model.dtype', 'cold_start.towers', 'learn.train'),
            *('data.prompt_tokens', 'data.max_frames', 'data.audio_in_video'),
            *('rollout.slow_tokens', 'learn.kl', 'learn.clip_low', 'learn.clip_high'),
            *('learn.calibration.weight', 'optim.clip_norm'),
            *('evaluate.temperature', 'evaluate.top_p'),
        ),
    ),
}


def mer_r1(variant: str = '') -> ConfigDict:
    """MER-R1 on the embedded stage, or the variant that trains a published checkpoint.

    NAME,lora trains adapters of it in place of all weights.
    """
    if not variant:
        return stage()
    name = check_variant(variant, FAMILIES)
    c = published(FAMILIES[name])
    return adapters_alone(c) if variant != name else c


def check_variant(variant: str, known: Iterable[str]) -> str:
    """The name of the checkpoint in a variant NAME or NAME,lora; ValueError for another one."""
    name = variant.removesuffix(LORA)
    if name not in known:
        raise ValueError(
            f'--config FILE:{variant}: the variants are {", ".join(known)}, each also with {LORA} '
            f'behind it for adapters; leave out :{variant} for the embedded stage'
        )
    return name


def adapters_alone(c: ConfigDict) -> ConfigDict:
    """The config of a run that trains adapters in place of all weights, at ten times the rates."""
    c.learn.train = 'lora'
    c.cold_start.towers = False
    c.cold_start.learning_rate *= 10
    c.optim.learning_rate *= 10
    return c


def grpo_f1(variant: str = '') -> ConfigDict:
    """The plain baseline: GRPO with one F reward, no disentanglement, no calibration."""
    c = mer_r1(variant)
    c.learn.disentangle = 'none'
    c.learn.calibration.space = 'off'
    return c


def sft(variant: str = '') -> ConfigDict:
    """The cold start alone: no updates of reinforcement learning."""
    c = mer_r1(variant)
    c.steps = 0
    c.every.validate = 0
    c.evaluate.policy = 'last'
    return c


def stage() -> ConfigDict:
    """MER-R1 on the embedded stage: a model of about a million weights, minutes on two cores."""
    c = small_run()
    c.method = 'mer_r1'
    c.data.wheels = ('parrott', 'feeling', 'ekman')
    c.rollout.fast = 0  # those of a group that begin fast, the last ones; 0: none [branches]
    c.rollout.echo_tokens = 24  # at most, of the fast echo of an answer [tokens]
    c.rollout.anchors = 8  # at most, of an answer, whose confidence is compared [words]
    c.learn.weights = ConfigDict(
        dict(
            recall=1.0,  # weight of the share of gold categories that are named
            precision=1.0,  # weight of the share of named categories that are gold
            f=1.0,  # weight of the F of both; acts where learn.disentangle is none
            form=0.1,  # weight of a branch with all tags, each once
        )
    )
    c.learn.disentangle = 'advantage'  # where recall and precision part: none | reward | advantage
    c.learn.calibration = ConfigDict()
    c.learn.calibration.weight = 0.2  # of both sides of the slow-fast confidence calibration
    c.learn.calibration.space = 'advantage'  # added there: off | reward | advantage | mixed
    c.learn.calibration.level = 'category'  # whose confidence is compared: category | word
    c.learn.calibration.sides = 'both'  # that count: recall | precision | both
    return c


def small_run() -> ConfigDict:
    """The keys that every method has, with values for a small model on the embedded stage."""
    c = ConfigDict()
    c.method = ''  # mer_r1 | emo_r3
    c.seed = 0  # of weights, clips, batches and sampling
    c.steps = 150  # of reinforcement learning; 0: the cold start alone [rollouts]
    c.prompts_per_step = 16  # of a rollout, over all devices [prompts]

    c.model = ConfigDict()
    c.model.checkpoint = ''  # a Hugging Face folder, or the workdir of a run; '' = random weights
    c.model.adapter = ''  # a LoRA adapter in a folder of PEFT, to start learn.train=lora from
    c.model.family = 'omni'  # Qwen2.5-Omni or Qwen2.5-VL: omni | vl
    c.model.dtype = 'float32'  # of activations: float32 | bfloat16
    # Of trained weights but adapters: float32 | bfloat16, which would round small updates away.
    c.model.weights = 'float32'
    c.model.remat = True  # recompute layers in the backward pass: less memory, faster on CPUs
    c.model.video_positions = 'paper'  # of text after a video, family vl: paper | transformers_5_3
    c.model.attention = 'auto'  # auto | plain | blocks | splash | fused: see docs/PODS.md
    c.model.text = ConfigDict(
        dict(
            hidden_size=128,  # width of the decoder
            num_hidden_layers=4,  # layers of the decoder
            num_attention_heads=4,  # heads of queries
            num_key_value_heads=2,  # heads of keys and values
            head_dim=32,  # width of a head
            intermediate_size=384,  # width of the gated layer
            mrope_section=(4, 6, 6),  # rotary pairs of a head for time, height and width
            rope_theta=10_000.0,  # base of the rotary angles
            tie_word_embeddings=False,  # True: input and output share one embedding
        )
    )
    c.model.vision = ConfigDict(
        dict(
            hidden_size=96,  # width of the vision tower
            depth=2,  # layers of the vision tower
            num_heads=3,  # heads of the vision tower
            intermediate_size=256,  # width of its gated layer
            window_size=56,  # side of a window of attention [pixels]
            fullatt_block_indexes=(1,),  # layers, from 0, that attend to the whole picture
        )
    )
    c.model.audio = ConfigDict(
        dict(
            d_model=96,  # width of the audio tower
            encoder_layers=2,  # layers of the audio tower
            encoder_attention_heads=3,  # heads of the audio tower
            encoder_ffn_dim=256,  # width of its feed-forward layer
        )
    )

    c.data = ConfigDict()
    c.data.stage = 'films'  # drawn by the embedded stage: films | home | away (other pictures)
    c.data.clips = 16_384  # drawn from the stage to train on [clips]
    c.data.manifest = ''  # instead of the stage: JSON lines of clips, or KEY:FOLDER of a known set
    # Published splits of an image set come before this share.
    c.data.held_out = 0.2  # share of a manifest's clips that only evaluation uses
    c.data.validation = 0.05  # share of the other clips to validate on, if every.validate > 0
    c.data.max_bad_clips = 10  # damaged ones that are skipped before the run ends [clips]
    c.data.prompt_tokens = (120,)  # a batch is padded to the first that holds it [tokens]
    c.data.system = ''  # system message; '' = the default of the chat template, if it has one
    c.data.subtitle = '{}'  # {} is replaced by the subtitle
    c.data.question = 'What does this person feel?'  # asked about every clip without its own
    c.data.own_questions = True  # False: data.question is asked even where a clip has a question
    c.data.audio_in_video = True  # False: the sound of a video follows its frames
    c.data.sound_start = 'film'  # the beginning to which a film's sound belongs: film | sound
    c.data.fps = 2.0  # sampled from a video file [frames a second]
    c.data.max_frames = 4  # of a clip, spread over it evenly [frames]
    c.data.min_pixels = 56 * 56  # of a frame; smaller ones are enlarged [pixels]
    c.data.max_pixels = 56 * 56  # of a frame; larger ones are made smaller [pixels]
    c.data.threads = 2  # that read and decode clips while the devices compute, in each process
    c.data.cache = ''  # folder for features of frozen towers; '' = no cache
    c.data.wheels = ()  # of emotion words, for methods that use them

    c.cold_start = ConfigDict()
    c.cold_start.steps = 170  # of imitating gold answers; 0: none [updates]
    c.cold_start.prompts_per_step = 32  # over all devices [prompts]
    c.cold_start.learning_rate = 2e-3  # after the warm-up
    c.cold_start.aggregate = 'token'  # the loss is a mean over tokens or branches: token | sequence
    c.cold_start.towers = True  # train the towers as well as the decoder

    c.rollout = ConfigDict()
    c.rollout.group = 8  # of a prompt [branches]
    c.rollout.temperature = 1.0  # of sampling
    c.rollout.top_p = 1.0  # probability of the likeliest tokens that are drawn from; 1: all
    c.rollout.slow_tokens = 48  # at most, of a branch [tokens]
    c.rollout.microbatch = 0  # grown at a time; lower for less memory; 0: all [prompts a device]

    c.learn = ConfigDict()
    c.learn.train = 'decoder'  # trained weights: decoder | all (towers too) | lora (adapters alone)
    c.learn.lora = ConfigDict()  # docs/LORA.md
    c.learn.lora.rank = 16  # of an adapter, where learn.train is lora
    c.learn.lora.alpha = 32.0  # an adapter's output is multiplied by alpha / rank
    c.learn.lora.targets = TARGETS  # linear layers of the decoder that get an adapter
    c.learn.lora.towers = False  # True: all linear layers of the towers get one too
    c.learn.weights = ConfigDict()  # of the reward terms
    c.learn.rewards = ()  # functions of your own: (texts, clips) → {name: numbers[b, g]}
    c.learn.standardise = True  # False: subtract the group's mean only (Dr. GRPO)
    c.learn.kl = 0.04  # weight of KL(policy ‖ reference) in nats; 0: no reference is held
    c.learn.ratio = 'token'  # of probabilities, by token or branch: token | sequence (GSPO)
    c.learn.clip = 'ppo'  # clipped surrogate: ppo | cispo
    c.learn.clip_low = 0.2  # a ratio is clipped below 1 minus this
    c.learn.clip_high = 0.2  # a ratio is clipped above 1 plus this
    c.learn.clip_dual = 0.0  # bound of the ratio where the advantage is negative; 0: none
    c.learn.ratio_cap = 0.0  # bound of the weight for decoding's rounding, e.g. 2.0; 0: no weight
    c.learn.aggregate = 'token'  # mean of the loss over tokens: token | sequence | constant
    c.learn.drop_overlong = False  # leave answers cut off by length out of the loss
    c.learn.drop_silent = False  # leave groups without spread out of the loss
    c.learn.minibatches = 1  # of a rollout, each on its share of the prompts [updates]
    c.learn.epochs = 1  # times that the minibatches of a rollout are repeated
    c.learn.microbatch = 0  # learnt at a time; lower for less memory; 0: all [prompts a device]
    # Below rollout.slow_tokens; a rollout is learnt in the shortest that holds it.
    c.learn.lengths = ()  # of branches, each compiled for; (): rollout.slow_tokens alone [tokens]
    # A row takes the fewest parts that hold its tokens; each number that occurs is compiled for.
    c.learn.packing = 4  # equal parts of the padded length of a row; 0: learn with padding [parts]
    c.learn.chunk = 128  # whose logits of the vocabulary are held at a time [tokens]

    c.optim = ConfigDict()
    c.optim.learning_rate = 3e-4  # of reinforcement learning, after the warm-up
    c.optim.warmup = 5  # of both stages, with a rate that grows [updates]
    c.optim.clip_norm = 1.0  # a larger norm of the gradient is scaled down to it
    c.optim.weight_decay = 0.0  # of AdamW
    c.optim.b2 = 0.95  # decay of Adam's second moment
    c.optim.decay_to = 0.1  # share of the rate at the last update; 1.0: constant
    c.optim.moments = 'float32'  # dtype of Adam's two moments

    c.evaluate = ConfigDict()
    c.evaluate.clips = 512  # at most, of the held-out ones [clips]
    c.evaluate.batch = 64  # answered at a time, over all devices [clips]
    c.evaluate.temperature = 0.9  # of sampling
    c.evaluate.top_p = 0.9  # probability of the likeliest tokens that are drawn from; 1: all
    c.evaluate.policy = 'last'  # the policy evaluated and exported at the end: last | best

    c.validation = ConfigDict()
    c.validation.clips = 64  # at most, set aside from the training clips [clips]
    c.validation.score = ''  # of slow answers, the higher the better; '' = that of the method
    c.early_stop = 0  # without a better score, training stops; 0: never [validations]

    c.mesh = ConfigDict(
        dict(
            data=-1,  # copies of the weights; -1: what the others leave; 0: one for 8 [devices]
            fsdp=1,  # that share weights and prompts; -1: what the others leave [devices]
            tensor=1,  # that share heads, gated layers and vocabulary; -1: the rest [devices]
        )
    )
    c.mesh.rules = mesh_rules()
    c.every = ConfigDict()
    c.every.save = 25  # between two checkpoints [updates]
    c.every.keep = 2  # that stay saved [checkpoints]
    c.every.validate = 0  # of reinforcement learning between validations; 0: none [rollouts]
    c.spike = ConfigDict()
    c.spike.factor = 10.0  # times its median: a loss or gradient norm above is a spike; 0: none
    c.spike.stop = 0  # in a row with a spike end the run; 0: it only warns [updates]
    c.memory_check = 'auto'  # before the first step: auto | arrays | programs | off
    c.export = False  # write the last policy as a Hugging Face folder into WORKDIR/export
    c.records = ConfigDict()
    c.records.tracker = ''  # of curves, beside TensorBoard: wandb | swanlab; '' = none
    return c


def mesh_rules() -> ConfigDict:
    """The axes of the mesh, joined by commas, over which training splits arrays; '' none."""
    rules = ConfigDict()
    rules.batch = 'data,fsdp'  # axes of the mesh that split prompts
    rules.embed = 'fsdp'  # that split weights and moments along the width
    rules.heads = 'tensor'  # that split heads
    rules.mlp = 'tensor'  # that split gated layers
    rules.vocab = 'tensor'  # that split the vocabulary
    return rules


def published(family: str) -> ConfigDict:
    """The settings published for Qwen2.5-Omni-7B, as far as they are known.

    MER-R1 (arXiv 2606.27652): group 4, learning rates 2e-5 (cold start: 5,000 clips, 2 epochs) and
    2e-6 (one epoch), 16 GPUs. The public code line of its first author (vhzy/HumanOmniV2 on GitHub,
    affect_r1): KL 0.04, clip 0.2, prompts of 2,048 and branches of 1,024 tokens, bfloat16, gradient
    norm 1, 16 x 2 prompts an update, at most 16 frames a clip, towers frozen, seed 42, sound inside
    the video; evaluation at temperature 0.9 and top-p 0.9. Unknown settings keep the values of the
    stage: the weights of the terms and of the calibration, temperature 1.
    """
    c = stage()
    c.seed = 42
    c.steps = 800  # one epoch of about 25,000 clips
    c.prompts_per_step = 32
    c.model.family = family
    c.model.dtype = 'bfloat16'
    c.model.text = c.model.vision = c.model.audio = ConfigDict()  # sizes of the checkpoint

    c.data.prompt_tokens = (768, 1280, 2048)
    c.data.question = (
        'You are an expert on human emotion. Look at the face and the movements of the body, hear '
        'the tone of the voice, weigh the subtitle, and say in detail what you find and what state '
        'of mind it shows. Reason inside <think> </think>, then name all emotions that fit, '
        'separated by commas, inside <answer> </answer>.'
    )
    c.data.subtitle = 'The subtitle reads: <Subtitle>{}</Subtitle>'
    c.data.max_frames = 16
    c.data.min_pixels = 20 * 28 * 28
    c.data.max_pixels = 128 * 28 * 28

    c.cold_start.steps = 312  # two epochs of 5,000 clips
    c.cold_start.learning_rate = 2e-5
    c.cold_start.towers = False
    c.rollout.group = 4
    c.rollout.slow_tokens = 1024
    c.rollout.echo_tokens = 64
    c.rollout.anchors = 16
    c.learn.microbatch = 1
    c.learn.lengths = (256, 512)
    c.optim.learning_rate = 2e-6
    c.optim.b2 = 0.999
    c.evaluate.batch = 32
    c.evaluate.policy = 'best'
    c.every.validate = 50
    c.validation.clips = 256
    c.mesh.update(data=0, fsdp=-1)  # tokens are decoded by 8 devices together,
    c.mesh.rules.embed = 'fsdp,data'  # and weights and moments are spread over all
    c.export = True
    return c


get_config = mer_r1  # the name that --config looks for in a file
