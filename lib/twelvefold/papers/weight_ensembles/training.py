"""Ingredients: N networks fine-tuned from one initialisation, with their own hyperparameters, data and batch order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from twelvefold.core import seeds
from twelvefold.core.checkpoint import Checkpoint
from twelvefold.nn.functional_population import correctness, training_chunk, weights_of
from twelvefold.nn.population_training import Adam, Batch, TrainingState, train
from twelvefold.papers.weight_ensembles import models
from twelvefold.papers.weight_ensembles.images import Labelled, Task
from twelvefold.papers.weight_ensembles.officehome import DRAWS, augment

BLOCK = 50  # steps whose batches and masks are drawn together; a generator per member and block makes runs resumable
PRETRAINING = {"steps": 300, "batch": 64, "learning_rate": 1e-3}  # upright digits to about 0.9 accuracy
INITIALISATIONS = ("shared", "different")


@dataclass(frozen=True)
class Regime:
    """Ranges from which each member's hyperparameters are drawn.

    learning_rates, dropouts: equally likely values. weight_decay: (low, high) exponents of ten, or equal for one value.
    fraction: share of the steps a member makes. domain_weights: range of the unnormalised sampling weight of each
    domain. share: part of the fine-tuning images that a member sees. decay: as in `Adam`. monitor: evaluate on
    validation every so many steps and keep the best weights (0: keep the last).
    """

    learning_rates: tuple[float, ...]
    dropouts: tuple[float, ...]
    weight_decay: tuple[float, float]
    fraction: tuple[float, float]
    domain_weights: tuple[float, float]
    share: float
    decay: str = "decoupled"
    monitor: int = 0


REGIMES = {
    # members of clearly different quality: selection has something to choose from
    "heterogeneous": Regime((5e-4, 1e-3, 2e-3), (0.0, 0.1, 0.5), (-4, -2), (0.6, 1.0), (0.3, 1.3), 0.5),
    # members of similar quality, as in DiWA's narrow search: everything may be averaged
    "mild": Regime((7e-4, 1e-3, 1.4e-3), (0.0, 0.1), (-4, -2), (0.9, 1.0), (0.9, 1.1), 0.5),
    # DiWA's search on DomainBed: Adam, best validation checkpoint of every 100 steps
    "diwa": Regime((1e-5, 3e-5, 5e-5), (0.0, 0.1, 0.5), (-6, -4), (1.0, 1.0), (1.0, 1.0), 1.0, "l2", 100),
}


@dataclass(frozen=True)
class Members:
    """Hyperparameters of N members: `learning_rate`, `weight_decay`, `dropout`, `steps` `[N]`, `domain_weights` `[N,
    D]`."""

    learning_rate: Tensor
    weight_decay: Tensor
    dropout: Tensor
    steps: Tensor
    domain_weights: Tensor


def regime_of(name: str) -> Regime:
    """The regime of that name; ValueError with the known ones otherwise."""
    if name not in REGIMES:
        raise ValueError(f"regime is {name!r}; known are {list(REGIMES)}")
    return REGIMES[name]


def draw_members(seed: int, replicate: int, members: int, steps: int, domains: int, regime: str) -> Members:
    """Draw the hyperparameters of `members` members; member i's are the same whatever the number of members."""
    if members < 1 or steps < 1:
        raise ValueError(f"members is {members} and steps is {steps}; both must be at least 1")
    rule = regime_of(regime)
    uniform = seeds.numpy_generator(seed, replicate, "hyperparameters").random((members, 4 + domains))

    def one_of(values: tuple[float, ...], column: int) -> np.ndarray:
        return np.array(values)[(uniform[:, column] * len(values)).astype(int)]

    def between(bounds: tuple[float, float], column: int | slice) -> np.ndarray:
        return bounds[0] + (bounds[1] - bounds[0]) * uniform[:, column]

    weights = between(rule.domain_weights, slice(4, None))
    return Members(
        learning_rate=torch.tensor(one_of(rule.learning_rates, 0), dtype=torch.float32),
        weight_decay=torch.tensor(10.0 ** between(rule.weight_decay, 2), dtype=torch.float32),
        dropout=torch.tensor(one_of(rule.dropouts, 1), dtype=torch.float32),
        steps=torch.tensor(np.maximum(1, np.round(steps * between(rule.fraction, 3))), dtype=torch.long),
        domain_weights=torch.tensor(weights / weights.sum(1, keepdims=True), dtype=torch.float32),
    )


