"""The training loop on a tiny real task: exact resume, the order of the data, averages, what stops it and how."""

import errno
import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from waves import ITEMS, OPTIONS, FrequencyTask, curve, plain_run, run

from latentsync import proof
from latentsync.errors import MemoryShortageError, OptionError, WeightsError
from latentsync.files import PART_PREFIX
from latentsync.seeds import seeded_generator
from latentsync.training import checkpoint, loop
from latentsync.training.ema import UPDATES, MovingAverage
from latentsync.training.loop import DivergedError, last_step, train
from latentsync.training.options import LoopOptions
from latentsync.training.order import Batches, item_at

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]


def weights(folder):
    return load_file(folder / loop.WEIGHTS_DIR / "net.safetensors")


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks this small are slower on more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder)
    return folder


class KilledError(Exception):
    """Ends a run from the inside."""


def kill(_):
    raise KilledError


def assert_same_training(folder, whole):
    assert curve(folder) == curve(whole)
    assert same(weights(folder), weights(whole))


# ---- resume


def test_it_learns_and_logs_each_step_once(whole):
    rows = curve(whole)
    assert [row["step"] for row in rows] == list(range(1, 11))
    assert rows[-1]["loss"] < rows[0]["loss"] / 2
    assert rows[0].keys() >= {"loss", "error", "size", "learning_rate", "gradient_norm", "epoch"}
    assert rows[0]["loss"] == pytest.approx(rows[0]["error"] + rows[0]["size"], rel=1e-5)
    assert rows[-1]["epoch"] == pytest.approx(10 * 6 / ITEMS)
    assert [row["step"] for row in rows if "validation/mse" in row] == [2, 4, 6, 8, 10]
    assert len({row["validation/draw"] for row in rows if "validation/draw" in row}) == 1  # comparable over steps


@pytest.mark.parametrize("micro_batch", [1, 10, 13, 20], ids=lambda n: f"in_micro_batch_{n}")
def test_a_killed_run_goes_on_as_if_nothing_had_been(tmp_path, whole, micro_batch):
    with pytest.raises(KilledError):
        run(tmp_path, task=FrequencyTask({micro_batch: kill}))
    steps_before = (micro_batch - 1) // 2
    assert last_step(tmp_path) == steps_before // 3 * 3
    result = run(tmp_path)
    assert result.finished and (result.started_at, result.step) == (steps_before // 3 * 3, 10)
    assert_same_training(tmp_path, whole)


def test_a_run_that_is_killed_again_and_again_ends_the_same(tmp_path, whole):
    for _ in range(3):
        with pytest.raises(KilledError):
            run(tmp_path, task=FrequencyTask({7: kill}))  # in its fourth step, just after the checkpoint
    run(tmp_path)
    assert_same_training(tmp_path, whole)


SCRIPT = """
import os, signal, sys
from pathlib import Path
from unittest.mock import Mock
import torch
torch.set_num_threads(1)  # as here: sums depend on it
sys.path.insert(0, "tests")
from waves import FrequencyTask, run
run(Path(sys.argv[1]), task=FrequencyTask({15: lambda batch: os.kill(os.getpid(), signal.SIGKILL)}))
"""


def test_sigkill_in_another_process_costs_nothing_but_time(tmp_path, whole):
    ended = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert last_step(tmp_path) == 6
    with open(tmp_path / loop.LOG_FILE, "a") as file:
        file.write('{"step": 8, "lo')  # a line cut short
    run(tmp_path)
    assert_same_training(tmp_path, whole)


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(tmp_path, whole, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.torch, "save", lambda *_: kill(None) if last_step(tmp_path) else _save(*_))
        with pytest.raises(KilledError):
            run(tmp_path)
    assert last_step(tmp_path) == 3
    for folder in (tmp_path, tmp_path / loop.CHECKPOINTS_DIR):  # as a process of another machine leaves them
        (folder / f"{PART_PREFIX}0123456789ab-elsewhere-1").mkdir()
    run(tmp_path)
    assert_same_training(tmp_path, whole)
    assert not list(tmp_path.rglob(f"{PART_PREFIX}*"))


_save = torch.save


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / checkpoint.OPTIMIZER_FILE).write_bytes(b"cut short"),
        lambda folder: flip_a_bit(folder / checkpoint.NETWORKS_FILE),
        lambda folder: (folder / checkpoint.STATE_FILE).unlink(),
        lambda folder: (folder / checkpoint.PROOF_FILE).write_bytes(b""),
    ],
    ids=["cut", "bit", "missing", "proof"],
)
def test_a_damaged_checkpoint_is_passed_over(tmp_path, whole, damage):
    with pytest.raises(KilledError):
        run(tmp_path, task=FrequencyTask({16: kill}))
    newest = tmp_path / loop.CHECKPOINTS_DIR / "step-00000006"
    damage(newest)
    with pytest.warns(UserWarning, match=r"step-00000006 is damaged \(.*going back to the checkpoint before it"):
        assert run(tmp_path).started_at == 3
    assert_same_training(tmp_path, whole)


