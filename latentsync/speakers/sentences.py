"""What is said: sentences rich in lip shapes, and how to reach a wanted length. Knows nothing of pictures."""

import re
from collections.abc import Iterator, Sequence

import numpy as np

from latentsync.errors import MediaError
from latentsync.speakers.voice import Speech, Voice, joined, speak

MAX_SENTENCES = 60  # of one clip
SINGLE_TRIES = 5  # sentences that are tried alone before several are joined
DRAWN_TRIES = 12  # generated sentences among which one of fitting length is sought
MARGIN = 1.12  # estimated over wanted length; measured lengths spread by about a tenth
LETTER_S = {"flite": 0.068, "espeak": 0.062}  # mean time of a character, blanks counted, at stretch 1

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

# Never spoken in training: each has words that the generator below does not know.
HELD_OUT_SENTENCES = (
    "The lamp beside the armchair flickered twice before midnight.",
    "A volunteer pumped fresh water from the village well.",
    "Put the pepper mill back beside the vinegar.",
    "Foreign visitors often praise the view from our balcony.",
    "Mud splashed over the bumper of the ambulance.",
    "When the whistle blew, forty swimmers jumped from the pier.",
    "Our plumber fixed the dripping pipe within an hour.",
    "Could anybody prove that the painting was a forgery?",
    "The beaver built a dam above the waterfall.",
    "Velvet curtains muffled the voices from the ballroom.",
    "Wipe the mirror with vinegar and a piece of newspaper.",
    "They postponed the wedding because of the flood.",
    "Every shopkeeper swept the pavement at half past eight.",
    "A bumblebee hovered above the foxgloves.",
    "We wandered through the cobbled lanes until the moon rose.",
    "My uncle repairs old typewriters and wooden violins.",
    "The vet bandaged the puppy's front paw.",
    "Fog crept up the valley and swallowed the church tower.",
    "How much would it cost to ship fifty pumpkins abroad?",
    "The pianist bowed, smiled, and vanished behind the curtain.",
    "Beware of the slippery steps by the fountain.",
    "Two woodpeckers hammered at the hollow trunk.",
    "She whispered the password through the keyhole.",
    "Bamboo grows faster than any other plant in our park.",
    "His umbrella flew off and landed on the library roof.",
    "The puppet wore a velvet waistcoat and tiny boots.",
    "Most of the survivors were rowing towards the lighthouse.",
    "Above all, never provoke a swan with cygnets.",
    "The wooden bridge wobbled under the weight of the wagon.",
    "From the attic window we watched the fireworks over the harbour.",
)

# --- the generator: slots in braces are filled with words; a slot's name in a word is filled in turn