class MemberBatches:
    """`batches(step)` for `train`: each member samples from its own part of the images, with its own dropout masks.

    Block b of member i is drawn from the generator of purpose "<stage> i/b", so a member sees the same batches alone,
    in any chunk and after a restart. On CUDA the masks come from a CUDA generator with the same seed (other draws than
    on the CPU).
    """

    def __init__(
        self, images: Labelled, domain_weights: Tensor, dropout: Tensor, share: float, batch: int, *,
        seed: int, replicate: int, stage: str, first: int, mask_shape: tuple[int, ...], augmented: bool,
        device: torch.device,
    ) -> None:  # fmt: skip
        self.inputs, self.labels = images.inputs.to(device), images.labels.to(device)
        self.dropout, self.batch, self.mask_shape, self.augmented = dropout, batch, mask_shape, augmented
        self.address, self.first, self.device = (seed, replicate, stage), first, device
        self.pools, self.chances = self._pools(images, domain_weights, share)
        self.block = -1

    def _generator(self, member: int, block: int) -> torch.Generator:
        seed, replicate, stage = self.address
        return seeds.torch_generator(seed, replicate, f"{stage} {self.first + member}/{block}")

    def _pools(self, images: Labelled, domain_weights: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """Image numbers `[N, pool]` of each member and their sampling probabilities `[N, pool]`."""
        size = max(1, round(share * len(images)))
        pools, chances = [], []
        for index, weights in enumerate(domain_weights):
            pool = torch.randperm(len(images), generator=self._generator(index, -1))[:size]
            domains = images.domains[pool]
            counts = torch.bincount(domains, minlength=len(weights)).clamp(min=1)
            pools.append(pool)
            chances.append((weights / counts)[domains])
        return torch.stack(pools), torch.stack(chances)

    def _draw(self, block: int) -> None:
        chosen, masks, draws = [], [], []
        for index in range(len(self.pools)):
            generator = self._generator(index, block)
            picks = torch.multinomial(self.chances[index], BLOCK * self.batch, replacement=True, generator=generator)
            chosen.append(self.pools[index][picks].view(BLOCK, self.batch))
            rate = float(self.dropout[index])
            masks.append(self._mask(rate, generator))
            if self.augmented:
                draws.append(torch.rand(BLOCK, self.batch, DRAWS, generator=generator))
        self.chosen = torch.stack(chosen, 1).to(self.device)  # [BLOCK, N, B]
        self.masks = torch.stack(masks, 1) if bool((self.dropout > 0).any()) else None  # [BLOCK, N, B, *mask_shape]
        self.draws = torch.stack(draws, 1).to(self.device) if draws else None
        self.block = block

    def _mask(self, rate: float, generator: torch.Generator) -> Tensor:
        shape = (BLOCK, self.batch, *self.mask_shape)
        if rate == 0:
            return torch.ones(shape, dtype=torch.bool, device=self.device)
        if self.device.type == "cuda":
            generator = torch.Generator(self.device).manual_seed(generator.initial_seed())
        return torch.rand(shape, generator=generator, device=self.device) >= rate

    def __call__(self, step: int) -> Batch:
        """Inputs `[N, B, C, H, W]`, labels `[N, B]` and scaled dropout masks `[N, B, *mask_shape]` or None."""
        block, row = divmod(step, BLOCK)
        if block != self.block:
            self._draw(block)
        chosen = self.chosen[row]
        inputs, mask = self.inputs[chosen], None
        if self.draws is not None:
            inputs = augment(inputs.flatten(0, 1), self.draws[row].flatten(0, 1)).view(inputs.shape)
        if self.masks is not None:
            # kept activations are scaled up, so that the mean stays what evaluation without dropout sees
            keep = (1.0 / (1.0 - self.dropout)).to(self.device).view(-1, 1, *[1] * len(self.mask_shape))
            mask = self.masks[row] * keep
        return inputs, self.labels[chosen], mask


def initial_weights(
    task: Task, architecture: str, seed: int, replicate: int, members: int, initialisation: str, device: torch.device
) -> tuple[nn.Module, Tensor]:
    """The architecture and the weights `[members, P]` ("different") or `[1, P]` ("shared") from which ingredients
    start.

    Fresh networks are pretrained on the task's upright images; network 0 is the shared one. Raises ValueError for an
    unknown initialisation.
    """
    if initialisation not in INITIALISATIONS:
        raise ValueError(f"initialisation is {initialisation!r}; known are {list(INITIALISATIONS)}")
    if initialisation == "different" and architecture in models.PRETRAINED:
        raise ValueError(
            f"initialisation 'different' needs networks of our own; {architecture!r} has one set of weights"
        )
    count = members if initialisation == "different" else 1
    channels, height, width = task.training.inputs.shape[1:]
    generators = [seeds.torch_generator(seed, replicate, f"initial weights {index}") for index in range(count)]
    built = [models.build(architecture, (channels, height, width), task.classes, generator) for generator in generators]
    weights = weights_of(built)
    if task.pretraining is None:
        return built[0], weights
    plain = Members(
        torch.full((count,), PRETRAINING["learning_rate"]), torch.zeros(count), torch.zeros(count),
        torch.full((count,), int(PRETRAINING["steps"])), torch.ones(count, 1),
    )  # fmt: skip
    job = Job(seed, replicate, "pretraining", int(PRETRAINING["batch"]), share=1.0, decay="decoupled", monitor=0)
    return built[0], train_members(built[0], weights, task.pretraining, plain, job, device)


@dataclass(frozen=True)
class Job:
    """What else a training stage needs: whose draws, batch size, share of the images, kind of decay, monitoring."""

    seed: int
    replicate: int
    stage: str
    batch: int
    share: float
    decay: str
    monitor: int
    augmented: bool = False


def train_members(
    model: nn.Module, weights: Tensor, images: Labelled, members: Members, job: Job, device: torch.device,
    *, validation: Labelled | None = None, checkpoint: Checkpoint | None = None,
) -> Tensor:  # fmt: skip
    """Train `weights [N, P]` (or `[1, P]`, the common start) on `images` and return `[N, P]` on the CPU.

    Members are cut into chunks that fit the device; `checkpoint` keeps finished chunks and the state of the current
    one.
    """
    count = len(members.learning_rate)
    start = weights.expand(count, -1)
    model = model.to(device)
    chunk = training_chunk(model, images.inputs[:1].to(device), count, job.batch, device)
    saved = (checkpoint.load() if checkpoint is not None else None) or {
        "finished": weights.new_empty(0, start.shape[1])
    }
    finished = torch.as_tensor(saved["finished"])
    while len(finished) < count:
        width = len(saved["weights"]) if "weights" in saved else chunk  # a restart keeps the chunk it was in
        rows = slice(len(finished), min(count, len(finished) + width))
        run = _ChunkRun(model, TrainingState.fresh(start[rows].to(device)), job.monitor, validation)
        if "weights" in saved:
            run.restore(saved)
            saved = {}

        def after_step(state: TrainingState, run: _ChunkRun = run, finished: Tensor = finished) -> None:
            run.observe(state)
            if checkpoint is not None:
                checkpoint.save({"finished": finished, **run.snapshot()})

        settings = Adam(members.learning_rate, members.weight_decay, members.steps, decay=job.decay).rows(rows)
        batches = MemberBatches(
            images, members.domain_weights[rows], members.dropout[rows], job.share, job.batch, seed=job.seed,
            replicate=job.replicate, stage=job.stage, first=rows.start, mask_shape=_mask_shape(model),
            augmented=job.augmented, device=device,
        )  # fmt: skip
        train(model, run.state, settings.to(device), batches, after_step=after_step)
        finished = torch.cat([finished, run.result().cpu()])
    return finished


def _mask_shape(model: nn.Module) -> tuple[int, ...]:
    return tuple(model.mask_shape)  # type: ignore[arg-type]


class _ChunkRun:
    """One chunk in training: its state and, where asked for, the best weights on validation so far."""

    def __init__(self, model: nn.Module, state: TrainingState, monitor: int, validation: Labelled | None) -> None:
        self.model, self.state, self.monitor, self.validation = model, state, monitor, validation
        self.best = state.weights.clone() if monitor else state.weights[:0]
        self.best_value = torch.full((len(self.best),), -1.0, device=state.weights.device)

    def snapshot(self) -> dict[str, Tensor | int]:
        """Everything needed to go on from here."""
        state = self.state
        return {"weights": state.weights, "first": state.first, "second": state.second, "step": state.step,
                "best": self.best, "best_value": self.best_value}  # fmt: skip

    def restore(self, saved: dict) -> None:
        """Go on from a snapshot."""
        device = self.state.weights.device
        tensors = {name: torch.as_tensor(saved[name]).to(device) for name in ("weights", "first", "second")}
        self.state = TrainingState(**tensors, step=int(saved["step"]))
        self.best = torch.as_tensor(saved["best"]).to(device)
        self.best_value = torch.as_tensor(saved["best_value"]).to(device)

    def observe(self, state: TrainingState) -> None:
        """Keep the weights of members that are better on validation than before, every `monitor` steps."""
        if not self.monitor or self.validation is None or state.step % self.monitor:
            return
        right = correctness(self.model, state.weights, self.validation.inputs, self.validation.labels)
        value = right.float().mean(1)
        better = value > self.best_value
        self.best = torch.where(better[:, None], state.weights, self.best)
        self.best_value = torch.where(better, value, self.best_value)

    def result(self) -> Tensor:
        """The best weights where monitored (and ever evaluated), else the last ones."""
        if not self.monitor or self.validation is None:
            return self.state.weights
        return torch.where((self.best_value >= 0)[:, None], self.best, self.state.weights)


def fine_tune(
    model: nn.Module, initial: Tensor, task: Task, members: Members, regime: str, batch: int, seed: int, replicate: int,
    device: torch.device, checkpoint: Checkpoint | None = None,
) -> Tensor:  # fmt: skip
    """The ingredients `[N, P]`: fine-tune `initial` (`[1, P]` or `[N, P]`) with each member's own settings and data."""
    rule = regime_of(regime)
    job = Job(seed, replicate, "fine-tuning", batch, rule.share, rule.decay, rule.monitor, task.augment)
    return train_members(
        model, initial, task.training, members, job, device, validation=task.validation, checkpoint=checkpoint
    )
