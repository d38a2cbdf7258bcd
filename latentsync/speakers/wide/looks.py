"""Who the wide people are, beyond an `Identity`: fine skin, hair, light, lens, room and what passes before them.

Ranges are wider than those of faces in videos, so that a real face lies within them. Lengths are mm.
"""

from dataclasses import dataclass, replace

import numpy as np

from latentsync.speakers.identity import GLASSES, Identity, Rgb, check_choice, random_identity

SEED = 71  # of this kind's own draws
OVERLAYS = ("none", "noise", "stripes", "blotches", "checks", "strokes")
COVERS = ("none", "hand", "microphone", "stand", "cup", "card")
ROOMS = ("blurred", "gradient", "noise", "leaves", "stripes", "tiles", "plain")
_TONES: tuple[Rgb, ...] = (
    (250, 226, 212), (242, 208, 186), (232, 190, 164), (218, 170, 140), (196, 146, 114), (166, 118, 90), (132, 92, 70),
    (100, 68, 52), (70, 46, 37), (46, 31, 26),
)  # fmt: skip


@dataclass(frozen=True)
class Looks:
    """What wide people have beside an identity.

    Attributes:
        distance: of the camera in mm; near ones make noses large.
        mottle, redness, pores: strength of the skin's unevenness, and of its bumps.
        moles, blemishes: numbers of dark and of red spots.
        wrinkles, dark_eyes: 0..1.
        soft_jaw: mm over which the jaw goes over into the neck.
        shine: strength of highlights, and shine_width their exponent.
        overlay, overlay_amount, overlay_mm, overlay_hue: a texture over the face, its strength, scale and colour.
        beard: weights 0..1 of moustache, soul patch, chin, jaw, cheeks and neck; beard_mm the length of the hairs that
            hang below the chin, and stubble the strength of single dots.
        locks: numbers of strands of hair over the left and the right cheek.
        shades: darkness of the glasses' lenses.
        key, fill: colours of the lights; azimuth and height of the key in degrees, and its ratio to the rest.
        chin_shadow: what the chin takes of the light on the neck, 0..1.
        pattern: strength of a shadow with a pattern (leaves, blinds) over the face.
        room, room_sharp, room_hue: what is behind.
        cover: what passes before the face; cover_share the share of the clip in which it may hide the mouth.
        gain, cast, saturation, gamma: the camera's colours.
        noise, chroma_noise: deviations in steps of 255. blur, shake: px of 256. jpeg: quality, 100 is none.
        detail: share of the picture's pixels that were recorded before it was enlarged.
        sharpen: strength of the edges' halos.
        crf: of the encoder.
        lip_edge, lip_gloss, lip_lines: how sharp, moist and wrinkled lips are; lip_darker of the upper lip.
        gums, tooth_height, lower_teeth, tooth_arch, tongue_tone: the inside of the mouth.
    """

    distance: float = 1200.0
    mottle: float = 0.03
    redness: float = 0.05
    pores: float = 0.03
    moles: int = 0
    blemishes: int = 0
    wrinkles: float = 0.0
    dark_eyes: float = 0.1
    soft_jaw: float = 0.35
    shine: float = 0.15
    shine_width: float = 20.0
    overlay: str = "none"
    overlay_amount: float = 0.0
    overlay_mm: float = 12.0
    overlay_hue: Rgb = (120, 120, 120)
    beard: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    beard_mm: float = 0.0
    stubble: float = 0.0
    locks: tuple[int, int] = (0, 0)
    shades: float = 0.0
    key: Rgb = (255, 248, 238)
    fill: Rgb = (236, 242, 255)
    azimuth: float = -35.0
    height: float = 30.0
    ratio: float = 0.6
    chin_shadow: float = 0.66
    pattern: float = 0.0
    room: str = "blurred"
    room_sharp: float = 0.3
    room_hue: Rgb = (90, 110, 130)
    cover: str = "none"
    cover_share: float = 0.0
    gain: float = 1.0
    cast: tuple[float, float, float] = (1.0, 1.0, 1.0)
    saturation: float = 1.0
    gamma: float = 1.0
    noise: float = 1.0
    chroma_noise: float = 0.5
    blur: float = 0.3
    shake: float = 0.0
    jpeg: int = 100
    detail: float = 1.0
    sharpen: float = 0.0
    crf: int = 20
    lip_edge: float = 1.0
    lip_gloss: float = 0.4
    lip_lines: float = 0.5
    lip_darker: float = 0.85
    gums: float = 0.0
    tooth_height: float = 1.0
    lower_teeth: float = 0.5
    tooth_arch: float = 1.0
    tongue_tone: float = 1.0

    def __post_init__(self) -> None:
        for name, known in (("overlay", OVERLAYS), ("cover", COVERS), ("room", ROOMS)):
            check_choice(name, getattr(self, name), known)


