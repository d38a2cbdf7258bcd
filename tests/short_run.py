"""A shipped clip, and options that take the least time."""

from latentsync.config import Options, SamplerOptions
from latentsync.lab.options.pairs import SHIPPED_DIR

CLIP = SHIPPED_DIR / "g-clara.mp4"


FAST = Options(SamplerOptions(guidance_scale=1.5, num_inference_steps=2))
