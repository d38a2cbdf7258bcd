"""Tables of sweeps whose effects are known."""

import numpy as np
import pandas as pd

# --- tables ---


def sweep_table(clips: int, effects: dict[float, float], gender: str = "female", seed: int = 0) -> pd.DataFrame:
    """Records of clips with two voices and two seeds; the sync of a clip at a setting has the setting's effect."""
    generator = np.random.default_rng(seed)
    rows = []
    for clip in range(clips):
        own = generator.normal(0, 1)
        for setting, effect in effects.items():
            answer = generator.normal(effect, 0.3)
            for voice in "ab":
                for number in range(2):
                    sync = 5 + own + answer + generator.normal(0, 0.1)
                    rows.append((f"{gender}{clip}", voice, gender, number, setting, sync))
    return pd.DataFrame(rows, columns=["clip", "voice", "gender", "seed", "guidance_scale", "sync"])