_WORDS: dict[str, str] = {
    "name": "Bob Amy Mary Paul Eve Peter Emma Oliver Ruby Fiona Victor Phoebe Molly Ben Hugo Viola Tom Louise Philip "
    "Bella George Wendy Arthur Sophie Max Zoe Boris Julia Frank Abby Ivy Moira Umberto Priya Omar Yvonne",
    "place": "Boston Paris Vienna Rome Berlin Bombay Lima Moscow Peru Warsaw Venice Oslo Geneva Vermont Mumbai Fiji "
    "Bristol Malmo Java Utah Havana Bavaria Poland Ghana",
    "person": "farmer baker woman mother father brother sister bishop boy girl teacher doctor painter fisherman "
    "postman pilot waiter lawyer cook judge nurse neighbour friend child manager writer poet singer driver officer "
    "butcher grandmother builder professor foreman barber wife husband shepherd jeweller weaver",
    "people": "farmers women men brothers parents children friends visitors workers boys girls families teachers "
    "fathers pupils players members people painters bakers pirates puppies wolves",
    "animal": "puppy wolf bear fox cow bee bird rabbit monkey camel beetle frog pony sheep lamb goose mouse swan owl "
    "buffalo hippo whale viper moth sparrow robin leopard poodle",
    "thing": "book boat map apple bottle box poem photo table window pie cup spoon lamp jewel coffee muffin pump paper "
    "film wheel shoe hammer piano flute bell basket loaf pillow movie blanket button medal balloon basement bicycle "
    "bag violin melon peach bean mop broom whip ring toy wagon vase cube fork knife van pipe bomb tomb stamp ribbon",
    "things": "books boats apples bottles boxes poems photos pies cups spoons lamps jewels muffins papers films wheels "
    "shoes bells baskets pillows mushrooms tomatoes potatoes pumps plums beans peas maps waffles bananas moments ropes",
    "food": "soup beef milk coffee honey bread jam butter pepper fish lamb pie porridge tofu veal fruit mushrooms "
    "pancakes oatmeal popcorn ham vanilla marmalade plum_juice apple_pie",
    "spot": "room house garden river beach farm village shop museum bridge road hill valley wood market cave pool "
    "school church office kitchen harbour forest tower barn ship theatre cabin moor avenue palace pub zoo mill station",
    "adj": "old new big small warm blue brown white purple beautiful happy famous heavy empty broken smooth brave "
    "perfect funny foolish bright wooden wonderful fair polite modern awful huge amber ripe soft rough lovely "
    "simple humble mute proud bitter cheap mauve rubber oval pale vivid woolly shy thorough",
    "adv": "slowly happily often never always maybe finally quietly usually probably firmly smoothly foolishly bravely "
    "warmly openly above_all softly rarely promptly proudly",
    "past": "found bought moved saw brought opened followed carried painted remembered forgot wanted removed borrowed "
    "watched washed loved dropped picked_up finished chose shaped weighed grabbed visited believed_in gave_away "
    "pushed observed approved_of improved wiped wrapped fed shoved bumped_into stopped described admired",
    "verb": "find buy move see bring open follow carry paint remember forget want remove borrow watch wash love drop "
    "choose wrap push improve finish leave weigh save prove hide keep feed wave_at shave describe stop believe_in",
    "went": "walked ran moved swam jumped flew drove hurried came wandered rode marched crept sailed waved slipped "
    "fell limped wobbled bounced",
    "prep": "by over above behind below before beyond past from under near beside",
    "time": "today tomorrow on_Monday on_Friday in_May in_February before_supper after_breakfast at_five "
    "every_morning this_evening at_half_past_four by_November all_summer in_the_afternoon at_noon for_two_weeks",
    "number": "two three four five seven nine twelve fifteen fifty forty eleven both most few a_hundred ninety_five "
    "seventy-four a_million some of_the many",
    "feel": "happy hopeful worried proud furious brave weary amused bored puzzled moved baffled awful warm calm",
    "ask": "who why where how when",
    "aux": "would could should might must may will",
    "weather": "warm wet foggy bright windy stormy mild humid fair gloomy rough",
}
_PATTERNS = (
    "The {adj} {person} {past} {number} {adj} {things}",
    "{name} and {name} {went} {prep} the {adj} {spot}",
    "My {person} {past} a {adj} {thing} in {place}",
    "{aux} you {verb} the {thing}, please?",
    "Why {aux} the {person} {verb} my {thing}?",
    "{ask} {aux} {name} {verb} the {adj} {thing} {time}?",
    "We {aux} {verb} {number} {things} before {name} comes home",
    "The {animal} {adv} {went} {prep} the {spot}",
    "If you {verb} the {thing}, {name} {aux} be very {feel}",
    "{time}, the {people} {past} {food} and {food}",
    "{name}, {aux} you {verb} the {adj} {animal} {time}?",
    "I {past} the {thing} {prep} the {spot}, but {name} {past} it {time}",
    "{number} {people} from {place} {past} our {spot}",
    "It was a {weather} and {weather} day {prep} the {spot}",
    "They never {verb} {things} without {food}",
    "Whoever {past} the {thing} {aux} have been {feel}",
    "{people} and {people} {aux} always {verb} {things}",
    "You {aux} move to {place} with five {things}",
    "She {past} me a {adj} story about a {animal} and a {person}",
    "How many {things} {aux} your {person} {verb} {time}?",
    "Please {verb} the {food}, the {food}, and the {adj} {thing}",
    "{number} and {number} make {number}, said the {feel} {person}",
    "The {spot} {prep} the {spot} looked {adj} and {weather}",
    "When we {went} home, {name} was {feel}, and {name} was {feel}",
    "I believe that the {people} of {place} {verb} {food} {time}",
    "Give {name} {number} {things}, and {verb} the {thing}",
    "{food}, {food}, or {food}: what {aux} the {person} have?",
    "My {adj} {animal} {past} {name}'s {thing} {time}",
    "A {animal} {went} {prep} our {adj} {spot} while we {past} {food}",
    "{name} plays the {thing} {adv}, and the {people} {aux} move",
    "Above the {spot}, {number} {adj} {things} were {prep} a {thing}",
    "Who {past} the {adj} {things} of {name} from {place}?",
    "No {person} {aux} {verb} a {adj} {animal}",
    "Oh, what a {adj} {spot}!",
)
VOCABULARY: dict[str, tuple[str, ...]] = {
    slot: tuple(word.replace("_", " ") for word in words.split()) for slot, words in _WORDS.items()
}
_SLOT = re.compile(r"\{(\w+)\}")


