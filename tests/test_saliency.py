"""The saliency task: its losses and figures against what is computed by hand.

Networks here are stand-ins whose densities are known; tests/test_saliency_runs.py trains real ones.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn
from toys import Stimuli, built

from dataprep.manifest import DataError
from loaders import Batch, Dataset, Loader, World
from models import Input
from tasks import evaluate, load
from tasks.metrics.centre import CentreBias
from tasks.metrics.score import score
from tasks.saliency import Task
from tasks.stimuli.densities import bias_entropy, soft_map

SIZE = "96x128"
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


class Net(nn.Module):
    """Says a density that depends on the image, the centre bias and one weight."""

    def __init__(self, grid: int = 16) -> None:
        super().__init__()
        self.inputs = {"image": Input(mean=MEAN, std=STD)}
        self.weight = nn.Parameter(torch.ones(()))
        self.register_buffer("centre_bias", torch.zeros(grid, grid))
        self.seen: list[tuple[Tensor, Any, bool]] = []
        self.modes: list[bool] = []

    def fill_centre_bias(self, log_density: Tensor) -> None:
        self.centre_bias.copy_(log_density)

    def forward(self, image: Tensor, bias: Any = None, with_centre_bias: bool = True) -> Tensor:
        self.seen.append((image, bias, with_centre_bias))
        self.modes.append(self.training)
        log = self.weight * image.mean(1) if with_centre_bias else 0 * image.mean(1)
        return log.flatten(1).log_softmax(1).view(log.shape)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return built(Stimuli(), tmp_path_factory.mktemp("sets") / "stimuli")


def task_of(dataset: Dataset | None, net: Any = None, **options: Any) -> Task:
    task = load("saliency")(dataset, net or Net(), **{"size": SIZE, "bandwidth": 0.0215, **options})
    assert isinstance(task, Task)
    return task


def batches(task: Task, split: str = "train", **other: Any) -> list[Batch]:
    settings: dict[str, Any] = {"global_batch_size": 4, "epochs": 1, "shuffle": False} | other
    loader = Loader(task.dataset, split=split, **vars(task.feed(training=True)), **settings)
    return [batch.clone() for batch in loader]


def scaled(dataset: Dataset, sample: int, size: tuple[int, int]) -> np.ndarray:
    """Return the fixations of an image as they lie in a picture of another size."""
    height, width = ((48, 64), (64, 48), (56, 56))[sample % 3]
    points = dataset.points("fixations")[sample][:, :2]
    return points * (size[1] / width, size[0] / height)


def test_likelihood_is_that_of_the_fixated_pixels(dataset: Dataset) -> None:
    """Points scaled with their image, the pixel by int(), a mean for each image, in bit."""
    task = task_of(dataset)
    seen = set()
    for batch in batches(task):
        density = task.net(batch["image"]).detach().double().numpy()
        found = task.loss(task.net, batch, 0).per_sample
        assert found is not None
        for i, sample in enumerate(batch.id.tolist()):
            x, y = scaled(dataset, sample, density.shape[1:]).astype(np.float32).astype(int).T
            want = -np.log2(np.exp(density[i][y, x])).mean()
            assert float(found[i].detach()) == pytest.approx(want, rel=1e-5)
        seen.add(density.shape[1:])
    assert seen == {(96, 128), (128, 96)}


def test_blurred_target_is_the_fixation_map_of_the_stretched_image(dataset: Dataset) -> None:
    """Sigma is in pixels of the original: an image of another aspect gets an ellipse."""
    task = task_of(dataset, target="map")
    for batch in batches(task):
        log_density = task.net(batch["image"]).detach().double().numpy()
        found = task.loss(task.net, batch, 0).per_sample
        assert found is not None
        for i, sample in enumerate(batch.id.tolist()):
            size = log_density.shape[1:]
            original = ((48, 64), (64, 48), (56, 56))[sample % 3]
            marks = np.zeros(size)
            x, y = scaled(dataset, sample, size).astype(int).T
            np.add.at(marks, (y, x), 1)
            sigma = [4.0 * new / old for new, old in zip(size, original, strict=True)]
            blurred = ndimage.gaussian_filter(marks, sigma, mode="constant", truncate=8)
            want = -(blurred / blurred.sum() * log_density[i]).sum() / math.log(2)
            assert float(found[i].detach()) == pytest.approx(want, rel=1e-3)


def test_every_fixation_counts_alike_if_asked(dataset: Dataset) -> None:
    """The weighted mean over an epoch is the mean over all fixations of the split."""
    task = task_of(dataset, average="fixation")
    task.begin("train")
    values, counts = [], []
    for batch in batches(task):
        loss = task.loss(task.net, batch, 0)
        assert loss.per_sample is not None
        real = batch.weight > 0
        values += loss.per_sample[real].tolist()
        points: Any = batch.fields["fixations"]
        plain = loss.terms["nll"][real].double().numpy()
        counts += list(zip(plain, points.starts.diff()[real].tolist(), strict=True))
    want = np.average([nll for nll, _ in counts], weights=[n for _, n in counts])
    assert np.mean(values) == pytest.approx(want, rel=1e-6)


def test_training_images_get_the_bias_of_the_others(dataset: Dataset) -> None:
    net = Net()
    task = task_of(dataset, net)
    task.begin("train")
    ids = np.asarray(dataset.split("train")).tolist()
    relative = {i: scaled(dataset, i, (1, 1)) for i in ids}
    everybody = CentreBias(np.concatenate(list(relative.values()))).grid_log_density(16)
    np.testing.assert_allclose(net.centre_bias.numpy(), everybody, rtol=1e-5)
    for batch in batches(task):
        task.loss(net, batch, 0)
        given = net.seen[-1][1].numpy()
        for i, sample in enumerate(batch.id.tolist()):
            rest = np.concatenate([points for j, points in relative.items() if j != sample])
            want = CentreBias(rest).grid_log_density(16)
            np.testing.assert_allclose(given[i], want, rtol=1e-4, atol=1e-4)
            assert np.abs(given[i] - everybody).max() > 0.01


def test_an_image_without_fixations_is_refused(tmp_path: Path) -> None:
    """Before the first step by name: an empty target would teach that nobody looks anywhere."""

    class Blind(Stimuli):
        def one(self, i: int) -> dict[str, Any]:
            sample = super().one(i)
            return sample | {"fixations": sample["fixations"][: 0 if i == 7 else None]}

    task = task_of(built(Blind(), tmp_path / "blind"))
    with pytest.raises(DataError, match="1 of 16 images have no fixation, the first is '007'"):
        task.check("train")
    with pytest.raises(DataError, match="007: has no fixation inside the image"):
        for batch in batches(task):
            task.loss(task.net, batch, 0)


def test_images_are_normalised_once(dataset: Dataset) -> None:
    """What the network sees has the mean and deviation that it asks for, for both of its inputs."""
    net = Net()
    task = task_of(dataset, net, size="native", entropy_weight=1.0)
    for batch in batches(task):
        task.loss(net, batch, 0)
        image, uniform = (seen[0] for seen in net.seen[-2:])
        for i, sample in enumerate(batch.id.tolist()):
            stored = Stimuli().one(sample)["image"] / 255
            want = ((stored - MEAN) / STD).transpose(2, 0, 1)
            np.testing.assert_allclose(image[i].numpy(), want, atol=1e-5)
        grey = uniform.detach() * torch.tensor(STD).view(-1, 1, 1) + torch.tensor(MEAN).view(
            -1, 1, 1
        )
        assert uniform.shape == (16, *image.shape[1:])
        np.testing.assert_allclose(
            grey[:, :, 0, 0], np.linspace(0, 1, 16)[:, None].repeat(3, 1), atol=1e-6
        )
        assert (grey - grey[:, :, :1, :1]).abs().max() < 1e-6


class Two(nn.Module):
    """Looks at the left half of dark images and at the right half of bright ones."""

    def __init__(self) -> None:
        super().__init__()
        self.sharp = nn.Parameter(torch.tensor(30.0))

    def forward(self, image: Tensor, bias: Any = None, with_centre_bias: bool = True) -> Tensor:
        side = torch.linspace(-1, 1, image.shape[-1]).sign() * self.sharp
        bright = (image.mean((1, 2, 3)) > 0).float() * 2 - 1
        log = (bright[:, None, None] * side).expand(-1, *image.shape[-2:])
        return log.flatten(1).log_softmax(1).view(log.shape)


@torch.no_grad()
def test_entropy_is_of_the_mean_density_in_nats() -> None:
    """Three quarters of the images say left, a quarter says right, each of them surely.

    Their mean has the entropy of the halves' shares and of a place in a half; the mean of their
    logarithms would be sure of the left, with ln 2 of it in bits.
    """
    images = torch.cat([torch.full((12, 3, 10, 20), -1.0), torch.full((4, 3, 10, 20), 1.0)])
    shares = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert float(bias_entropy(Two(), images)) == pytest.approx(math.log(100) + shares, abs=1e-5)
    assert float(bias_entropy(Two(), images[:8])) == pytest.approx(math.log(100), abs=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_entropy_judges_in_evaluation_mode_and_gives_it_back(training: bool) -> None:
    net = Net().train(training)
    entropy = bias_entropy(net, torch.rand(16, 3, 8, 8))
    assert net.modes == [False] and net.training is training
    (gradient,) = torch.autograd.grad(entropy, [net.weight])
    assert abs(float(gradient)) > 1e-4

    class Broken(Net):
        def forward(self, *given: Any) -> Tensor:
            raise RuntimeError("broken")

    broken = Broken().train(training)
    with pytest.raises(RuntimeError, match="broken"):
        bias_entropy(broken, torch.rand(2, 3, 8, 8))
    assert broken.training is training


@pytest.mark.parametrize("every", [1, 3, 50])
def test_entropy_term_follows_optimiser_steps(dataset: Dataset, every: int) -> None:
    """Not the batches of an epoch: of 100 steps the same number, however short an epoch is."""
    task = task_of(dataset, entropy_weight=2.0, entropy_every=every)
    plain = task_of(dataset, task.net)
    batch = batches(task)[0]
    applied = []
    for step in range(100):
        loss, without = task.loss(task.net, batch, step), plain.loss(task.net, batch, step)
        assert loss.per_sample is not None and without.per_sample is not None
        applied.append(float(loss.terms["entropy_applied"]))
        less = (without.per_sample - loss.per_sample).detach()
        if step % every:
            assert not less.any()
        else:
            want = 2.0 * loss.terms["bias_entropy_nats"]
            torch.testing.assert_close(less, want.expand(len(batch)), atol=1e-4, rtol=1e-4)
        # A strategy that listens to losses hears of samples alone.
        torch.testing.assert_close(task.scores(loss, ("loss",))["loss"], loss.terms["nll"])
    assert sum(applied) == -(-100 // every)


def test_bound_says_whether_a_goal_can_be_reached(dataset: Dataset) -> None:
    """+5 % of entropy is out of reach where the bound is nearer than that."""
    task = task_of(dataset)
    figures = task.probe(task.net)
    bound = math.log(96 * 128)
    assert figures["bias_entropy_bound_nats"] == pytest.approx(bound)
    # The stand-in says nothing of a uniform image: the most that can be.
    assert figures["bias_entropy_nats"] == pytest.approx(bound, rel=1e-5)
    assert figures["bias_entropy_share"] == pytest.approx(1, rel=1e-5)
    assert figures["entropy_gain_possible"] == pytest.approx(0, abs=1e-5)
    narrow = Two()
    narrow.inputs = {"image": Input(mean=(2.0,) * 3)}  # type: ignore[assignment]
    half = task_of(dataset, narrow).probe(narrow)
    assert half["bias_entropy_nats"] == pytest.approx(bound - math.log(2), rel=1e-5)
    assert half["entropy_gain_possible"] == pytest.approx(
        bound / (bound - math.log(2)) - 1, rel=1e-4
    )


def test_every_validation_image_is_judged_once(dataset: Dataset) -> None:
    """Batches of two sizes hold fillers; means are over images, and over fixations beside."""
    task = task_of(dataset)
    judged = evaluate(task, task.net.eval(), "val", world=World())
    assert judged.ids.tolist() == [4, 9, 14, 19]
    counts = [20 + i for i in judged.ids.tolist()]
    assert judged.values["fixations"].tolist() == counts
    for name in ("ll", "ig", "nss", "auc", "sauc", "cc", "kldiv", "sim"):
        assert np.isfinite(judged.values[name]).all()
        assert judged.figures[name] == pytest.approx(judged.values[name].mean())
    over = np.average(judged.values["ig"], weights=counts)
    assert judged.figures["ig_per_fixation"] == pytest.approx(over)
    assert judged.figures["fixations"] == sum(counts)
    assert judged.figures["uniform_ll"] == pytest.approx(0, abs=1e-9)
    assert judged.figures["uniform_auc"] == 0.5
    assert judged.figures["centre_ig"] == pytest.approx(0, abs=1e-9)
    gained = judged.figures["ll"] - judged.figures["centre_ll"]
    assert judged.figures["ig"] == pytest.approx(gained)
    assert judged.figures["nll"] == pytest.approx(math.log2(96 * 128) - judged.figures["ll"])


def test_baseline_and_negatives_are_those_of_the_other_images(dataset: Dataset) -> None:
    """An image's own fixations are in neither: they would make a gain over them too small."""
    task = task_of(dataset)
    sample, size = 9, (96, 128)
    rest = [i for i in range(dataset.samples) if i != sample]
    baseline = CentreBias(np.concatenate([scaled(dataset, i, (1, 1)) for i in rest]), 0.0215)
    others = np.concatenate([scaled(dataset, i, size).astype(int) for i in rest])
    negatives = others[:, 1] * size[1] + others[:, 0]
    rng = np.random.default_rng(0)
    log_density = rng.normal(0, 1, size)
    log_density -= np.log(np.exp(log_density).sum())
    points, sigma = scaled(dataset, sample, size), (8.0, 8.0)
    found = task.judge.row(sample, log_density, points, sigma)
    want = score(log_density, points, baseline.log_density(*size), negatives, sigma)
    for name in ("ig", "sauc"):
        assert found[name] == pytest.approx(want[name], abs=1e-9), name


