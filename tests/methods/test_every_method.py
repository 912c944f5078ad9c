"""Every registered method, by the contract: description, a step, resume to the bit, capabilities, configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from lesionlab.errors import InputError
from lesionlab.methods.base import CAPABILITIES, Healer, Inserter, Method, Segmenter, Synthesizer, Task
from lesionlab.methods.registry import make_method, methods
from lesionlab.parameters import Parameters
from lesionlab.slices.batches import FIELDS, Slices
from lesionlab.stages.code import code_of, modules_of
from lesionlab.training.checkpoint import load, load_method
from lesionlab.training.loop import fit
from lesionlab.training.options import TrainingOptions

CONF = Path(__file__).parents[2] / "conf" / "base" / "parameters" / "methods"
NAMES = list(methods())
SIDE = 32
TASK = Task(sequences=("T1w", "FLAIR"), lesion_classes=("edema", "tumor"), size=(SIDE, SIDE))
STEPS = TrainingOptions(
    constant=2, decay=2, unit="steps", batch_size=2, device="cpu", threads=1, checkpoint_every=2, image_moments=()
)


def smallest(model: type) -> dict:
    """Options by which a model's networks are as small as they run: every width 2, every depth as it is."""
    values = {}
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and hasattr(inner, "model_fields"):
            values[name] = smallest(inner)
        elif name == "width" or name in ("downs", "depth"):
            values[name] = 2
        elif name.endswith("blocks"):
            values[name] = 1
    return values


def new(name: str, seed: int = 0) -> Method:
    return make_method(name, smallest(methods()[name].Options), TASK, seed)


@pytest.fixture(scope="module")
def streams() -> dict[str, torch.Tensor]:
    """Six slices with every label."""
    draw = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 4, (6, 8, 8), generator=draw).repeat_interleave(4, 1).repeat_interleave(4, 2)
    return {
        "images": torch.rand(6, 2, SIDE, SIDE, generator=draw) * 2 - 1,
        "labels": labels.to(torch.uint8),
        "atlas": torch.rand(6, 6, SIDE, SIDE, generator=draw) * 2 - 1,
        "tissues": torch.rand(6, 3, SIDE, SIDE, generator=draw),
    }


def given(method: Method, fields: dict[str, torch.Tensor]) -> dict[str, Slices]:
    """Slices for each of a method's streams, with the fields that it names."""
    return {name: Slices(**{one: fields[one] for one in stream.fields}) for name, stream in method.streams.items()}


@pytest.mark.parametrize("name", NAMES)
def test_it_describes_itself(name):
    method = methods()[name]
    assert method.name == name and method.title and len(method.paper) > 40
    assert method.Options.model_config["frozen"] and method.Options.model_config["extra"] == "forbid"
    assert method.Options() is not None  # every option has the paper's value, or a choice named in its description
    assert any(hasattr(method, function) for function in CAPABILITIES)
    for stream in method.streams.values():
        assert stream.fields and set(stream.fields) <= set(FIELDS)
    if method.prior:
        assert any(method.prior in stream.fields for stream in method.streams.values())


@pytest.mark.parametrize("name", NAMES)
def test_its_configuration_fits_and_opens_with_what_a_reader_needs(name):
    text = (CONF / f"{name}.yml").read_text(encoding="utf-8")
    head = text.split("\n\n")[0]
    assert [word for word in ("paper", "command", "time", "published", "departures") if f"# {word} " not in head] == []
    branch = yaml.safe_load(text)
    assert list(branch) == [name]
    Parameters.model_fields[name].annotation.model_validate(branch[name])