def test_a_checkpoint_that_cannot_be_read_for_the_moment_is_neither_passed_over_nor_removed(tmp_path, monkeypatch):
    with pytest.raises(KilledError):
        run(tmp_path, task=FrequencyTask({16: kill}))
    with monkeypatch.context() as patch:
        patch.setattr(proof, "file_sha256", Mock(side_effect=OSError(errno.EIO, "Input/output error")))
        with pytest.raises(WeightsError, match=r"step-00000006 cannot be read \(Input/output error\)"):
            run(tmp_path)
    assert last_step(tmp_path) == 6 and run(tmp_path).started_at == 6


def test_older_checkpoints_stay_until_the_new_one_is_proven(tmp_path, monkeypatch):
    state = checkpoint.load_last(saved_checkpoints(tmp_path))
    folder, count = tmp_path / loop.CHECKPOINTS_DIR, len(checkpoint.checkpoints(tmp_path / loop.CHECKPOINTS_DIR))
    state.state["step"] = 20
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "fault_of", lambda path: "is damaged (as a test)")
        with pytest.warns(UserWarning, match="step-00000020 is damaged .* before it are kept"):
            checkpoint.save(folder, state)
    assert len(checkpoint.checkpoints(folder)) == count + 1
    state.state["step"] = 21
    checkpoint.save(folder, state)
    assert [checkpoint.step_of(path) for path in checkpoint.checkpoints(folder)] == [20, 21]


def saved_checkpoints(folder):
    run(folder)
    return folder / loop.CHECKPOINTS_DIR


def test_means_between_log_lines_survive_a_kill(tmp_path):
    options = replace(OPTIONS, log_every=4)
    run(tmp_path / "whole", options)
    with pytest.raises(KilledError):
        run(tmp_path / "killed", options, FrequencyTask({9: kill}))  # two steps after the checkpoint of step 3
    run(tmp_path / "killed", options)
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")
    by_step = {row["step"]: row for row in curve(tmp_path / "whole")}
    assert "loss" in by_step[4] and "loss" not in by_step[6] and "loss" in by_step[10]


def test_reading_processes_change_nothing(tmp_path, whole):
    options = replace(OPTIONS, num_workers=1)
    with pytest.raises(KilledError):
        run(tmp_path, options, FrequencyTask({13: kill}))
    run(tmp_path, options)
    assert_same_training(tmp_path, whole)


def test_two_checkpoints_are_kept_and_a_finished_run_has_nothing_to_do(tmp_path):
    run(tmp_path)
    names = [path.name for path in checkpoint.checkpoints(tmp_path / loop.CHECKPOINTS_DIR)]
    assert names == ["step-00000009", "step-00000010"]
    before = curve(tmp_path)
    result = run(tmp_path)
    assert result.finished and result.started_at == 10 and curve(tmp_path) == before
    assert result.validation == {"mse": before[-1]["validation/mse"], "draw": before[-1]["validation/draw"]}
    assert run(tmp_path, replace(OPTIONS, steps=12)).step == 12


