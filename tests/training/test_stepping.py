"""A batch in parts gives the gradients of the whole batch, for any number of optimizers."""

from __future__ import annotations

import pytest

from lesionlab.errors import InputError
from lesionlab.methods.base import Task
from lesionlab.methods.registry import make_method
from lesionlab.training.loop import fit
from lesionlab.training.options import TrainingOptions

TASK = Task(sequences=("T1w", "FLAIR"), lesion_classes=("edema", "tumor"))

# Losses that are means over slices, norms that look at single slices: what makes parts add up exactly.
INSTANCE = {
    "generator": {"width": 2, "downs": 2, "encoder_blocks": 1, "decoder_blocks": 1, "norm": "instance"},
    "discriminator": {"width": 2, "norm": "instance"},
    "unet": {"width": 2, "depth": 2, "norm": "instance"},
    "weights": {"shape_consistency": 0.0},
    "lambda_cm": {"threshold": 0.999},  # else the rule looks at the mean over a part
}
UNET = {"network": {"width": 4, "depth": 2, "norm": "instance"}, "loss": "ce"}
BATCH = {"generator": {"width": 2, "downs": 2}, "discriminator": {"width": 2}, "unet": {"width": 2, "depth": 2}}


@pytest.fixture
def in_parts(options) -> TrainingOptions:
    """Twenty steps of six slices."""
    return options.model_copy(update={"constant": 20, "decay": 0, "batch_size": 6})


def furthest(one, other) -> float:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


# A GAN on such small slices is compared for five steps: with instance norm over 2 x 2 pixels D is ill-conditioned, and
# Adam makes steps of full length of its rounding errors (observed: 5e-7 up to step 9, then 1e-3).
@pytest.mark.parametrize(("name", "settings", "steps"), [("unet", UNET, 20), ("cgsamr", INSTANCE, 5)])
@pytest.mark.parametrize("parts", [2, 3])
def test_parts_train_as_the_whole_batch(tmp_path, slices, bare, in_parts, name, settings, steps, parts):
    slices = bare if name == "unet" else slices
    in_parts = in_parts.model_copy(update={"constant": steps})
    whole, divided, fresh = (make_method(name, settings, TASK) for _ in range(3))
    expected = fit(whole, slices, in_parts, tmp_path / "whole")
    history = fit(divided, slices, in_parts.model_copy(update={"accumulate": parts}), tmp_path / "divided")
    assert furthest(whole, divided) < 1e-5 < 5e-4 < furthest(whole, fresh)
    total = "U/total" if name == "unet" else "G/total"
    values = (h[h.name == total].value.to_numpy() for h in (expected, history))
    assert next(values) == pytest.approx(next(values), rel=1e-4)


def test_each_optimizer_steps_once_and_in_the_methods_order(tmp_path, slices, in_parts):
    method, steps = make_method("cgsamr", INSTANCE, TASK), []
    made = method.optimizers()
    for name, optimizer in made.items():
        optimizer.register_step_post_hook(lambda *_, name=name: steps.append(name))
    method.optimizers = lambda: made
    two = in_parts.model_copy(update={"constant": 2, "accumulate": 3})
    fit(method, slices, two, tmp_path)
    assert steps == ["D", "G", "D", "G"]


def test_running_statistics_count_each_part_once(tmp_path, slices, in_parts):
    counts = []
    for parts in (1, 3):
        method = make_method("cgsamr", BATCH, TASK)
        fit(method, slices, in_parts.model_copy(update={"accumulate": parts, "constant": 2}), tmp_path / str(parts))
        state = method.state_dict()
        counts.append([int(state[key]) for key in state if key.endswith("num_batches_tracked")])
    assert counts[1] == [3 * count for count in counts[0]] and min(counts[0]) >= 2


def test_a_run_in_parts_that_was_stopped_goes_on_bit_for_bit(tmp_path, slices, fresh, in_parts):
    # With dropout and batch norm, so that random numbers and buffers matter.
    wanted = in_parts.model_copy(update={"accumulate": 2, "constant": 6, "checkpoint_every": 1})
    straight, again, continued = fresh(), fresh(), fresh()
    fit(straight, slices, wanted, tmp_path / "straight")
    fit(again, slices, wanted, tmp_path / "again")
    assert furthest(straight, again) == 0

    class Killed(Exception):
        pass

    class Killer:
        def metrics(self, values, step):
            if step == 4:
                raise Killed

        def images(self, array, name, step):
            pass

    with pytest.raises(Killed):
        fit(fresh(), slices, wanted, tmp_path / "killed", tracker=Killer())
    fit(continued, slices, wanted, tmp_path / "killed")
    assert furthest(straight, continued) == 0


def test_a_batch_that_cannot_be_divided_is_refused(tmp_path, slices, fresh, options):
    with pytest.raises(InputError, match=r"batch_size 3, accumulate 2, 1 processes\. Allowed: multiples of 2"):
        fit(fresh(), slices, options.model_copy(update={"accumulate": 2}), tmp_path)