def random_person(seed: int, gender: str) -> tuple[Identity, Looks]:
    """A wide person of `gender`; the same seed gives the same person."""
    base = random_identity(seed, gender)
    draw = np.random.default_rng([seed, SEED])
    bones, skin, hair, light, lens, mouth = draw.spawn(6)
    tone = float(skin.beta(1.0, 1.4)) * (len(_TONES) - 1)
    identity = _face(bones, base, _skin_colour(skin, tone))
    identity = replace(identity, **_mouth_shape(mouth, identity))
    identity = replace(identity, **_hair(hair, identity))
    looks = {
        **_skin(skin, identity),
        **_beard(hair, gender),
        **_light(light),
        **_lens(lens, identity.skin),
        **_inside(mouth),
    }
    if identity.hair_style == "bald":
        looks["locks"] = (0, 0)
    side = float(np.sin(np.deg2rad(looks["azimuth"])))  # the same light on ears, hair and clothes
    return replace(identity, light=round(side * (0.4 + 0.6 * looks["ratio"]), 3)), Looks(**looks)


def _pick(draw: np.random.Generator, low: float, high: float, digits: int = 3) -> float:
    return round(float(draw.uniform(low, high)), digits)


def _log(draw: np.random.Generator, low: float, high: float) -> float:
    """Between the two, even in the logarithm."""
    return round(float(np.exp(draw.uniform(np.log(low), np.log(high)))), 4)


def _some(draw: np.random.Generator, chance: float, low: float, high: float) -> float:
    """0 in most cases, else between the two."""
    value = _pick(draw, low, high)
    return value if draw.random() < chance else 0.0


def any_colour(draw: np.random.Generator, dark: float = 0.05, bright: float = 1.0, loud: float = 1.0) -> Rgb:
    """Any hue; `loud` bounds the saturation."""
    hue, saturation, value = draw.uniform(0, 2 * np.pi), loud * draw.beta(1.1, 1.8), draw.uniform(dark, bright)
    wheel = 0.5 + 0.5 * np.cos(hue - np.array([0, 2, 4]) * np.pi / 3)
    return _rgb(255 * value * (1 - saturation + saturation * wheel))


def _rgb(values: np.ndarray) -> Rgb:
    red, green, blue = (int(np.clip(round(float(value)), 4, 252)) for value in values)
    return red, green, blue


def _skin_colour(draw: np.random.Generator, tone: float) -> Rgb:
    """From the palest to the darkest; pink, olive, golden, grey; a few that nobody has."""
    colour = np.array([np.interp(tone, range(len(_TONES)), channel) for channel in np.array(_TONES, float).T])
    pink, golden, grey = np.clip(draw.standard_normal(3), -2.2, 2.2) * (0.04, 0.05, 0.12)
    colour = colour * (1 + 0.5 * pink, 1 - pink + 0.3 * golden, 1 - golden)
    strong = 1.0 + 0.45 * colour.mean() / 255 + 1.5 * grey
    colour = colour.max() - strong * (colour.max() - colour)  # paler or stronger, as bright as before
    if draw.random() < 0.03:
        colour = 0.5 * colour + 0.5 * np.array(any_colour(draw, 0.2, 0.9))
    return _rgb(colour)


_BONES = {  # deviation of the factor, and its bounds
    "face_width": (0.055, 0.86, 1.12), "jaw_width": (0.07, 0.86, 1.2), "chin_length": (0.045, 0.88, 1.08),
    "chin_width": (0.12, 0.86, 1.4), "neck_width": (0.09, 0.8, 1.2), "nose_width": (0.17, 0.65, 1.5),
    "nose_length": (0.09, 0.82, 1.22), "eye_size": (0.09, 0.78, 1.22), "eye_spacing": (0.045, 0.90, 1.10),
    "lid": (0.13, 0.62, 1.2), "brow_weight": (0.35, 0.3, 2.0),
}  # fmt: skip


