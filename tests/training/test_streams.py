"""A method that learns from two streams of unequal length: each is drawn for itself, and no field is read unasked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from lesionlab.errors import InputError
from lesionlab.methods.base import Method, Task
from lesionlab.slices.batches import Slices, Stream
from lesionlab.training.checkpoint import load
from lesionlab.training.loader import make_samplers
from lesionlab.training.loop import fit

LENGTHS = {"healthy": 5, "pathological": 8}
BATCH = 3  # one and two full batches


class Nothing(BaseModel):
    """No options."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Healing(Method):
    """Draws what is pathological towards what is healthy; remembers the last healthy slice, as an image pool does."""

    name: ClassVar[str] = "healing"
    title: ClassVar[str] = "Healing"
    paper: ClassVar[str] = "none"
    Options: ClassVar[type[BaseModel]] = Nothing
    streams: ClassVar[Mapping[str, Stream]] = {
        "healthy": Stream("healthy", ("images",)),
        "pathological": Stream("pathological", ("images",)),
    }

    def __init__(self, options: Nothing, task: Task) -> None:
        super().__init__()
        self.options, self.task = options, task
        self.G, self.dropout = nn.Conv2d(task.channels, task.channels, 1), nn.Dropout(0.3)
        self.seen: dict[str, list[list[int]]] = {name: [] for name in self.streams}
        self.steps: list[tuple[int, int]] = []
        self.pool, self.restored = torch.zeros(1), 0

    def optimizers(self):
        return {"G": torch.optim.SGD(self.G.parameters(), lr=0.1)}

    def training_step(self, batches, step):
        self.steps.append((step.number, step.total))
        for name, batch in batches.items():
            self.seen[name].append(marks(batch.images))
        healthy, pathological = batches["healthy"].images, batches["pathological"].images
        loss = (self.G(self.dropout(pathological)) - healthy.mean() - self.pool.mean()).square().mean()
        step.update("G", loss)
        self.pool = healthy[-1].clone()
        return {"G/total": loss.detach()}

    def heal(self, images: Tensor) -> Tensor:
        return self.G(images)

    def pictures(self, batch):
        return {"healthy": batch.images.clamp(-1, 1)}

    def training_state(self) -> dict[str, Any]:
        return {"pool": self.pool}

    def load_training_state(self, state):
        self.pool, self.restored = state["pool"], self.restored + 1


class Peeping(Healing):
    """Looks at label maps that none of its streams names."""

    def training_step(self, batches, step):
        return {"G/total": batches["pathological"].labels.float().mean()}


def marks(images: Tensor) -> list[int]:
    """Which slices these are: their brightness tells."""
    return (images[:, 0, 0, 0] * 100).round().int().tolist()


@pytest.fixture
def two() -> dict[str, Slices]:
    """Five healthy slices, 0 to 4, and eight pathological ones, 50 to 57."""
    starts = {"healthy": 0, "pathological": 50}
    brightness = {name: torch.arange(starts[name], starts[name] + count) / 100 for name, count in LENGTHS.items()}
    return {name: Slices(images=one.view(-1, 1, 1, 1).expand(-1, 1, 4, 4).clone()) for name, one in brightness.items()}


@pytest.fixture
def wanted(options):
    """Six epochs: twelve steps, of two full batches of the longer stream each."""
    changes = {"constant": 4, "decay": 2, "unit": "epochs", "batch_size": BATCH, "checkpoint_every": 5}
    return options.model_copy(update=changes)


@pytest.fixture
def make() -> Callable[..., Healing]:
    """The same untrained method each time."""

    def build(kind: type[Healing] = Healing) -> Healing:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return kind(Nothing(), Task(sequences=("T1w",), lesion_classes=("tumor",)))

    return build


