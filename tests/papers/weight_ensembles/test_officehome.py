"""The paper preset's data and network, on a generated folder and with a tiny network in ResNet-50's place."""

import dataclasses
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from twelvefold.core.data import DataMissing
from twelvefold.papers.weight_ensembles import experiments, models, officehome, training
from twelvefold.papers.weight_ensembles.populations import population

DOMAINS, CLASSES = ("Art", "Clipart", "Product", "Real World"), ("Bed", "Fork")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Four domains of two classes: reddish against bluish noise."""
    generator = np.random.default_rng(0)
    for domain in DOMAINS:
        for label, name in enumerate(CLASSES):
            place = tmp_path / "data" / "officehome" / domain / name
            place.mkdir(parents=True)
            for index in range(10):
                pixels = generator.integers(0, 120, (20, 24, 3))
                pixels[:, :, 2 * label] += 100
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{index:02}.jpg")
    root = tmp_path / "data" / "officehome"
    supplied = {"root": root, "domains": {name: root / name for name in DOMAINS}, "classes": CLASSES}
    known = {"officehome": supplied, "resnet50_imagenet": TinyResNet().state_dict()}
    monkeypatch.setattr(officehome.datasets, "load", known.__getitem__)
    monkeypatch.setenv("TWELVEFOLD_CACHE", str(tmp_path / "cache"))
    officehome.load_images.cache_clear()
    yield tmp_path / "data" / "officehome"
    officehome.load_images.cache_clear()


class TinyResNet(nn.Module):
    """Batch norm and a head called `fc`, like torchvision's."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.Linear(6, 1000)

    def forward(self, inputs):
        return self.fc(torch.relu(self.norm(self.conv(inputs))).mean((2, 3)))


def resnet50(weights=None):
    assert weights is None  # they come through the registry, never from the network
    return TinyResNet()


@pytest.fixture
def torchvision(monkeypatch):
    # the tiny network needs larger steps than a ResNet-50 to learn anything in a test
    faster = dataclasses.replace(training.REGIMES["diwa"], learning_rates=(1e-2, 3e-2), monitor=40)
    monkeypatch.setitem(training.REGIMES, "diwa", faster)
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(models=SimpleNamespace(resnet50=resnet50)))


def test_one_domain_is_left_out_and_the_rest_is_split(folder):
    for replicate in range(4):
        task = officehome.officehome_task(10_000, replicate, 16)
        assert set(task.tests["ood"].domains.tolist()) == {replicate}
        seen = (task.training, task.validation, task.tests["id"])
        assert [len(part) for part in seen] == [36, 12, 12] and len(task.tests["ood"]) == 20
        assert all(replicate not in part.domains for part in seen)
        images = torch.cat([part.inputs.flatten(1) for part in (*seen, task.tests["ood"])])
        assert images.dtype == torch.uint8 and len(images.unique(dim=0)) == 80
    assert task.pretraining is None and task.classes == 2


POINT = {
    "seed": 10_000, "replicate": 1, "data": "officehome", "architecture": "resnet50", "size": 16, "members": 4,
    "steps": 120, "batch": 6, "regime": "diwa", "initialisation": "shared",
}  # fmt: skip


def test_paper_preset_runs_end_to_end(folder, torchvision):
    result = experiments.selection_runs(POINT)["columns"]
    assert set(result) == {"method", "members", "evaluations", "validation", "id", "ood", "test_images"}
    assert "greedy" in result["method"] and "prediction ensemble" in result["method"]
    assert experiments.dynamics_runs(POINT, 3)["columns"]["ood"]
    assert experiments.pair_runs(POINT, 4, 2, 2)["columns"]["kind"].count("pair") == 2
    assert experiments.mds_runs(POINT, 2, 3)["summary"]["points"] >= 5


def test_frozen_batch_norm_is_shared_and_the_head_is_trained(folder, torchvision):
    trained = population(**POINT)
    assert trained["weights"].shape[0] == 4
    changed = (trained["weights"] - trained["initial"]).abs() > 0
    assert changed.float().mean() > 0.5
    model = models.build("resnet50", (3, 16, 16), 2, torch.Generator())
    assert not model.training and model.mask_shape == (6,)


def test_a_missing_torchvision_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError, match="pip install torchvision"):
        models.build("resnet50", (3, 16, 16), 2, torch.Generator())


def test_augmentation_is_a_function_of_its_draws():
    images = torch.randint(0, 256, (5, 3, 12, 12), dtype=torch.uint8)
    draws = torch.rand(5, officehome.DRAWS)
    shown = officehome.augment(images, draws)
    assert torch.equal(shown, officehome.augment(images, draws)) and shown.min() >= 0 and shown.max() <= 1
    # the whole area, no flip, all strengths one: nothing changes
    still = torch.tensor([[1.0, 0.5, 0.5, 0.9, 0.5, 0.5, 0.5, 0.9]]).expand(5, -1)
    torch.testing.assert_close(officehome.augment(images, still), images / 255.0, atol=1e-5, rtol=0)
    mirrored = still.clone()
    mirrored[:, 3] = 0.1
    torch.testing.assert_close(officehome.augment(images, mirrored), images.flip(-1) / 255.0, atol=1e-5, rtol=0)
    grey = still.clone()
    grey[:, 7] = 0.05
    shown = officehome.augment(images, grey)
    torch.testing.assert_close(shown[:, 0], shown[:, 2])


def test_bad_folders_and_draws_are_named(folder):
    with pytest.raises(ValueError, match="draws"):
        officehome.augment(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3))
    domains = {name: folder / name for name in DOMAINS}
    with pytest.raises(ValueError, match="no image of class 'Lamp'"):
        officehome.scan(domains, (*CLASSES, "Lamp"))
    with pytest.raises(ValueError, match="at least two"):
        officehome.scan({"Art": folder / "Art"}, CLASSES)


def test_a_missing_folder_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("TWELVEFOLD_DATA", str(tmp_path))
    officehome.load_images.cache_clear()
    with pytest.raises(DataMissing, match="OfficeHome"):
        officehome.officehome_task(10_000, 0, 16)
