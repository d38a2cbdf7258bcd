"""The parameters for each gender: a guidance scale that stays open until the gender is known."""

from dataclasses import dataclass, replace

from latentsync.config import GENDERS, SamplerOptions
from latentsync.errors import OptionError
from latentsync.option import option, section_infos

PRESET_HINT = "the presets use 1.3 to 1.8"


@dataclass(frozen=True)
class Preset:
    """guidance_scale for each gender of speaker; `neutral` is used if the speaker's gender is unknown."""

    name: str = option("by_gender", "the name that records and tables show.")
    female: float = option(1.8, "guidance of clips that show a woman (`g-*`).", least=0, hint=PRESET_HINT)
    male: float = option(1.3, "guidance of clips that show a man (`m-*`).", least=0, hint=PRESET_HINT)
    neutral: float = option(1.5, "guidance of clips of unknown gender.", least=0, hint=PRESET_HINT)

    def __post_init__(self) -> None:
        for info in section_infos(Preset):
            info.check(getattr(self, info.name), f"preset.{info.name}")

    def guidance_scale(self, gender: str) -> float:
        """The guidance for a gender.

        Raises:
            OptionError: the gender is unknown.
        """
        if gender not in GENDERS:
            raise OptionError(f"gender {gender!r} is unknown; choose one of {', '.join(GENDERS)}")
        return getattr(self, gender)


def resolve_guidance(sampler: SamplerOptions, preset: Preset, gender: str) -> SamplerOptions:
    """The sampler with its guidance_scale filled in: an explicit value wins over the gender's preset."""
    if sampler.guidance_scale is not None:
        return sampler
    return replace(sampler, guidance_scale=preset.guidance_scale(gender))