def _face(draw: np.random.Generator, base: Identity, skin: Rgb) -> Identity:
    changes = {
        name: round(float(np.clip(getattr(base, name) + spread * draw.standard_normal(), low, high)), 3)
        for name, (spread, low, high) in _BONES.items()
    }
    return replace(
        base,
        skin=skin,
        **changes,
        cheekbones=_pick(draw, -0.1, 2.2),
        nose_bridge=_pick(draw, -0.2, 2.4),
        eye_tilt=_pick(draw, -1.6, 2.2),
        brow_height=_pick(draw, -2.6, 3.2),
        age=_pick(draw, 0.0, 1.0),
        cheek_tint=_pick(draw, 0.0, 1.0),
        freckles=_pick(draw, 0.0, 1.0) if draw.random() < 0.3 else 0.1,
        background=any_colour(draw),
        clothes=any_colour(draw, 0.03),
        exposure=0.0,
        contrast=1.0,
        temperature=0.0,
        softness=0.0,
        grain=0.0,
    )


def _mouth_shape(draw: np.random.Generator, base: Identity) -> dict:
    skin = np.array(base.skin, float)
    flesh = np.array([0.95, 0.66, 0.64]) * (0.62 + 0.38 * skin / skin.max())
    lips = skin * (1 + draw.uniform(0.1, 1.0) * (flesh - 1)) * draw.uniform(0.78, 1.02)
    if draw.random() < (0.45 if base.gender == "female" else 0.06):
        amount = draw.uniform(0.3, 0.95)
        wear = np.array([any_colour(draw, 0.25, 0.9), (186, 40, 52), (150, 60, 66), (120, 40, 52), (204, 104, 110)][
            int(draw.choice(5, p=(0.12, 0.22, 0.28, 0.18, 0.2)))
        ])  # fmt: skip
        lips = (1 - amount) * lips + amount * wear * draw.uniform(0.6, 1.05)
    return {
        "lips": _rgb(lips),
        "lip_fullness": _pick(draw, 0.45, 1.6),
        "upper_lip": _pick(draw, 0.55, 1.25),
        "cupid": _pick(draw, 0.0, 2.2),
        "mouth_width": _pick(draw, 0.84, 1.2),
        "mouth_drop": _pick(draw, -3.0, 3.5),
        "smile": _pick(draw, -0.5, 0.9),
        "tooth_width": _pick(draw, 0.8, 1.15),
        "tooth_gap": _some(draw, 0.15, 0.4, 2.0),
        "tooth_unevenness": round(abs(float(draw.normal(0, 0.4))), 3),
        "teeth": _rgb(np.array([240, 232, 215]) * draw.uniform(0.72, 1.03) * (1, 1, draw.uniform(0.88, 1.04))),
    }


def _hair(draw: np.random.Generator, base: Identity) -> dict:
    hair = np.array(base.hair, float)
    if draw.random() < 0.25:
        hair = np.array(any_colour(draw, 0.05, 0.95, 0.5 if draw.random() < 0.8 else 1.0), float)
    glasses = GLASSES[int(draw.integers(1, len(GLASSES)))] if draw.random() < 0.3 else "none"
    beard_hair = hair * draw.uniform(0.5, 1.1) + (draw.random() < 0.2) * np.array([70, 68, 66])
    return {
        "hair": _rgb(hair),
        "glasses": glasses,
        "frame": any_colour(draw, 0.03, 0.9, 0.6),
        "frame_mm": _pick(draw, 0.6, 3.6),
        "hair_volume": _pick(draw, 0.97, 1.10),
        "beard": "none",
        "beard_colour": _rgb(beard_hair),
    }


def _skin(draw: np.random.Generator, identity: Identity) -> dict:
    overlay = OVERLAYS[int(draw.integers(1, len(OVERLAYS)))] if draw.random() < 0.3 else "none"
    strong = draw.random() < 0.25
    return {
        "mottle": _log(draw, 0.008, 0.10),
        "redness": _log(draw, 0.01, 0.16),
        "pores": _log(draw, 0.01, 0.12),
        "moles": int(draw.poisson(draw.choice([0.5, 3.0, 12.0]))),
        "blemishes": int(draw.poisson(draw.choice([0.3, 4.0, 30.0], p=(0.6, 0.25, 0.15)))),
        "wrinkles": round(float(np.clip(identity.age + draw.normal(0, 0.2) - 0.15, 0, 1)), 3),
        "dark_eyes": _pick(draw, 0.0, 0.6),
        "soft_jaw": _log(draw, 0.3, 5.0),
        "shine": _log(draw, 0.01, 0.5),
        "shine_width": _log(draw, 8, 60),
        "overlay": overlay,
        "overlay_amount": _pick(draw, 0.35, 0.8) if strong else _pick(draw, 0.06, 0.35),
        "overlay_mm": _log(draw, 2.0, 40.0),
        "overlay_hue": any_colour(draw, 0.1, 1.0),
    }


