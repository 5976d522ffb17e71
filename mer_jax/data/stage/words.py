"""The language of the embedded stage: emotion words, subtitles, cues, reasoning traces."""

from typing import NamedTuple

import numpy as np

QUESTION = 'What does this person feel?'

# Every emotion word of the stage. The first three of a family go from weak to strong; the last one
# is a further word that the crowd uses for it.
FAMILIES = {
    'joy': ('pleased', 'happy', 'delighted', 'cheerful'),
    'love': ('fond', 'tender', 'loving', 'caring'),
    'pride': ('confident', 'proud', 'triumphant', 'successful'),
    'surprise': ('surprised', 'amazed', 'astonished', 'astounded'),
    'sadness': ('gloomy', 'sad', 'miserable', 'unhappy'),
    'anger': ('annoyed', 'angry', 'furious', 'irritated'),
    'fear': ('nervous', 'afraid', 'terrified', 'worried'),
    'disgust': ('repelled', 'disgusted', 'revolted', 'repulsed'),
    'shame': ('regretful', 'guilty', 'ashamed', 'remorseful'),
}
VALENCE = {
    'joy': 1,
    'love': 1,
    'pride': 1,
    'surprise': 0,
    'sadness': -1,
    'anger': -1,
    'fear': -1,
    'disgust': -1,
    'shame': -1,
}
# The family with which annotators confuse a family.
KIN = {
    'joy': 'love',
    'love': 'joy',
    'pride': 'joy',
    'surprise': 'fear',
    'sadness': 'shame',
    'anger': 'disgust',
    'fear': 'surprise',
    'disgust': 'anger',
    'shame': 'sadness',
}

MODALITIES = ('face', 'voice', 'words')
# How a family looks, sounds and reads.
MANNER = {
    'joy': ('beaming', 'bright', 'sunny'),
    'love': ('soft', 'gentle', 'kind'),
    'pride': ('lifted', 'firm', 'bold'),
    'surprise': ('wide', 'leaping', 'wondering'),
    'sadness': ('drooping', 'slow', 'heavy'),
    'anger': ('frowning', 'loud', 'sharp'),
    'fear': ('pale', 'trembling', 'haunted'),
    'disgust': ('wrinkled', 'creaking', 'sour'),
    'shame': ('lowered', 'faint', 'humble'),
}

PHRASES = {
    'joy': (
        'I could dance all day with {person}',
        'this is the best party of the year',
        '{person} made me laugh so hard {time}',
        'the sun is out and we are going to the sea',
        'we get ice cream {time}',
        'what fun we had with {person}',
    ),
    'love': (
        'come here and hold my hand',
        'I made {person} some soup and tea',
        'sleep well my little one',
        '{person} means the world to me',
        'I will always look after {person}',
        'I kissed {person} good night',
    ),
    'pride': (
        'I made {thing} all by myself',
        'nobody knows {thing} better than me',
        'we took first place {time}',
        '{person} put my name on the wall',
        'look at the prize I got for {thing}',
        'I knew I would beat {person}',
    ),
    'surprise': (
        'wait what is {person} doing here',
        'I did not see that coming {time}',
        'how on earth did {thing} get in here',
        'no way that is really {person}',
        'you mean it was {person} the whole time',
        'where did {thing} suddenly come from',
    ),
    'sadness': (
        'I miss {person} every day',
        'the house is so empty without {person}',
        'I cried over {thing} {time}',
        'we had to say goodbye to {person}',
        'nothing will bring {thing} back',
        'I just want to stay in bed {time}',
    ),
    'anger': (
        'how dare {person} touch {thing}',
        'I told {person} to stop it',
        'get out of my way {time}',
        'this is not fair at all',
        '{person} broke {thing} on purpose',
        'I have had enough of {person}',
    ),
    'fear': (
        'there is someone behind the door',
        'please do not leave me here {time}',
        'I heard steps in the dark {time}',
        'what if {person} never comes back',
        'do not turn off the light',
        'something moved under {thing}',
    ),
    'disgust': (
        'this soup smells like old fish',
        'there is a hair in my food {time}',
        '{person} never washes {thing}',
        'take that rotten meat away',
        'I can not swallow this slime',
        'the sink is full of mould {time}',
    ),
    'shame': (
        'I should never have lied to {person}',
        'it was my fault that {thing} broke',
        'I can not look {person} in the eyes',
        'I stole {thing} from {person}',
        'please forgive me for {thing}',
        'I let {person} down {time}',
    ),
}
PLAIN_PHRASES = (
    'the bus leaves at nine',
    '{person} will call {time}',
    'the shop is on the left',
    'it is half past four',
    '{person} parked next to the bank',
    'the meeting is in room two',
    '{thing} is on the table',
    'we need paper for {thing}',
)
SLOTS = {
    'person': ('my sister', 'my brother', 'grandma', 'our teacher', 'my boss', 'Anna', 'Tom'),
    'thing': ('the cake', 'the letter', 'the old car', 'the garden', 'the report', 'the guitar'),
    'time': ('today', 'tonight', 'this time', 'again'),
}
MARKS = (('well, ', '.'), ('', '.'), ('oh, ', '!'))  # around a clause: weak, medium, strong
PLAIN_CLAUSE = 0.35  # share of the subtitles of one feeling that have a second, plain clause


class Feeling(NamedTuple):
    """An emotion with its strength: 0 weak, 1 medium, 2 strong."""

    family: str
    strength: int

    @property
    def word(self) -> str:
        return FAMILIES[self.family][self.strength]


def pick(rng: np.random.Generator, choices: tuple) -> object:
    """One of the choices."""
    return choices[int(rng.random() * len(choices))]


def subtitle(rng: np.random.Generator, shown: tuple[Feeling, ...]) -> str:
    """One or two clauses that show the feelings without naming them."""
    clauses = [(pick(rng, PHRASES[feeling.family]), MARKS[feeling.strength]) for feeling in shown]
    if not shown or (len(shown) == 1 and rng.random() < PLAIN_CLAUSE):
        clauses.insert(int(rng.random() * 2), (pick(rng, PLAIN_PHRASES), MARKS[1]))
    slots = {name: pick(rng, fillers) for name, fillers in SLOTS.items()}
    return ' '.join(before + phrase.format(**slots) + after for phrase, (before, after) in clauses)


def manner(modality: str, shown: tuple[Feeling, ...], joint: str) -> str:
    """The manner of a modality, one adjective for each feeling."""
    place = MODALITIES.index(modality)
    return joint.join(MANNER[feeling.family][place] for feeling in shown) or 'plain'


def cue(modality: str, shown: tuple[Feeling, ...]) -> str:
    """A sentence about the manner of one modality."""
    verb = 'are' if modality == 'words' else 'is'
    return f'The {modality} {verb} {manner(modality, shown, ", then ")}.'


def trace(shown: dict[str, tuple[Feeling, ...]], liar: str | None) -> str:
    """The gold reasoning: each modality, the emotions it shows, and which one is false."""
    clauses = []
    for modality, feelings in shown.items():
        clause = f'{modality} {manner(modality, feelings, " then ")}'
        words = ', '.join(feeling.word for feeling in feelings)
        clauses.append(f'{clause}: {words}.' if words else f'{clause}.')
    if liar:
        clauses.append(f'{liar} false.')
    return ' '.join(clauses)
