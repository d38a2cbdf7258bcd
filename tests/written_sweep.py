"""A finished sweep on disk, of real videos with made-up numbers."""

import os

from record_content import content

from latentsync.files import write_json
from latentsync.generation.stage_cache import input_sha256
from latentsync.lab.options.folders import sweep_folder
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.lab.records.identity import record_id
from latentsync.lab.records.store import CURVES_FILE, METRICS_FILE, PROVEN, RECORD_FILE, RESULT_FILE, RecordStore
from latentsync.metrics.definitions import entry
from latentsync.proof import proof_of

HOSTILE = "<script>alert(1)</script>"


CLIPS = ("g-clara", "m-oskar")


GUIDANCE = (1.0, 1.5)


SEEDS = (7, 42)


def write_sweep(runs, name: str, trained: bool = True) -> None:
    """A record for each of two clips, guidance scales and seeds, whose results are the clips themselves, and a
    failure."""
    cells = {(scale, seed): [] for scale in GUIDANCE for seed in SEEDS}
    for i, clip in enumerate(CLIPS):
        for scale in GUIDANCE:
            for seed in SEEDS:
                record = f"{i}{scale * 10:.0f}{seed}"
                facts = content(record, f"{clip}__{clip}", ("female", "male")[i], seed, scale)
                path = SHIPPED_DIR / f"{clip}.mp4"
                facts["pair"]["clip"] = {"name": path.name, "sha256": input_sha256(path), "path": str(path)}
                facts["preset"]["guidance_from"] = "given"
                facts["model"]["trained"] = trained
                facts |= {"made": "2026-11-25T16:57:53Z", "versions": {"torch": "2.14.1"}}
                facts["model"]["weights_sha256"] = {"unet": "ead3d2ca"}
                value = 0.1 * i + 0.01 * scale + 0.001 * seed
                with RecordStore(runs).new(record) as folder:
                    os.link(path, folder / RESULT_FILE)
                    metrics = {"lpips_alex_mouth": entry("lpips_alex_mouth", value, network="LPIPS v0.1 alex")}
                    write_json(folder / METRICS_FILE, metrics | {"psnr": entry("psnr", 30 + value)})
                    write_json(folder / RECORD_FILE, facts)
                cells[scale, seed].append({"record": record, "status": "done", "pair": f"{clip}__{clip}"})
    failed = {
        "record": None,
        "status": "failed",
        "pair": "g-x__g-x",
        "stage": "align",
        "reason": HOSTILE,
        "trace": None,
    }
    cells[GUIDANCE[0], SEEDS[0]].append(failed)
    for (scale, seed), outcomes in cells.items():
        overrides = [f"sampler.guidance_scale={scale}", f"sampler.seed={seed}"]
        cell = {"overrides": overrides, "noted": 0.0, "outcomes": outcomes}
        write_json(sweep_folder(runs, name) / f"cells/{scale}_{seed}.json", cell)


def write_many(runs, name: str, video, clips: int, settings: int, seeds: int = 1) -> None:
    """A large sweep whose results are all one video, and whose clips are nowhere. Confidence rises with the clip's
    number, and mouth LPIPS with guidance."""
    cells, proof = {}, {name: {**proof_of([video])[video.name]} for name in PROVEN}
    for setting in range(settings):
        scale = round(1 + setting / 10, 3)
        for seed in range(seeds):
            cells[scale, seed] = []
            for clip in range(clips):
                identity = {"cell": [setting, seed, clip]}
                record = record_id(identity)
                facts = content(record, f"c-{clip}__c-{clip}", ("female", "male")[clip % 2], seed, scale)
                for kind in ("clip", "voice"):
                    facts["pair"][kind] |= {"sha256": f"{clip:064x}"}
                facts["preset"]["guidance_from"] = "given"
                facts |= {"identity": identity, "files": proof}
                with RecordStore(runs).new(record) as folder:
                    for file in PROVEN:
                        os.link(video, folder / file)
                    write_json(folder / CURVES_FILE, {"lip_gap": [0.1]})
                    sync, lpips = 0.1 * clip + 0.001 * seed, 0.02 + 0.01 * setting + 0.0001 * (clip % 3)
                    metrics = {"sync_mini_confidence": entry("sync_mini_confidence", sync)}
                    metrics |= {"sync_mini_confidence_minus_real": entry("sync_mini_confidence_minus_real", sync)}
                    metrics |= {"lpips_alex_mouth": entry("lpips_alex_mouth", lpips)}
                    write_json(folder / METRICS_FILE, metrics)
                    write_json(folder / RECORD_FILE, facts)
                cells[scale, seed].append({"record": record, "status": "done", "pair": facts["pair"]["name"]})
    for (scale, seed), outcomes in cells.items():
        overrides = [f"sampler.guidance_scale={scale}", f"sampler.seed={seed}"]
        cell = {"overrides": overrides, "noted": 0.0, "outcomes": outcomes}
        write_json(sweep_folder(runs, name) / f"cells/{scale}_{seed}.json", cell)
