"""What is said: sentences rich in lip shapes, and how to reach a wanted length. Knows nothing of pictures."""

from collections.abc import Sequence

import numpy as np

from latentsync.errors import MediaError
from latentsync.speakers.voice import Voice, speak

MAX_SENTENCES = 60  # of one clip
SINGLE_TRIES = 5  # sentences that are tried alone before several are joined

SENTENCES = (
    "My brother bought five warm blueberry pies.",
    "The old boat moved slowly over the water.",
    "Please open the window before you leave.",
    "We have to finish the book by Monday.",
    "Five people saw a beautiful white bird.",
    "Maybe you could bring me a cup of coffee.",
    "The farmer put four apples on the table.",
    "Who would believe such a wonderful story?",
    "Both of them were happy about the music.",
    "I remember the summer we spent by the sea.",
    "A small brown fox jumped over the wall.",
    "Papa made a pot of mushroom soup for me.",
    "They never found the map of the valley.",
    "You should always wash your hands before supper.",
    "The train to Boston leaves at half past seven.",
    "My favourite film is about a moon voyage.",
    "How many oranges do we need for breakfast?",
    "Father showed us how to fix the broken wheel.",
    "It was a bright and windy afternoon in May.",
    "Would you mind moving your blue car, please?",
    "The baby laughed and clapped her hands.",
    "Every morning we walk along the river.",
    "Nobody knew where the black cat came from.",
    "Above the hills a few clouds were floating by.",
    "Bob and Amy will meet us at the museum.",
    "Smooth waves washed over the empty beach.",
    "She chose a purple scarf for the evening.",
    "Go up the road and turn left by the mill.",
    "The weather forecast promised rain and thunder.",
    "He plays the oboe in a very good orchestra.",
)


def fit_sentence(sentences: Sequence[str], voice: Voice, seconds: float, seed: int) -> str:
    """What `voice` needs at least `seconds` to say, drawn by `seed`: one sentence if that is enough, else several."""
    order = np.random.default_rng([seed, 41]).permutation(len(sentences))
    for index in order[:SINGLE_TRIES]:
        if speak(sentences[index], voice).duration_s >= seconds:
            return sentences[index]
    said: list[str] = []
    for index in range(MAX_SENTENCES):
        said.append(sentences[order[index % len(order)]])
        if speak(" ".join(said), voice).duration_s >= seconds:
            return " ".join(said)
    raise MediaError(
        f"{MAX_SENTENCES} sentences last under {seconds} s; ask for fewer seconds or give longer sentences"
    )