def test_training_images_are_judged_without_their_own_fixations(dataset: Dataset) -> None:
    """The network's own bias holds them: a network that says nothing else would seem to gain."""

    class Bias(Net):
        def forward(self, image: Tensor, bias: Any = None, with_centre_bias: bool = True) -> Tensor:
            grids = self.centre_bias[None] if bias is None else bias
            log = nn.functional.interpolate(grids[:, None], image.shape[-2:], mode="bilinear")
            return (
                log.expand(len(image), -1, -1, -1).flatten(1).log_softmax(1).view(image[:, 0].shape)
            )

    net = Bias(grid=128)
    task = task_of(dataset, net)
    task.begin("train")
    judged = evaluate(task, net.eval(), "train", world=World())
    assert judged.figures["ig"] < 0.02  # the baseline knows the validation images as well
    stranger = task_of(dataset, net)  # of another set it could not know which are its own
    assert evaluate(stranger, net.eval(), "train", world=World()).figures["ig"] > 0.1
    stranger.recall("train")
    again = evaluate(stranger, net.eval(), "train", world=World())
    assert again.figures["ig"] == pytest.approx(judged.figures["ig"], abs=1e-6)


@pytest.mark.parametrize(
    ("size", "shapes"),
    [
        ("96x128", {(96, 128), (128, 96)}),
        ("96x128!", {(96, 128)}),
        ("native", {(48, 64), (64, 48), (56, 56)}),
    ],
)
def test_sizes(dataset: Dataset, size: str, shapes: set[tuple[int, int]]) -> None:
    found = {tuple(batch["image"].shape[-2:]) for batch in batches(task_of(dataset, size=size))}
    assert found == shapes


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"size": "big"}, "not 'big'"),
        ({"size": "4x4"}, "16 pixels or more"),
        ({"entropy_every": 0}, "entropy_every"),
        ({"entropy_weight": -1.0}, "entropy_weight"),
    ],
)
def test_wrong_options_are_one_line(dataset: Dataset, options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        task_of(dataset, **options)


def test_a_set_without_sigma_asks_for_it(tmp_path: Path) -> None:
    from toys import ImagePoints

    class Points(ImagePoints):
        def fields(self) -> Any:
            fields = super().fields()
            return {"image": fields["image"], "fixations": fields["points"]}

        def one(self, i: int) -> dict[str, Any]:
            sample = super().one(i)
            return {"image": sample["image"], "fixations": sample["points"]}

    dataset = built(Points(), tmp_path / "points")
    with pytest.raises(ValueError, match="--task sigma_px="):
        task_of(dataset)
    assert task_of(dataset, sigma_px=5.0).sigma_px == 5.0


@pytest.mark.parametrize("size", [(60, 90), (90, 60)])
def test_prediction_has_the_size_of_its_file(tmp_path: Path, size: tuple[int, int]) -> None:
    """A log density that sums to 1, and a picture; nothing is written over."""
    height, width = size
    rng = np.random.default_rng(0)
    file = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    picture = rng.integers(0, 255, (height, width, 3), np.uint8)
    Image.fromarray(picture).save(file, exif=exif)
    task = task_of(None)
    with torch.no_grad():
        (path,) = task.predict(task.net, file, tmp_path).written
        with Image.open(path) as drawn:
            assert drawn.size == (height, width)
        log_density = np.load(path.with_suffix(".npy"))
        assert log_density.shape == (width, height)
        assert np.exp(log_density.astype(float)).sum() == pytest.approx(1, rel=1e-4)
        with pytest.raises(DataError, match="is there already"):
            task.predict(task.net, file, tmp_path)
        (tmp_path / "text.jpg").write_text("no picture")
        with pytest.raises(DataError, match=r"text\.jpg: cannot be read as an image"):
            task.predict(task.net, tmp_path / "text.jpg", tmp_path)


def test_soft_map_of_repeated_points() -> None:
    """Sums to 1, and a place seen twice counts twice."""
    points = torch.tensor([[10.7, 5.2], [10.1, 5.9], [30.0, 15.0]])
    found = soft_map(points, 20, 40, (2.0, 1.0))
    assert float(found.sum()) == pytest.approx(1)
    assert float(found[5, 10] / found[15, 30]) == pytest.approx(2, rel=1e-3)


def test_panels_show_the_fixations(dataset: Dataset) -> None:
    task = task_of(dataset)
    shown = {}
    for batch in batches(task, "val"):
        shown |= task.panels(task.net.eval().requires_grad_(False), batch)
    assert len(shown) == 4
    for picture in shown.values():
        assert picture.dtype == np.uint8 and picture.shape[0] == 254
        yellow = (picture[..., 0] > 240) & (picture[..., 2] < 40) & (picture[..., 1] > 200)
        assert yellow.sum() > 20


def test_commands_know_their_task_options() -> None:
    from tasks.__main__ import main

    shown = CliRunner().invoke(main, ["evaluate", "--help"])
    assert "--task KEY=VALUE" in shown.output