def test_the_time_limit_stops_with_a_checkpoint_and_the_next_call_goes_on(tmp_path, whole):
    calls = 0
    while not (result := run(tmp_path, replace(OPTIONS, max_minutes=1e-9))).finished:
        calls += 1
        assert result.step == last_step(tmp_path) == calls
    assert calls == 9
    assert_same_training(tmp_path, whole)


# ---- order of the data and random numbers


def test_every_epoch_holds_every_item_once_in_an_order_of_its_own():
    epochs = [[item_at(p, ITEMS, seed=1) for p in range(e * ITEMS, (e + 1) * ITEMS)] for e in range(3)]
    orders = [tuple(index for index, _ in epoch) for epoch in epochs]
    assert all(sorted(order) == list(range(ITEMS)) for order in orders)
    assert len(set(orders)) == 3
    assert [{e for _, e in epoch} for epoch in epochs] == [{0}, {1}, {2}]
    assert item_at(0, 1000, seed=1) != item_at(0, 1000, seed=2)


def test_batches_go_through_the_row_wherever_they_start_and_however_many_processes_share_them():
    row = [item_at(p, ITEMS, seed=1) for p in range(48)]
    all_of_them = [item for batch in Batches(ITEMS, 4, seed=1, start=0, count=12) for item in batch]
    later = [item for batch in Batches(ITEMS, 4, seed=1, start=20, count=7) for item in batch]
    two = [list(Batches(ITEMS, 4, seed=1, start=0, count=6, rank=rank, processes=2)) for rank in (0, 1)]
    shared = [item for pair in zip(*two, strict=True) for batch in pair for item in batch]
    assert all_of_them == row and later == row[20:] and shared == row


def test_the_run_sees_the_items_of_the_row(tmp_path):
    task = FrequencyTask()
    run(tmp_path, task=task)
    assert [i for batch in task.seen for i in batch] == [item_at(p, ITEMS, OPTIONS.seed)[0] for p in range(60)]
    assert set(Counter(i for batch in task.seen for i in batch).values()) <= {5, 6}


def test_the_callers_random_numbers_are_left_alone(tmp_path):
    def draws():
        return torch.rand(1).item(), np.random.rand(), random.random()  # noqa: S311 - numbers for a test

    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(0)
    expected = draws()
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(0)
    run(tmp_path, replace(OPTIONS, steps=3))
    assert draws() == expected


def test_another_seed_is_another_training(tmp_path, whole):
    run(tmp_path, replace(OPTIONS, seed=6, steps=3, schedule="constant"))
    assert curve(tmp_path)[0]["loss"] != curve(whole)[0]["loss"]
    assert seeded_generator("step", 1).initial_seed() != seeded_generator("step", 2).initial_seed()


# What `accelerate launch --cpu --num_processes 2` does, with the imports paid for once
TWO_PROCESSES = """
import os, sys
from pathlib import Path
from unittest.mock import Mock
import torch
torch.set_num_threads(1)
sys.path.insert(0, "tests")
from waves import plain_run
second = os.fork()
os.environ["RANK"] = os.environ["LOCAL_RANK"] = "0" if second else "1"
plain_run(Path(sys.argv[1]), batch_size=2)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(second, 0)[1]) if second else 0)
"""


def alike(folder, other):
    for row, expected in zip(curve(folder), curve(other), strict=True):
        assert row == pytest.approx(expected, rel=1e-4)
    assert all(torch.allclose(value, weights(other)[name], atol=1e-5) for name, value in weights(folder).items())


def test_accumulated_gradients_are_those_of_one_large_batch(tmp_path):
    plain_run(tmp_path / "one", batch_size=4)
    plain_run(tmp_path / "accumulated", batch_size=2, gradient_accumulation=2)
    alike(tmp_path / "accumulated", tmp_path / "one")


