"""The MNIST stand-in: rotations, corruptions, splits."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from twelvefold.papers.weight_ensembles.images import SPLIT, corrupt, mnist_task, resize, rotate


def test_a_quarter_turn_is_exact():
    images = torch.rand(3, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(rotate(images, 90), torch.rot90(images, 1, (1, 2)), atol=1e-5, rtol=0)
    assert rotate(images, 0) is images


def test_other_angles_agree_with_scipy():
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).random((28, 28)), 2).astype(np.float32)
    theirs = ndimage.rotate(smooth, 30, reshape=False, order=1)
    inside = np.s_[6:22, 6:22]  # both fill the corners with zeros
    np.testing.assert_allclose(rotate(torch.from_numpy(smooth)[None], 30)[0].numpy()[inside], theirs[inside], atol=2e-3)


def test_blur_equals_scipys_gaussian():
    image = torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(1))
    theirs = ndimage.gaussian_filter(image[0].numpy(), 2, mode="constant", truncate=20)
    np.testing.assert_allclose(corrupt(image, "blur", torch.Generator())[0].numpy(), theirs, atol=1e-3)


def test_noise_is_drawn_from_the_generator_and_stays_in_range():
    image = torch.rand(2, 28, 28)
    one, other = (corrupt(image, "noise", torch.Generator().manual_seed(seed)) for seed in (0, 0))
    assert torch.equal(one, other) and one.min() >= 0 and one.max() <= 1 and not torch.equal(one, image)
    torch.testing.assert_close(corrupt(image, "contrast", torch.Generator()), 0.15 + 0.7 * image)


def test_pooling_keeps_the_mean():
    images = torch.rand(2, 28, 28)
    for size in (28, 14, 7):
        assert resize(images, size).shape == (2, 1, size, size)
        torch.testing.assert_close(resize(images, size).mean(), images.mean())


def test_splits_are_disjoint_balanced_and_different_for_each_replicate():
    task, other = mnist_task(10_000, 0, 28), mnist_task(10_000, 1, 28)
    sizes = (len(task.pretraining), len(task.training), len(task.validation), len(task.tests["id"]))
    assert sizes == (*SPLIT.values(), 5000 - sum(SPLIT.values()))
    assert torch.equal(task.validation.domains.bincount(), torch.full((4,), 250))
    assert all(torch.equal(part.labels, task.tests["id"].labels) for part in task.tests.values())
    assert not torch.equal(task.validation.labels, other.validation.labels)
    # the first domain is upright, so its images can be compared: no test image was seen before
    upright = torch.cat(
        [
            part.inputs[part.domains == 0]
            for part in (task.pretraining, task.training, task.validation, task.tests["id"])
        ]
    )
    assert len(upright.flatten(1).unique(dim=0)) == len(upright)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: rotate(torch.zeros(28, 28), 10), "images"),
        (lambda: corrupt(torch.zeros(1, 28, 28), "fog", torch.Generator()), "known are"),
        (lambda: resize(torch.zeros(1, 28, 28), 10), "accepted are 28, 14 and 7"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
