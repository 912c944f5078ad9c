"""The best checkpoint is chosen by a validation measure, and patience ends a run."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from lesionlab.errors import InputError
from lesionlab.training.best import Best, BestRule
from lesionlab.training.checkpoint import load, load_method, settle_best
from lesionlab.training.loop import fit
from lesionlab.training.options import TrainingOptions

NAN = math.nan


@pytest.mark.parametrize(
    ("goal", "values", "steps"),
    [
        ("max", [0.1, 0.3, 0.3, 0.2, 0.4], [1, 2, 5]),  # as good is not better
        ("min", [0.1, 0.3, 0.05, NAN, 0.05], [1, 3]),
        ("max", [NAN, NAN, -1.0, NAN], [1, 3]),
    ],
)
def test_what_is_best(goal, values, steps):
    best = Best(BestRule(measure="m", goal=goal))
    assert [step for step, value in enumerate(values, start=1) if best.see({"m": value}, step)] == steps
    assert not best.exhausted


def test_patience_counts_validations_in_a_row():
    best = Best(BestRule(measure="m", patience=2))
    seen = []
    for step, value in enumerate([1, 0, 2, 0, 0], start=1):
        best.see({"m": value}, step)
        seen.append(best.exhausted)
    assert seen == [False, False, False, False, True]
    other = Best(BestRule(measure="m", patience=2))
    other.load_state_dict(best.state_dict())
    assert other.exhausted and (other.value, other.step) == (2, 3)


def test_without_a_rule_nothing_is_best():
    best = Best(None)
    assert not best.see({"m": 1.0}, 1) and not best.exhausted


def test_the_best_cannot_be_trained_without_a_rule():
    with pytest.raises(ValidationError, match="best"):
        TrainingOptions(trained="best")


class Scores:
    """Gives each validation the next value, and keeps the weights that it saw."""

    def __init__(self, *values):
        self.values, self.weights, self.steps = dict(enumerate(values, start=1)), {}, []

    def __call__(self, method, step):
        self.steps.append(step)
        self.weights[step] = {name: value.clone() for name, value in method.state_dict().items()}
        return {"validation/score": self.values.get(step, NAN)}


def chosen(options, **changes):
    rule = BestRule(measure="validation/score", patience=changes.pop("patience", None))
    return options.model_copy(update={"validate_every": 1, "best": rule, **changes})


def equal(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_last_is_kept_by_default_and_the_best_beside_it(tmp_path, slices, fresh, options):
    scores = Scores(1, 5, 2, 3, 4, 0)
    trained = fresh()
    fit(trained, slices, chosen(options), tmp_path, validate=scores)
    assert equal(load_method(tmp_path / "best.pt").state_dict(), scores.weights[2])
    assert equal(load_method(tmp_path / "method.pt").state_dict(), scores.weights[6])
    assert equal(trained.state_dict(), scores.weights[6])
    assert load(tmp_path / "best.pt")["best"] == {"measure": "validation/score", "value": 5.0, "step": 2}


class Killed(BaseException):
    """As a kill: nothing is written any more."""


@pytest.mark.parametrize("trained", ["best", "last"])
def test_a_best_that_no_checkpoint_tells_of_does_not_outlive_a_kill(tmp_path, slices, fresh, options, trained):
    """Killed at step 4, after its new best and before a checkpoint; gone on with, step 4 is less good than step 2."""

    class KilledAtFour(Scores):
        def __call__(self, method, step):
            found = super().__call__(method, step)
            if step == 5:
                raise Killed
            return found

    wanted = chosen(options, trained=trained, checkpoint_every=3)
    first = KilledAtFour(1, 5, 2, 9)
    with pytest.raises(Killed):
        fit(fresh(), slices, wanted, tmp_path, validate=first)
    assert load(tmp_path / "best.pt")["best"]["step"] == 2 and load(tmp_path / "last.pt")["training"]["step"] == 3
    again = fresh()
    fit(again, slices, wanted, tmp_path, validate=Scores(0, 0, 0, 4, 3, 2))  # as a device that does not repeat itself
    assert not (tmp_path / "best.next.pt").exists()
    kept = load_method(tmp_path / ("method.pt" if trained == "best" else "best.pt"))
    assert equal(kept.state_dict(), first.weights[2])


def test_a_new_best_waits_for_a_checkpoint_that_tells_of_it(tmp_path, slices, fresh, options):
    fit(fresh(), slices, chosen(options), tmp_path, validate=Scores(1, 5, 2, 3, 4, 0))
    kept, coming = tmp_path / "best.pt", tmp_path / "best.next.pt"
    content = kept.read_bytes()
    kept.rename(coming)  # as killed between the checkpoint and the best
    settle_best(coming, kept, step=2)
    assert kept.read_bytes() == content and not coming.exists()
    coming.write_bytes(content)
    kept.write_bytes(b"older")
    settle_best(coming, kept, step=1)
    assert kept.read_bytes() == b"older" and not coming.exists()


def test_the_rule_changes_nothing_of_the_training(tmp_path, slices, fresh, options):
    plain, ruled = fresh(), fresh()
    fit(plain, slices, options, tmp_path / "plain")

    def draws(method, step):
        torch.rand(3)
        return {"validation/score": 1.0}

    fit(ruled, slices, chosen(options).model_copy(update={"validate_every": None}), tmp_path / "ruled", validate=draws)
    assert equal(plain.state_dict(), ruled.state_dict())


@pytest.mark.parametrize("keep_last", [True, False])
def test_the_best_can_be_the_trained_one(tmp_path, slices, fresh, options, keep_last):
    scores = Scores(1, 5, 2, 3, 4, 0)
    wanted = chosen(options, trained="best", keep_last=keep_last)
    trained, again = fresh(), fresh()
    history = fit(trained, slices, wanted, tmp_path, validate=scores)
    kept = {"method.pt", "history.csv", ".runs"} | ({"last.pt"} if keep_last else set())
    assert {path.name for path in tmp_path.iterdir()} == kept  # best.pt would be the same as method.pt
    assert equal(trained.state_dict(), scores.weights[2])
    assert equal(load_method(tmp_path / "method.pt").state_dict(), scores.weights[2])
    repeated = fit(again, slices, wanted, tmp_path, validate=Scores())
    assert equal(again.state_dict(), scores.weights[2])
    assert repeated.equals(history)


def test_a_finished_run_of_other_options_is_refused_without_its_last_checkpoint(tmp_path, slices, fresh, options):
    fit(fresh(), slices, options.model_copy(update={"keep_last": False}), tmp_path)
    with pytest.raises(InputError, match=r"method\.pt: the checkpoint belongs to another run: training\.seed differs"):
        fit(fresh(), slices, options.model_copy(update={"seed": 9}), tmp_path)


def test_patience_ends_the_run(tmp_path, slices, fresh, options):
    scores = Scores(3, 2, 1, 9, 9, 9)
    history = fit(fresh(), slices, chosen(options, patience=2), tmp_path, validate=scores)
    assert scores.steps == [0, 1, 2, 3]  # step 0 asks for the measure's name alone
    assert history.step.max() == 3
    assert set(history[history.step == 3].name) >= {"G/total", "validation/score"}
    again = Scores()
    fit(fresh(), slices, chosen(options, patience=2), tmp_path, validate=again)
    assert again.steps == []


@pytest.mark.parametrize("killed_at", [2, 3, 4])
def test_a_killed_run_chooses_the_same(tmp_path, slices, fresh, options, killed_at):
    wanted = chosen(options, trained="best", patience=3)
    values = (1, 5, 2, 3, 4, 0)
    straight, continued = fresh(), fresh()
    fit(straight, slices, wanted, tmp_path / "straight", validate=Scores(*values))

    class Killed(Exception):
        pass

    class Killer(Scores):
        def __call__(self, method, step):
            if step == killed_at:
                raise Killed
            return super().__call__(method, step)

    with pytest.raises(Killed):
        fit(
            fresh(),
            slices,
            wanted.model_copy(update={"checkpoint_every": 2}),
            tmp_path / "run",
            validate=Killer(*values),
        )
    fit(continued, slices, wanted, tmp_path / "run", validate=Scores(*values))
    assert equal(straight.state_dict(), continued.state_dict())


@pytest.mark.parametrize(("validate", "known"), [(None, "nothing"), (lambda m, s: {"other": 1.0}, "other")])
def test_a_measure_that_validation_does_not_give_is_refused_at_once(tmp_path, slices, fresh, options, validate, known):
    wanted = chosen(options).model_copy(update={"validate_every": None})
    with pytest.raises(InputError, match=f"Given: validation/score. Allowed: {known}"):
        fit(fresh(), slices, wanted, tmp_path, validate=validate)
    assert not list(tmp_path.glob("*.*t"))


def test_how_often_is_validated_matters_where_it_chooses(options):
    assert "validate_every" in chosen(options).decisive() and "validate_every" not in options.decisive()