def same(one: Method, other: Method) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_an_epoch_is_the_longer_streams_and_the_shorter_is_mixed_anew_when_used_up(tmp_path, two, make, wanted):
    method = make()
    history = fit(method, two, wanted, tmp_path)
    assert history.step.max() == 12 and method.steps == [(number, 12) for number in range(12)]
    samplers = make_samplers(two, wanted)
    for name, sampler in samplers.items():
        batches, start = len(sampler), 0 if name == "healthy" else 50
        expected = [sampler.order(step // batches)[step % batches * BATCH :][:BATCH] + start for step in range(12)]
        assert method.seen[name] == [order.tolist() for order in expected]
        assert len({tuple(order) for order in method.seen[name]}) > 6  # mixed anew
    sizes = {name: len(sampler) for name, sampler in samplers.items()}
    assert sizes == {"healthy": 1, "pathological": 2}
    for start in range(0, 12, 2):  # within an epoch no slice comes twice
        assert len({*method.seen["pathological"][start], *method.seen["pathological"][start + 1]}) == 2 * BATCH


def test_streams_are_drawn_independently(two, wanted):
    equal = {"healthy": two["pathological"], "pathological": two["pathological"]}
    healthy, pathological = make_samplers(equal, wanted).values()
    orders = [[tuple(sampler.order(epoch)) for epoch in range(10)] for sampler in (healthy, pathological)]
    assert not set(orders[0]) & set(orders[1])
    # The order of one does not depend on the length of the other.
    others = make_samplers({**equal, "healthy": two["healthy"]}, wanted)
    assert [tuple(others["pathological"].order(epoch)) for epoch in range(10)] == orders[1]


def test_in_which_order_streams_are_given_does_not_matter(tmp_path, two, make, wanted):
    one, other = make(), make()
    fit(one, two, wanted, tmp_path / "one")
    fit(other, dict(reversed(two.items())), wanted, tmp_path / "other")
    assert one.seen == other.seen and same(one, other)


class Killed(Exception):
    """Stands for a power cut."""


class KilledAt:
    """A tracker that ends the run when a step is logged."""

    def __init__(self, at):
        self.at = at

    def metrics(self, values, step):
        if step == self.at:
            raise Killed

    def images(self, array, name, step):
        pass


@pytest.mark.parametrize("every", [1, 5])
def test_a_killed_run_goes_on_bit_for_bit(tmp_path, two, make, wanted, every):
    wanted = wanted.model_copy(update={"checkpoint_every": every})
    straight, killed, continued = make(), make(), make()
    fit(straight, two, wanted, tmp_path / "straight")
    with pytest.raises(Killed):
        fit(killed, two, wanted, tmp_path / "run", tracker=KilledAt(8))
    at = load(tmp_path / "run" / "last.pt")["training"]["step"]
    assert at == (7 if every == 1 else 5)
    fit(continued, two, wanted, tmp_path / "run")
    assert same(straight, continued) and torch.equal(straight.pool, continued.pool)
    assert killed.restored == 0 and continued.restored == 1 and continued.steps == straight.steps[at:]
    assert {name: seen[at:] for name, seen in straight.seen.items()} == continued.seen
    ends = [load(tmp_path / folder / "last.pt")["training"] for folder in ("straight", "run")]
    assert ends[0]["samplers"] == ends[1]["samplers"]
    assert {name: state["epoch"] for name, state in ends[0]["samplers"].items()} == {"healthy": 12, "pathological": 6}


def test_what_training_needs_is_in_the_checkpoint_but_not_in_the_method(tmp_path, two, make, wanted):
    method = make()
    fit(method, two, wanted, tmp_path)
    last, trained = load(tmp_path / "last.pt"), load(tmp_path / "method.pt")
    assert torch.equal(last["training"]["method"]["pool"], method.pool)
    assert marks(method.pool[None]) == [method.seen["healthy"][-1][-1]]
    assert "training" not in trained and set(trained["weights"]) == {"G.weight", "G.bias"} == set(last["weights"])
    tensors = [value for value in _leaves(trained) if isinstance(value, Tensor)]
    assert len(tensors) == 2  # the weights alone


def _leaves(tree):
    if isinstance(tree, Mapping):
        for value in tree.values():
            yield from _leaves(value)
    else:
        yield tree


def test_a_batch_of_each_stream_is_taken_in_parts(tmp_path, two, make, wanted):
    parts = wanted.model_copy(update={"batch_size": 4, "accumulate": 2})
    method = make()
    fit(method, two, parts, tmp_path)
    # Each part of each stream comes once: a batch of four, two by two.
    assert [len(part) for part in method.seen["healthy"]] == [2] * 24
    first = make_samplers(two, parts)["healthy"].order(0)[:4].tolist()
    assert [*method.seen["healthy"][0], *method.seen["healthy"][1]] == first


def test_what_no_stream_names_cannot_be_read(tmp_path, two, make, wanted):
    with pytest.raises(InputError, match="reads labels, which its stream does not name.*the fields images"):
        fit(make(Peeping), two, wanted, tmp_path)


@pytest.mark.parametrize("fault", ["labels too", "a stream lacks", "a stream more", "one alone"])
def test_other_streams_than_the_methods_are_refused(tmp_path, two, make, wanted, fault):
    images = two["healthy"].tensors["images"]
    labelled = Slices(images=images, labels=torch.ones(len(images), 4, 4, dtype=torch.uint8))
    given = {
        "labels too": {**two, "healthy": labelled},
        "a stream lacks": {"healthy": two["healthy"]},
        "a stream more": {**two, "others": two["healthy"]},
        "one alone": two["healthy"],
    }[fault]
    with pytest.raises(InputError, match=r"healing is given other streams.*Allowed: .*'pathological': \['images'\]"):
        fit(make(), given, wanted, tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_stream_without_a_full_batch_is_told_by_name(tmp_path, two, make, wanted):
    with pytest.raises(InputError, match="batch_size 6, 5 slices in the stream 'healthy'"):
        fit(make(), two, wanted.model_copy(update={"batch_size": 6}), tmp_path)