def random_sentence(seed: int) -> str:
    """An English sentence of about ten words, by grammar rather than sense; the same seed gives the same sentence."""
    draw = np.random.default_rng([seed, 42])
    pattern = _PATTERNS[draw.integers(len(_PATTERNS))]
    said = _SLOT.sub(lambda slot: str(draw.choice(VOCABULARY[slot.group(1)])), pattern)
    said = re.sub(r"\b([Aa]) (?=[aeiouAEIOU])(?!unif|one|Utah|used)", r"\1n ", said)
    return said[0].upper() + said[1:] + ("" if said[-1] in ".?!" else ".")


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


def fit_random_speech(voice: Voice, seconds: float, seed: int) -> tuple[str, Speech]:
    """Generated sentences, drawn by `seed`, and the speech of at least `seconds` that `voice` makes of them.

    The synthesiser is asked once, or twice where the sentences turn out shorter than their letters promise.
    """
    own_seed = int(np.random.default_rng([seed, 43]).integers(2**31))
    drawn = (random_sentence(own_seed + number) for number in range(MAX_SENTENCES))
    said, letter_s = "", LETTER_S[voice.engine] * voice.stretch
    for attempt in range(3):
        said = _extend(said, drawn, round(seconds * MARGIN / letter_s))
        speech = speak(said, voice)
        if speech.duration_s >= seconds:
            return said, speech
        letter_s = speech.duration_s / len(said) / (1 + 0.2 * attempt)
    raise MediaError(f"{said!r} lasts only {speech.duration_s:.1f} s of {seconds} s; ask for fewer seconds")


def fit_rested_speech(voice: Voice, seconds: float, rest_s: float, seed: int) -> tuple[str, Speech]:
    """Generated speech of at least `seconds` with a rest of half to all of `rest_s`, drawn by `seed`.

    The rest lies before the speech, after it, or, in half of the cases, between two halves.
    """
    draw = np.random.default_rng([seed, 44])
    length_s, place = float(draw.uniform(0.5, 1.0)) * rest_s, draw.choice(["before", "after", "between", "between"])
    if place != "between":
        said, speech = fit_random_speech(voice, seconds, seed)
        return said, joined([speech], [length_s, 0.0] if place == "before" else [0.0, length_s])
    seeds = draw.integers(2**31, size=2).tolist()
    halves = [fit_random_speech(voice, seconds / 2, own_seed) for own_seed in seeds]
    return " ".join(said for said, _ in halves), joined([speech for _, speech in halves], [0.0, length_s, 0.0])


def _extend(said: str, drawn: Iterator[str], letters: int) -> str:
    """`said` with further sentences, at least `letters` long; what is too short or much too long is passed over."""
    shortest = ""
    for _ in range(DRAWN_TRIES):
        if len(said) >= letters:
            return said
        sentence = next(drawn, "")
        total = len(said) + len(sentence)
        if letters <= total <= 1.5 * letters or total < 0.6 * letters:
            said = f"{said} {sentence}".strip()
        elif total >= letters and (not shortest or len(sentence) < len(shortest)):
            shortest = sentence
    for sentence in (shortest, *drawn):
        if len(said) >= letters:
            break
        said = f"{said} {sentence}".strip()
    return said