def _beard(draw: np.random.Generator, gender: str) -> dict:
    """None, a moustache, around the mouth, or full; any weights between."""
    full = draw.random() < (0.55 if gender == "male" else 0.04)
    weights = np.zeros(6)
    if full:
        kind = int(draw.integers(4))
        likely = np.array([(1, 0.3, 0, 0, 0, 0), (0.8, 0.8, 1, 0.2, 0, 0), (0.9, 0.8, 1, 1, 0.5, 0.6),
                           (0.5, 0.5, 0.5, 0.5, 0.5, 0.5)][kind])  # fmt: skip
        weights = (draw.random(6) < likely) * draw.uniform(0.35, 1.0, 6)
    left, right = draw.poisson(draw.choice([0.0, 20.0, 90.0], p=(0.7, 0.2, 0.1)) * draw.random(2))
    return {
        "beard": tuple(round(float(weight), 3) for weight in weights),
        "beard_mm": _some(draw, 0.4 * (weights[2] > 0), 3.0, 40.0),
        "stubble": _some(draw, 0.45, 0.15, 1.0) if gender == "male" else 0.0,
        "locks": (int(left), int(right)),
        "shades": _some(draw, 0.25, 0.15, 0.95),
    }


def _light(draw: np.random.Generator) -> dict:
    coloured = draw.random() < 0.12
    white = (255 * np.array([1, draw.uniform(0.86, 1.0), draw.uniform(0.68, 1.05)])).clip(0, 255)
    sky = (255 * np.array([draw.uniform(0.8, 1.0), draw.uniform(0.9, 1.0), 1.0])).clip(0, 255)
    cover = COVERS[int(draw.choice(len(COVERS), p=(0.62, 0.14, 0.09, 0.07, 0.04, 0.04)))]
    return {
        "distance": _log(draw, 420, 2600),
        "key": any_colour(draw, 0.8, 1.0) if coloured else _rgb(white),
        "fill": any_colour(draw, 0.6, 1.0) if coloured else _rgb(sky),
        "azimuth": _pick(draw, -100, 100, 1),
        "height": _pick(draw, -25, 80, 1),
        "ratio": _pick(draw, 0.15, 0.92),
        "chin_shadow": _pick(draw, 0.05, 0.85),
        "pattern": _some(draw, 0.15, 0.2, 0.7),
        "room": ROOMS[int(draw.integers(len(ROOMS)))],
        "room_sharp": _pick(draw, 0.0, 1.0),
        "room_hue": any_colour(draw),
        "cover": cover,
        "cover_share": _pick(draw, 0.05, 0.25),
    }


def _lens(draw: np.random.Generator, skin: Rgb) -> dict:
    """A camera exposes dark skin longer."""
    bright = float((np.array(skin) / 255.0).mean() ** 2.2)
    strength = draw.choice([0.025, 0.09], p=(0.7, 0.3))
    cast = np.exp(draw.normal(0, strength, 3))
    return {
        "gain": round(_log(draw, 0.6, 1.6) * float((0.58 / max(bright, 0.02)) ** 0.35), 4),
        "cast": tuple(round(float(value), 3) for value in cast / cast.mean()),
        "saturation": round(float(np.clip(draw.normal(1.02, 0.22), 0.3, 1.6)), 3) if draw.random() < 0.97 else 0.0,
        "gamma": _log(draw, 0.75, 1.35),
        "noise": _log(draw, 0.15, 9.0),
        "chroma_noise": _log(draw, 0.05, 4.0),
        "blur": _log(draw, 0.12, 1.1),
        "shake": _some(draw, 0.3, 0.5, 4.0),
        "jpeg": int(draw.integers(25, 92)) if draw.random() < 0.35 else 100,
        "detail": _pick(draw, 0.4, 0.9) if draw.random() < 0.2 else 1.0,
        "sharpen": _some(draw, 0.4, 0.2, 1.6),
        "crf": int(draw.integers(15, 33)),
    }


def _inside(draw: np.random.Generator) -> dict:
    return {
        "lip_edge": _log(draw, 0.5, 2.2),
        "lip_gloss": _log(draw, 0.05, 1.0),
        "lip_lines": _pick(draw, 0.0, 1.5),
        "lip_darker": _pick(draw, 0.68, 1.0),
        "gums": _some(draw, 0.4, 0.2, 1.0),
        "tooth_height": _pick(draw, 0.75, 1.25),
        "lower_teeth": _pick(draw, 0.0, 1.0),
        "tooth_arch": _pick(draw, 0.6, 1.5),
        "tongue_tone": _pick(draw, 0.6, 1.3),
    }
