"""The loop: repeatable, resumable, and what it leaves behind."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from lightning.fabric import Fabric

from lesionlab.errors import InputError
from lesionlab.methods.base import Method
from lesionlab.training.checkpoint import load, load_method
from lesionlab.training.device import PRECISIONS, lower_precision, on_device
from lesionlab.training.loader import make_sampler
from lesionlab.training.loop import fit


class Recorder:
    """Remembers what it was given."""

    def __init__(self):
        self.values, self.pictures = [], []

    def metrics(self, values, step):
        self.values.append((step, values))

    def images(self, array, name, step):
        self.pictures.append((step, name, array))


def same(one: Method, other: Method) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def losses(history: pd.DataFrame) -> pd.DataFrame:
    """Without what depends on the clock."""
    return history[~history.name.str.startswith("speed/")].reset_index(drop=True)


def test_same_seed_same_weights_other_seed_others(tmp_path, slices, fresh, options):
    one, same_seed, other_seed = fresh(), fresh(), fresh()
    first = fit(one, slices, options, tmp_path / "one")
    torch.rand(5)  # the caller's generator does not matter
    second = fit(same_seed, slices, options, tmp_path / "same")
    fit(other_seed, slices, options.model_copy(update={"seed": 1}), tmp_path / "other")
    assert same(one, same_seed) and not same(one, other_seed)
    pd.testing.assert_frame_equal(losses(first), losses(second))


def test_the_callers_random_numbers_go_on_undisturbed(tmp_path, slices, fresh, options):
    torch.manual_seed(9)
    expected = torch.rand(1)
    torch.manual_seed(9)
    fit(fresh(), slices, options, tmp_path)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("killed_at", [3, 4, 5])
def test_a_killed_run_goes_on_bit_for_bit(tmp_path, slices, fresh, options, killed_at):
    straight = fresh()
    expected = fit(straight, slices, options, tmp_path / "straight")

    class Killed(Exception):
        """Stands for a power cut, after the checkpoint of step 3."""

    class Killer(Recorder):
        def metrics(self, values, step):
            if step >= killed_at:
                raise Killed

    often = options.model_copy(update={"checkpoint_every": 1})  # has no effect on results, so it may change
    with pytest.raises(Killed):
        fit(fresh(), slices, often, tmp_path / "killed", tracker=Killer())
    assert 0 < load(tmp_path / "killed" / "last.pt")["training"]["step"] < 6
    continued = fresh()
    history = fit(continued, slices, options, tmp_path / "killed")
    assert same(straight, continued)
    pd.testing.assert_frame_equal(losses(history), losses(expected))
    straight_state, state = (load(tmp_path / f / "last.pt")["training"] for f in ("straight", "killed"))
    moments = (s["optimizers"]["G"]["state"][0]["exp_avg_sq"] for s in (straight_state, state))
    assert torch.equal(*moments)


def test_a_finished_run_is_loaded_not_repeated(tmp_path, slices, fresh, options):
    trained, again = fresh(), fresh()
    history = fit(trained, slices, options, tmp_path)
    written = (tmp_path / "last.pt").stat().st_mtime_ns
    pd.testing.assert_frame_equal(fit(again, slices, options, tmp_path), history)
    assert same(trained, again) and (tmp_path / "last.pt").stat().st_mtime_ns == written
    fit(fresh(), slices, options, tmp_path, resume=False)
    assert (tmp_path / "last.pt").stat().st_mtime_ns != written


@pytest.mark.parametrize("change", [{"seed": 1}, {"batch_size": 2}, {"decay": 4}, {"clip_norm": 1.0}])
def test_a_checkpoint_of_other_options_is_refused(tmp_path, slices, fresh, options, change):
    fit(fresh(), slices, options, tmp_path)
    with pytest.raises(InputError, match=r"another run.*last\.pt|last\.pt.*another run"):
        fit(fresh(), slices, options.model_copy(update=change), tmp_path)


def test_a_checkpoint_of_other_data_or_weights_is_refused(tmp_path, slices, fresh, options):
    fit(fresh(), slices, options, tmp_path)
    slices.tensors["images"][3] += 0.5
    with pytest.raises(InputError, match="another run"):
        fit(fresh(), slices, options, tmp_path)
    slices.tensors["images"][3] -= 0.5
    with pytest.raises(InputError, match="another run"):
        fit(fresh(seed=1), slices, options, tmp_path)


def test_curves(tmp_path, slices, fresh, options):
    tracker = Recorder()
    history = fit(fresh(), slices, options, tmp_path, tracker=tracker)
    assert list(history.columns) == ["step", "name", "value"]
    rates = history[history.name == "rate/G"]
    # Entries at 2, 4, 6, the rate of the step just taken: full in step 1; steps 3, 4, 5 have 3/3, 2/3, 1/3.
    assert rates.step.tolist() == [2, 4, 6]
    assert rates.value.tolist() == pytest.approx([2e-4, 2e-4, 2e-4 / 3])
    share = history[history.name == "speed/loader_share"].value
    assert ((share > 0) & (share < 1)).all()
    assert (history[history.name == "speed/steps_per_second"].value > 0).all()
    assert {"D/adversarial", "G/total", "mean_confidence", "lambda_cm"} <= set(history.name)
    assert [step for step, _ in tracker.values] == [2, 4, 6]
    saved = pd.read_csv(tmp_path / "history.csv")
    pd.testing.assert_frame_equal(saved, history, check_dtype=False)


def test_entries_are_means_over_the_steps_since_the_last(tmp_path, slices, fresh, options):
    every = fit(fresh(), slices, options.model_copy(update={"log_every": 1}), tmp_path / "a")
    pairs = fit(fresh(), slices, options, tmp_path / "b")
    single = every[every.name == "G/total"].value.to_numpy()
    assert pairs[pairs.name == "G/total"].value.to_numpy() == pytest.approx(single.reshape(3, 2).mean(1), rel=1e-5)


def test_validation_runs_in_inference_mode_and_at_the_end(tmp_path, slices, fresh, options):
    modes = []

    def validate(method, step):
        modes.append((step, method.training))
        return {"validation/step": float(step)}

    wanted = options.model_copy(update={"validate_every": 4})
    history = fit(fresh(), slices, wanted, tmp_path, validate=validate)
    assert modes == [(4, False), (6, False)]
    assert history[history.name == "validation/step"].value.tolist() == [4.0, 6.0]


def test_pictures_at_their_moments(tmp_path, slices, fresh, options):
    tracker = Recorder()
    wanted = options.model_copy(update={"image_moments": (0.0, 0.5, 1.0)})
    fit(fresh(), slices, wanted, tmp_path, tracker=tracker, preview=slices.take([0, 1]))
    assert [(step, name) for step, name, _ in tracker.pictures] == [(1, "montage"), (3, "montage"), (6, "montage")]
    # Two slices, four rows each of 16 + 2 pixels; two sequences across.
    assert all(p.shape == (2 * 4 * 18, 2 * 18) and p.dtype == np.uint8 for _, _, p in tracker.pictures)
    kept = np.load(tmp_path / "images" / "step-000003.npz")
    assert kept["synthetic"].shape == (2, 2, 16, 16) and kept["confidence"].shape == (2, 2, 8, 8)


def test_method_is_left_for_inference(tmp_path, slices, fresh, options):
    trained = fresh()
    fit(trained, slices, options, tmp_path)
    for name in ("method.pt", "last.pt"):
        loaded = load_method(tmp_path / name)
        assert same(trained, loaded) and not loaded.training
    assert (tmp_path / "method.pt").stat().st_size < 0.6 * (tmp_path / "last.pt").stat().st_size


def test_clipping_bounds_the_gradient(tmp_path, slices, fresh, options):
    free, held = fresh(), fresh()
    fit(free, slices, options, tmp_path / "free")
    fit(held, slices, options.model_copy(update={"clip_norm": 1e-3}), tmp_path / "held")
    norms = [torch.stack([p.grad.norm() for p in m.U.parameters()]).norm().item() for m in (free, held)]
    assert norms[1] <= 1e-3 < norms[0]


def test_bf16_trains_close_to_fp32(tmp_path, slices, fresh, options):
    full = fit(fresh(), slices, options, tmp_path / "fp32")
    half = fit(fresh(), slices, options.model_copy(update={"precision": "bf16"}), tmp_path / "bf16")
    values = [h[h.name == "G/total"].value.to_numpy() for h in (full, half)]
    assert values[1] == pytest.approx(values[0], rel=0.05) and not np.array_equal(*values)


def test_lower_precision_sees_updated_weights():
    layer, x = torch.nn.Linear(1, 1, bias=False), torch.ones(1, 1)
    fabric = Fabric(accelerator="cpu", devices=1, precision=PRECISIONS["bf16"])
    with lower_precision(fabric):
        layer(x)
        with torch.no_grad():
            layer.weight.fill_(3.0)
        assert layer(x).item() == 3.0  # the cache of autocast would answer with the weight from before
        assert layer(x).dtype == torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):  # the setting is back to what it was: cached
        layer(x)
        with torch.no_grad():
            layer.weight.fill_(5.0)
        assert layer(x).item() == 3.0


def test_slices_that_do_not_fit_are_refused_before_training(tmp_path, slices, fresh, options):
    slices.tensors["labels"][:] = 7
    with pytest.raises(InputError, match="label 7"):
        fit(fresh(), slices, options, tmp_path)
    assert not any(tmp_path.iterdir())


def test_batches_are_full(options):
    assert [len(b) for b in make_sampler("slices", 7, options)] == [3, 3]
    assert [len(b) for b in make_sampler("slices", 3, options)] == [3]


def test_epochs_count_full_batches(tmp_path, slices, fresh, options):
    by_epoch = options.model_copy(update={"constant": 1, "decay": 1, "unit": "epochs"})
    assert fit(fresh(), slices, by_epoch, tmp_path).step.max() == 4  # 7 slices: two batches of 3 an epoch


def test_slices_move_to_the_device(slices):
    moved = on_device(slices, torch.device("meta"))
    assert moved.device.type == "meta" and len(moved) == 7