@pytest.mark.parametrize("name", NAMES)
def test_a_step_moves_every_parameter_and_spares_its_input(name, streams):
    method = new(name)
    before = {key: value.clone() for key, value in method.named_parameters()}
    batches = {key: slices.take([0, 1]) for key, slices in given(method, streams).items()}
    kept = {key: batch.map(torch.clone) for key, batch in batches.items()}
    fit(method, given(method, streams), STEPS.model_copy(update={"constant": 3}), _nowhere(), resume=False)
    still = [key for key, value in method.named_parameters() if torch.equal(value, before[key])]
    assert still == []
    method.training_step(batches, _Looking())
    for key, batch in batches.items():
        assert all(torch.equal(batch.tensors[field], kept[key].tensors[field]) for field in batch.fields)


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_detached_finite_scalars(name, streams):
    method, looking = new(name), _Looking()
    batches = {key: slices.take([0, 1]) for key, slices in given(method, streams).items()}
    losses = method.training_step(batches, looking)
    assert looking.names == list(dict.fromkeys(looking.names)) and set(looking.names) == set(method.optimizers())
    for value in losses.values():
        assert value.ndim == 0 and not value.requires_grad and torch.isfinite(value)


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_training_has_the_same_bits(name, streams, tmp_path):
    whole, parts = new(name), new(name)
    fit(whole, given(whole, streams), STEPS, tmp_path / "whole")
    half = tmp_path / "parts"
    with pytest.raises(RuntimeError, match="pulled the plug"):
        fit(parts, given(parts, streams), STEPS, half, augment=_unplugged(after=3))
    assert load(half / "last.pt")["training"]["step"] == 2
    again = new(name, seed=9)
    again.load_state_dict(new(name).state_dict())  # a run continues from the weights that it began with
    fit(again, given(again, streams), STEPS, half)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


@pytest.mark.parametrize("name", NAMES)
def test_its_capabilities_give_what_they_promise_before_and_after_a_file(name, streams, tmp_path):
    method = new(name)
    fit(method, given(method, streams), STEPS, tmp_path)
    from_file = load_method(tmp_path / "method.pt")
    whole = Slices(**streams).take([0, 1, 2])
    for one in (method, from_file):
        one.train()
        for images in _used(one, whole):
            assert torch.isfinite(images).all() and images.shape[-2:] == (SIDE, SIDE) and not images.requires_grad
        assert one.training  # the mode comes back
    found = [list(_used(one.eval(), whole)) for one in (method, from_file)]
    for mine, its in zip(*found, strict=True):
        torch.testing.assert_close(mine, its)
    for pictures in method.pictures(given(method, streams)[next(iter(method.streams))].take([0, 1])).values():
        assert pictures.ndim == 4 and len(pictures) == 2 and pictures.abs().max() <= 1


def _used(method: Method, batch):
    if isinstance(method, Synthesizer):
        images = method.synthesize(batch.only(("labels", *([method.prior] if method.prior else []))))
        assert images.shape[1] == TASK.channels and images.abs().max() <= 1
        yield images
    if isinstance(method, Segmenter):
        found = method.segment(batch.images)
        torch.testing.assert_close(found.sum(1), torch.ones(len(batch), SIDE, SIDE))
        yield found
    if isinstance(method, Healer):
        yield method.heal(batch.images)
    if isinstance(method, Inserter):
        yield method.insert(batch.images, batch.labels)
    if hasattr(method, "judge"):
        assert method.judge(batch).shape == (len(batch),)


@pytest.mark.parametrize("name", NAMES)
def test_it_reads_no_field_that_its_streams_do_not_name(name, streams):
    method = new(name)
    everything = {key: Slices(**streams) for key in method.streams}
    if any(set(stream.fields) != set(FIELDS) for stream in method.streams.values()):
        with pytest.raises(InputError, match="other streams of slices than it names"):
            fit(method, everything, STEPS, _nowhere(), resume=False)


@pytest.mark.parametrize("name", NAMES)
def test_its_code_does_not_depend_on_another_method_but_those_it_extends(name):
    method = methods()[name]
    parents = {parent.__module__ for parent in method.__mro__}
    others = {other.__module__ for other in methods().values()} - parents
    assert not others & modules_of(method, fit)
    assert code_of(method, fit) != code_of(next(other for other in methods().values() if other is not method), fit)


def _nowhere() -> Path:
    import tempfile

    return Path(tempfile.mkdtemp())


class _Looking:
    """A step that goes nowhere, and notes which optimizers would step."""

    number, total = 0, 1

    def __init__(self):
        self.names = []

    def update(self, name, loss):
        assert loss.ndim == 0 and torch.isfinite(loss)
        self.names.append(name)


def _unplugged(after: int):
    """Leaves batches as they are, and fails at one after so many."""
    count = 0

    def augment(batch):
        nonlocal count
        count += 1
        if count >= after:
            raise RuntimeError("pulled the plug")
        return batch

    return augment