def test_two_processes_train_as_one_with_their_batches_together(tmp_path):
    plain_run(tmp_path / "one", batch_size=4)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    environment = {**os.environ, **place, "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, "-c", TWO_PROCESSES, str(tmp_path / "two")]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    alike(tmp_path / "two", tmp_path / "one")


def test_a_long_validation_set_is_seen_in_part_spread_evenly(tmp_path):
    task = FrequencyTask()
    validate, seen = task.validate, []

    def looking(batches, generator):
        batches = list(batches)
        seen.append([i for batch in batches for i in batch["index"].tolist()])
        return validate(batches, generator)

    task.validate = looking
    run(tmp_path, replace(OPTIONS, steps=2, validation_items=4), task)
    run(tmp_path, replace(OPTIONS, steps=3, validation_items=0), task)
    assert seen == [[0, 3, 6, 10], list(range(ITEMS))]


# ---- averages, schedule, precision


def test_the_average_warms_up_and_is_swapped_in_and_out():
    net = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        net.weight.fill_(0.0)
    average = MovingAverage({"net": net}, decay=0.5)
    with torch.no_grad():
        net.weight.fill_(1.0)
    expected, decays = 0.0, [1 / 10, 2 / 11, 3 / 12]
    for decay in decays:
        average.update()
        expected = decay * expected + (1 - decay)
    assert average.state_dict()["net.weight"].item() == pytest.approx(expected)
    average.updates = 1000
    average.update()
    expected = 0.5 * expected + 0.5
    with pytest.raises(KilledError), average.swapped_in():
        assert net.weight.item() == pytest.approx(expected)
        raise KilledError
    assert net.weight.item() == 1.0


def test_the_average_refuses_other_networks():
    average = MovingAverage({"net": nn.Linear(2, 1)}, decay=0.5)
    for other in ({"net": nn.Linear(3, 1)}, {"other": nn.Linear(2, 1)}):
        with pytest.raises(WeightsError, match="weight"):
            average.load_state_dict(MovingAverage(other, 0.5).state_dict())
    with pytest.raises(WeightsError, match=UPDATES):
        average.load_state_dict({k: v for k, v in average.state_dict().items() if k != UPDATES})


def test_the_exported_weights_are_the_average(tmp_path):
    run(tmp_path)
    saved = checkpoint.load_last(tmp_path / loop.CHECKPOINTS_DIR)
    exported = weights(tmp_path)
    assert torch.equal(exported["0.weight"], saved.ema["net.0.weight"])
    assert not torch.equal(exported["0.weight"], saved.networks["net.0.weight"])
    plain = tmp_path / "plain"
    run(plain, replace(OPTIONS, ema_decay=0.0))
    saved = checkpoint.load_last(plain / loop.CHECKPOINTS_DIR)
    assert saved.ema is None and torch.equal(weights(plain)["0.weight"], saved.networks["net.0.weight"])
    assert run(plain, replace(OPTIONS, steps=12)).finished  # an average that begins late


def test_pictures_and_videos_are_handed_over_at_each_validation(tmp_path, whole):
    pictures, played = {}, {}
    run(tmp_path, on_pictures=pictures.__setitem__, on_videos=played.__setitem__)
    assert list(pictures) == list(played) == [2, 4, 6, 8, 10]
    assert pictures[2]["guess"].dtype == np.uint8 and pictures[2]["guess"].shape == (3, 1, 3)
    assert np.array_equal(played[2]["noise"], played[10]["noise"]) and played[2]["noise"].shape == (5, 16, 32, 3)
    assert_same_training(tmp_path, whole)  # whoever looks


def test_a_task_need_not_have_videos(tmp_path, monkeypatch):
    monkeypatch.delattr(FrequencyTask, "videos")
    run(tmp_path, replace(OPTIONS, steps=2), on_videos=lambda *_: pytest.fail("there are none"))


def test_the_learning_rate_warms_up_and_falls():
    options = LoopOptions(steps=110, learning_rate=1.0, warmup_steps=10, schedule="cosine")
    assert [options.learning_rate_at(step) for step in (0, 4, 9, 10)] == pytest.approx([0.1, 0.5, 1.0, 1.0])
    assert options.learning_rate_at(60) == pytest.approx(0.5)
    assert 0 < options.learning_rate_at(109) < 1e-3
    assert replace(options, schedule="constant").learning_rate_at(109) == 1.0


def test_the_log_tells_the_learning_rate_in_effect(whole):
    assert [row["learning_rate"] for row in curve(whole)] == [OPTIONS.learning_rate_at(step) for step in range(10)]


def test_long_gradients_are_cut(tmp_path):
    run(tmp_path / "cut", replace(OPTIONS, max_grad_norm=1e-12, steps=3, validate_every=0))
    run(tmp_path / "whole", replace(OPTIONS, max_grad_norm=0.0, steps=3, validate_every=0))
    before = FrequencyTask().net.state_dict()["0.weight"]
    moved = {
        name: (checkpoint.load_last(tmp_path / name / loop.CHECKPOINTS_DIR).networks["net.0.weight"] - before).abs()
        for name in ("cut", "whole")
    }
    assert moved["cut"].max() < 1e-2 * moved["whole"].max()


def test_bfloat16_is_for_the_forward_pass_only(tmp_path):
    kinds = set()

    class Looking(FrequencyTask):
        def loss(self, batch, generator):
            kinds.add((self.net(batch["wave"]).dtype, self.net[0].weight.dtype))
            return super().loss(batch, generator)

    options = replace(OPTIONS, precision="bfloat16")
    run(tmp_path / "whole", options, Looking())
    assert kinds == {(torch.bfloat16, torch.float32)}
    with pytest.raises(KilledError):
        run(tmp_path / "killed", options, FrequencyTask({9: kill}))
    assert {v.dtype for v in weights(tmp_path / "killed").values()} == {torch.float32, torch.int64}


# ---- what stops it


def spoil(batch):
    batch["frequency"] = batch["frequency"] * math.nan


def test_a_loss_that_is_not_a_number_stops_with_step_items_and_part(tmp_path):
    task = FrequencyTask({14: spoil})  # the second half of step 7
    with pytest.raises(DivergedError) as stopped:
        run(tmp_path, task=task)
    items = [item_at(p, ITEMS, OPTIONS.seed)[0] for p in range(39, 42)]
    assert f"the loss part error is nan at step 7 (items {items} of the training set)" in str(stopped.value)
    assert "checkpoint of step 6" in str(stopped.value) and "learning rate (0.03)" in str(stopped.value)
    assert [row["step"] for row in curve(tmp_path)] == list(range(1, 7))
    saved = checkpoint.load_last(tmp_path / loop.CHECKPOINTS_DIR)
    assert saved.state["step"] == 6 and same(saved.networks, checkpoint.network_tensors(task.networks()) | {
        name: value for name, value in saved.networks.items() if "running" in name or "tracked" in name
    })  # fmt: skip


def test_a_resumed_run_names_the_items_of_the_row_too(tmp_path):
    with pytest.raises(KilledError):
        run(tmp_path, task=FrequencyTask({8: kill}))
    task = FrequencyTask({2: spoil})
    with pytest.raises(DivergedError, match="at step 4 ") as stopped:
        run(tmp_path, task=task)
    assert str(task.seen[-1]) in str(stopped.value)


def test_a_gradient_that_is_not_finite_stops_too(tmp_path):
    class Steep(FrequencyTask):
        def loss(self, batch, generator):
            loss, parts = super().loss(batch, generator)
            return loss + (self.scale.weight.sum() * 0.0).abs().sqrt(), parts  # 0, with a slope of 0 times infinity

    task = Steep()
    before = task.net[0].weight.detach().clone()
    with pytest.raises(DivergedError, match="gradient's length is nan at step 1 .* no checkpoint"):
        run(tmp_path, task=task)
    assert torch.equal(task.net[0].weight, before)


def test_a_lack_of_memory_is_explained(tmp_path):
    def lack(_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(MemoryShortageError, match=r"3 items; .*batch_size=1 .*gradient_accumulation=6"):
        run(tmp_path, task=FrequencyTask({1: lack}))


def test_one_training_a_folder(tmp_path):
    def second(_):
        with pytest.raises(OptionError, match="another process trains in"):
            run(tmp_path)
        raise KilledError

    with pytest.raises(KilledError):
        run(tmp_path, task=FrequencyTask({1: second}))


def test_a_folder_with_other_networks_is_refused(tmp_path):
    run(tmp_path, replace(OPTIONS, steps=3))
    other = FrequencyTask()
    other.net[0] = nn.Linear(16, 8, bias=False)
    with pytest.raises(WeightsError, match=r"other networks .*net.0.bias"):
        run(tmp_path, task=other)
    frozen = FrequencyTask()
    frozen.scale.requires_grad_(False)
    with pytest.raises(WeightsError, match="folder of their own"):
        run(tmp_path, task=frozen)


def test_frozen_weights_stay(tmp_path):
    task = FrequencyTask()
    task.scale.requires_grad_(False)
    before = task.scale.weight.clone()
    run(tmp_path, task=task)
    assert torch.equal(task.scale.weight, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps is 0; .* >= 1"),
        ({"batch_size": 1.5}, "batch_size is 1.5"),
        ({"learning_rate": math.inf}, "learning_rate is inf; .* above 0"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"weight_decay": -1}, "weight_decay is -1"),
        ({"warmup_steps": -1}, "warmup_steps is -1"),
        ({"schedule": "linear"}, "schedule is 'linear'; .* constant, cosine"),
        ({"max_grad_norm": -1.0}, "max_grad_norm is -1.0; .*0 is off"),
        ({"gradient_accumulation": 0}, "gradient_accumulation is 0"),
        ({"precision": "fp16"}, "precision is 'fp16'; .* float32"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0; .* in 0..1"),
        ({"seed": -1}, "seed is -1"),
        ({"num_workers": -1}, "num_workers is -1"),
        ({"log_every": 0}, "log_every is 0"),
        ({"validation_items": -1}, "validation_items is -1"),
        ({"save_every": 0}, "save_every is 0"),
        ({"max_minutes": 0}, "max_minutes is 0; .* above 0"),
    ],
)
def test_options_out_of_range_are_refused(change, message):
    with pytest.raises(OptionError, match=message):
        LoopOptions(**{**asdict(OPTIONS), **change})


def test_what_does_not_go_with_machine_network_or_data_is_refused(tmp_path):
    with pytest.raises(OptionError, match="network net .* loop.gradient_checkpointing=false"):
        run(tmp_path, replace(OPTIONS, gradient_checkpointing=True))
    if not torch.cuda.is_available():
        with pytest.raises(OptionError, match="float16 .* CPU"):
            run(tmp_path, replace(OPTIONS, precision="float16"))
    with pytest.raises(OptionError, match="training set holds 0 items"):
        train(FrequencyTask(), [], None, OPTIONS, tmp_path)


def test_the_checkpoint_can_be_read_without_this_project(tmp_path):
    run(tmp_path, replace(OPTIONS, steps=3))
    folder = tmp_path / loop.CHECKPOINTS_DIR / "step-00000003"
    assert sorted(path.name for path in folder.iterdir()) == [
        "ema.safetensors", "files.json", "networks.safetensors", "optimizer.pt", "state.json",
    ]  # fmt: skip
    assert json.loads((folder / "state.json").read_text())["options"] == asdict(replace(OPTIONS, steps=3))
