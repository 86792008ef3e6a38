"""Train a recipe: `python train.py --model shufflemixer_demo`, or under torchrun on many devices.

Every line of a step is in this file. The run folder (tasks/run) holds the recipe, the log and the
checkpoints; the same command goes on where it stopped, on any number of ranks.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

import models
import tasks
from dataprep import flags
from loaders import Batch, Dataset, Loader, World, strategies
from models import Recipe
from tasks.run import REQUEUE, Run, load_checkpoint
from tasks.run import report as reports
from tasks.run.best import Best
from tasks.run.checks import before_training
from tasks.run.launch import Launch, join, reseed
from tasks.run.log import Log, peak_memory
from tasks.run.restore import recipe_of
from tasks.run.selection import Scored, gather, select, weigh
from tasks.run.signals import Asked
from tasks.run.tally import Tally
from tasks.run.window import Measured, Window


class Trainer:
    """One run on this rank."""

    def __init__(  # blank: the weights will come from a checkpoint
        self, model: str, recipe: Recipe, launch: Launch, run: Run, root: str | None, blank: bool
    ) -> None:
        self.recipe, self.launch, self.run = recipe, launch, run
        self.world = World.from_environment()
        self.device = launch.open_device(self.world)
        self.dataset = Dataset(recipe.data, root)
        torch.manual_seed(recipe.seed)
        family = models.recipes()[model][0]
        self.net = models.build(family, blank=blank, **recipe.net).to(self.device)
        self.task = tasks.load(recipe.task)(self.dataset, self.net, **recipe.task_options)
        self.facts = {
            "model": model,
            "family": family,
            "recipe": recipe.facts(),
            "fingerprint": self.dataset.manifest.fingerprint,
            "classes": self.dataset.manifest.classes,
        }
        self.loader = self._training_loader()
        self.notes = before_training(self.dataset, self.loader, self.task, recipe, launch)
        self.steps = recipe.steps or recipe.epochs * self.loader.steps  # at the most
        if not self.steps:
            raise ValueError("say how long to train: --steps or --epochs")
        self.task.begin(recipe.train_split)
        self.parameters = [p for p in self.net.parameters() if p.requires_grad]
        self.optimiser = recipe.optimise(self.parameters)
        if recipe.channels_last:
            self.net = self.net.to(memory_format=torch.channels_last)
        average = models.averaging(recipe.ema)
        self.ema = (
            AveragedModel(self.net, multi_avg_fn=average, use_buffers=True) if recipe.ema else None
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=recipe.precision == "fp16")
        net: Any = torch.compile(self.net) if launch.compile else self.net
        self.objective: nn.Module = tasks.Objective(self.task, net, self.loader.strategy.needs)
        self.ddp: DistributedDataParallel | None = None
        if self.world.size > 1:
            self.objective = self.ddp = DistributedDataParallel(self.objective)
        self.tally = Tally(self.dataset.samples if launch.count_visits else 0, self.world)
        self.step, self.progress, self.skipped = 0, 0.0, 0
        self.best = Best(self.task, recipe.best, recipe.patience)
        self.asked, self.stop = Asked(), False  # by a signal here; by any rank, agreed
        self.log = Log(None, 0, 0)

    def _training_loader(self) -> Loader:
        recipe, feed = self.recipe, self.task.feed(training=True)
        self.task.check(recipe.train_split)
        return Loader(
            self.dataset,
            split=recipe.train_split,
            **vars(feed),
            global_batch_size=recipe.global_batch_size,
            seed=recipe.seed,
            shuffle=recipe.shuffle == "full" or "block",
            last=recipe.last,
            strategy=recipe.strategy,
            strategy_options=recipe.strategy_options,
            feedback_lag=recipe.feedback_lag,
            epochs=None if recipe.steps else recipe.epochs,
            run_steps=recipe.steps or None,
            **self._loading(training=True),
        )

    def _loading(self, training: bool = False, **other: Any) -> dict[str, Any]:
        return self.launch.loading(training) | {"world": self.world, "device": self.device} | other

    def train(self) -> None:
        """Go on from the last checkpoint, if there is one, to the last step."""
        with self.asked:
            self._start()
            self._steps()
            self._finish()

    def _steps(self) -> None:
        if self.best.owed:  # due when this run was told to stop
            self.validate()
        batches, window, first = iter(self.loader), Window(self.loader), self.step
        while not (self.is_over or self.stop):
            began = time.perf_counter()
            batch = next(batches)
            if self.step == first:  # start-up, not waiting: threads begin, kernels are compiled
                self.log.first_batch(window.seconds, self.loader.facts())
                window.start()
                began = time.perf_counter()
            terms = self._step(batch)
            window.add(min(batch.total, self.recipe.global_batch_size), terms)
            self.log.advance(self.step)
            if self.step % self.launch.log_every == 0 or self.progress == 1:
                self._log(batch, window.close())
            self.tally.seconds += time.perf_counter() - began
            epochs = batch.epoch + (batch.step + 1) / batch.steps
            with window.paused():
                if epoch := self.tally.end_epoch(batch, self.loader):
                    self.log.epoch(batch.epoch, self.step, epoch)
                self.best.owed = self.progress < 1 and self.recipe.validates(self.step, epochs)
                if self.stop or self.progress == 1:
                    continue
                if self.best.owed:
                    self.validate()
                elif self.step % self.launch.checkpoint_every == 0:
                    self.save()
        batches.close()

    @property
    def is_over(self) -> bool:
        """True once nothing is left to train: all of it is done, or it got no better for long."""
        return self.progress >= 1 or self.best.is_over

    def _start(self) -> None:
        first, latest = self.world.is_first, self.run.latest()
        if self.run.exists:
            self.run.refuse_changes(self.facts)
        if latest:
            self.load(load_checkpoint(latest))
        elif first:
            self.run.begin(self.facts)
            self.run.keep(self.task.records(self.recipe.train_split))
        if first:
            (self.run.folder / REQUEUE).unlink(missing_ok=True)
            self.run.log(kind="launch", step=self.step, ranks=self.world.size, **vars(self.launch))
        self.log = Log(self.run if first else None, self.step, self.steps, self.progress)
        self.log.say(*self.notes)
        size, parameters = len(self.loader.ids), sum(p.numel() for p in self.parameters)
        self.log.say(
            f"{self.facts['model']}: {parameters:,} parameters, {size:,} samples, steps"
            f" {self.step} to {self.steps} on {self.world.size} × {self.device.type}"
        )

    def _step(self, batch: Batch) -> dict[str, Tensor]:
        """Do one optimiser update; returns the loss and its terms over the whole global step."""
        recipe = self.recipe
        # Torch's own randomness (dropout) is keyed too: a resumed run needs no generator's state.
        reseed((recipe.seed * 1_000_003 + self.step) * 4099 + self.world.rank, self.device)
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.learning_rate(self.progress)
        chosen, seen = self._select(batch)
        terms, scores = self._backward(chosen, weighs=seen is None and not batch.final)
        self.tally.count(batch, chosen, scored=seen is not None)
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        if recipe.grad_clip:
            nn.utils.clip_grads_with_norm_(self.parameters, recipe.grad_clip, norm)
        # An infinite gradient under fp16 is the scaler's business: it skips and halves its scale.
        finite = terms["loss"].isfinite() & (norm.isfinite() | self.scaler.is_enabled())
        if sound := self._agreed(finite):
            self.scaler.step(self.optimiser)
            if self.ema:
                self.ema.update_parameters(self.net)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self.progress = recipe.progress(self.step, batch.epoch + (batch.step + 1) / batch.steps)
        if self.loader.listens:
            self.loader.observe(*(seen or gather(self.loader, batch, scores)))
        if not sound:
            self._not_finite(batch)
        return terms

    def _backward(self, batch: Batch, weighs: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Add up the gradients of Σ w·loss / n over micro-batches; returns terms and scores.

        weighs: a strategy that weighs does so here, by this very forward pass.
        """
        parts = list(batch.split(self.launch.micro_batch or len(batch)))
        sums: dict[str, Tensor] = {}
        scores: dict[str, list[Tensor]] = {}
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            with contextlib.nullcontext() if last or not self.ddp else self.ddp.no_sync():
                with self._autocast():
                    value, per_sample, terms, scored = self.objective(part, self.step)
                if weighs and self.loader.strategy.weighs():
                    part = weigh(self.loader, part, scored)[0]
                self.tally.visit(part)
                # DDP averages over W ranks, so each rank's sum counts W times its share.
                share = part.weight * (self.world.size / batch.total)
                loss = (share * value).sum() if per_sample else value / len(parts)
                self.scaler.scale(loss).backward()
            for name, term in {"loss": value.detach(), **terms}.items():
                mean = (share * term).sum() if term.ndim else term / len(parts)
                sums[name] = sums.get(name, 0) + mean / self.world.size
            for name, score in scored.items():
                scores.setdefault(name, []).append(score.detach().float())
        return sums, {name: torch.cat(parts_) for name, parts_ in scores.items()}

    def _autocast(self) -> torch.autocast:
        kinds = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": None}
        kind = kinds[self.recipe.precision]
        return torch.autocast(self.device.type, kind, enabled=kind is not None)

    def _select(self, batch: Batch) -> tuple[Batch, Scored | None]:
        """Let a strategy that asks pick samples, or weigh micro-batches, by a scoring pass."""
        # The weights of a batch that is trained on as a whole need none: see `_backward`.
        strategy, size = self.loader.strategy, self.launch.micro_batch or len(batch)
        if batch.final or not (strategy.picks() or (strategy.weighs() and size < len(batch))):
            return batch, None
        with torch.no_grad(), self._autocast(), tasks.judging(self.net):
            losses = [self.task.loss(self.net, part, self.step) for part in batch.split(size)]
            return select(self.loader, self.task, batch, losses)

    def _agreed(self, sound: Tensor) -> bool:
        """Share stop signals and soundness: all ranks do the same."""
        flags_ = torch.stack([~sound, torch.tensor(bool(self.asked), device=self.device)]).int()
        if self.world.size > 1:
            dist.all_reduce(flags_, dist.ReduceOp.MAX)
        unsound, self.stop = (bool(flag) for flag in flags_.tolist())
        return not unsound

    def _not_finite(self, batch: Batch) -> None:
        self.skipped += 1
        ids = gather(self.loader, batch, {})[0]
        listed = ", ".join(map(str, ids[:8])) + ", …" * (len(ids) > 8)
        why = f"step {self.step}: loss or gradient is not finite; samples {listed}"
        if self.launch.on_non_finite == "stop":
            self.save()
            raise ValueError(f"{why}; checkpoint saved (go on with --on-non-finite skip)")
        self.log.say(f"{why}; skipped, {self.skipped} so far")

    def _log(self, batch: Batch, measured: Measured) -> None:
        facts = measured.everywhere(self.world, self.device)
        facts |= {"lr": self.optimiser.param_groups[0]["lr"]}
        facts |= {"memory_bytes": peak_memory(self.device)}
        bad = len(self.loader.quarantine.bad)
        facts |= {k: v for k, v in (("skipped", self.skipped), ("bad_samples", bad)) if v}
        ids = gather(self.loader, batch, {})[0].tolist() if self.launch.log_ids else None
        self.log.step(self.step, self.progress, facts, ids)

    def validate(self) -> tasks.Evaluation:
        """Evaluate the averaged weights, show pictures, save; the best checkpoint is kept."""
        net, split = self.evaluated().eval(), self.recipe.val_split
        judged = tasks.evaluate(self.task, net, split, **self._loading())
        self.log.validation(self.step, judged.figures, self.task.headline)
        if self.world.is_first:
            alone = self._loading(world=World())
            self.log.pictures(self.step, tasks.pictures(self.task, net, split, **alone))
        net.train()
        self.save(self.best.take(judged.figures))
        return judged

    def evaluated(self) -> nn.Module:
        """Return the network that is judged: the averaged one where the recipe has one."""
        return self.ema.module if self.ema else self.net

    def save(self, best: bool = False) -> None:
        """Write a checkpoint (rank 0); it fits any number of ranks."""
        state = {
            "step": self.step,
            "best": self.best.state(),
            "progress": self.progress,
            "skipped": self.skipped,
            "tally": self.tally.state(),
            "facts": self.facts,
            "model": self.net.state_dict(),
            "ema": self.ema.state_dict() if self.ema else {},
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "loader": self.loader.state(),
        }
        if self.world.is_first:
            self.run.save(self.step, state, self.launch.keep, best)
        if self.world.size > 1:
            dist.barrier()

    def load(self, state: Mapping[str, Any]) -> None:
        """Take back a checkpoint."""
        self.step, self.progress, self.skipped = (state[k] for k in ("step", "progress", "skipped"))
        self.best.load(state["best"])
        self.tally.load(state["tally"])
        self.net.load_state_dict(state["model"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.loader.load(state["loader"])

    def initialise(self, path: Path) -> None:
        """Start from the weights of a checkpoint, ours or of the network's authors."""
        if not self.run.latest():
            models.initialise(self.net, load_checkpoint(path))
            self.task.begin(self.recipe.train_split)  # of this set, not of the other run's
            if self.ema:
                self.ema.module.load_state_dict(self.net.state_dict())

    def _finish(self) -> None:
        """Leave a marker if told to stop; else validate, write the report and say where it is."""
        if not self.is_over:
            self.save()
            if self.world.is_first:
                (self.run.folder / REQUEUE).touch()
            self.log.say(f"told to stop: saved step {self.step}; the same command goes on")
            return self.log.close()
        if self.progress < 1:
            self.log.say(f"step {self.step} is the last: {self.best.why}")
        self.save()  # whatever the validation does, the training is kept
        judged, net = self.validate(), self.evaluated().eval()
        if self.recipe.weights == "best" and self.best.since:
            models.initialise(net, load_checkpoint(self.run.best()))
            judged = tasks.evaluate(self.task, net, self.recipe.val_split, **self._loading())
        reports.judge(self.run, self.task, net, self.launch.judged_splits, **self._loading())
        if self.world.is_first:
            alone = self._loading(world=World())
            self.tally.write(self.run, self.loader)
            work = self.tally.facts() | {"steps": self.step}
            paths = reports.write(self.run, self.task, net, judged, work, **alone)
            self.log.finish(reports.wait_share(self.run), paths)
        self.log.close()


@click.command(cls=flags.Command, context_settings={"show_default": True})
@click.option("--model", required=True, type=click.Choice(sorted(models.recipes())), help="recipe")
@click.option("--name", help="run folder's name  [default: the model's name]")
@click.option("--runs", default="runs", type=Path, help="where run folders lie")
@click.option("--data-root", help="where built sets lie  [default: $NOSTALL_DATA, else ./data]")
@click.option("--init", type=Path, help="start from these weights: a checkpoint of any run")
@click.option("--show", is_flag=True, help="print the recipe with what was typed, and stop")
@flags.options(Launch)
@flags.options(Recipe, {"strategy": strategies.names()})
def main(
    model: str,
    name: str | None,
    runs: Path,
    data_root: str | None,
    init: Path | None,
    show: bool,
    **given: Any,
) -> None:
    """Train a recipe; the same command goes on with a run that was stopped.

    A model's recipe sets values of its own where below a plain default is named: see --show.

    \b
    python train.py --model shufflemixer_demo
    torchrun --nproc-per-node=8 train.py --model shufflemixer --name bf16 --precision bf16
    """
    try:
        recipe = recipe_of(model, given)
        if show:
            return print(json.dumps(recipe.facts(), indent=1))
        launch = flags.replace(Launch(), given)
        join()
        run = Run(runs / (name or model))
        trainer = Trainer(model, recipe, launch, run, data_root, bool(init or run.latest()))
        if init:
            trainer.initialise(init)
        trainer.train()
    except torch.OutOfMemoryError:
        raise ValueError(
            "out of memory: try a smaller --micro-batch (same result), --precision bf16 or, in"
            " validation, --task tile=256"
        ) from None
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


if __name__ == "__main__":
    main()
