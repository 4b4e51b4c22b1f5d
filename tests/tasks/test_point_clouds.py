"""tasks.point_clouds: lit pixels as upright, normalised clouds; random subsets and splits; bad input."""

import gzip

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from twelvefold.core import data
from twelvefold.tasks.point_clouds import (
    Clouds,
    clouds_of,
    clouds_of_images,
    mnist_clouds,
    moments,
    normalised,
    resampled,
    split,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def letters() -> torch.Tensor:
    """An L and a dot in 3 rows of 4 columns."""
    images = torch.zeros(2, 3, 4, dtype=torch.uint8)
    images[0, :, 0] = 255
    images[0, 2, 1:3] = 1
    images[1, 1, 3] = 7
    return images


def scattered(sizes: list[int], d: int = 2, seed: int = 0) -> Clouds:
    """Clouds of these sizes with normal points; every cloud has the number 10 i as its label."""
    members = [torch.randn(size, d, generator=generator(seed + i)) for i, size in enumerate(sizes)]
    return clouds_of(members, [10 * i for i in range(len(sizes))])


def rows(cloud: Clouds, i: int) -> list[tuple[float, ...]]:
    return [tuple(point) for point in cloud.points[i][cloud.mask[i]].tolist()]


class TestImages:
    def test_pixels_become_points_with_y_up(self, letters):
        clouds = clouds_of_images(letters, torch.tensor([5, 6]), normalise=False)
        # the L stands: its corner at the origin, the stroke upwards, the foot to the right
        assert rows(clouds, 0) == [(0, 2), (0, 1), (0, 0), (1, 0), (2, 0)]
        assert rows(clouds, 1) == [(3, 1)]
        assert clouds.points.shape == (2, 5, 2) and clouds.points.dtype == torch.float32
        assert clouds.mask.tolist() == [[True] * 5, [True] + [False] * 4] and not clouds.points[1, 1:].any()
        assert clouds.labels.tolist() == [5, 6] and len(clouds) == 2

    def test_normalised_by_hand(self, letters):
        clouds = clouds_of_images(letters, torch.tensor([5, 6]))
        x, y = np.array([0, 0, 0, 1, 2.0]), np.array([2, 1, 0, 0, 0.0])  # both of mean 0.6 and variance 0.64
        expected = np.stack([(x - 0.6) / 0.8, (y - 0.6) / 0.8], axis=1)
        np.testing.assert_allclose(clouds.points[0], expected, atol=1e-6)
        assert not clouds.points[1].any()  # one point: only centred

    @pytest.mark.parametrize(
        ("images", "said"),
        [(torch.ones(2, 3, 4), r"images is torch.float32 \(2, 3, 4\)"),
         (torch.ones(3, 4, dtype=torch.uint8), r"uint8 \[n, H, W\] is needed"),
         (torch.ones(0, 3, 4, dtype=torch.uint8), "n >= 1")],
    )
    def test_other_shapes_and_types(self, images, said):
        with pytest.raises(ValueError, match=said):
            clouds_of_images(images, torch.zeros(2, dtype=torch.int64))

    def test_an_empty_image_is_named(self, letters):
        images = torch.cat([letters, torch.zeros_like(letters[:1]), letters])
        with pytest.raises(ValueError, match=r"images\[2\] has no pixel above 0"):
            clouds_of_images(images, torch.zeros(5, dtype=torch.int64))


class TestNormalisation:
    def test_padding_counts_for_nothing(self):
        clouds = scattered([7, 3])
        spoilt = torch.where(clouds.mask[..., None], clouds.points * 3 + 5, 99.0)
        mean, spread = moments(spoilt, clouds.mask)
        for i in range(2):
            own = spoilt[i][clouds.mask[i]].numpy()
            np.testing.assert_allclose(mean[i, 0], own.mean(0), rtol=1e-5)
            np.testing.assert_allclose(spread[i, 0], own.std(0), rtol=1e-5)
            np.testing.assert_allclose(
                normalised(spoilt, clouds.mask)[i][clouds.mask[i]], (own - own.mean(0)) / own.std(0), atol=1e-5)
        assert not normalised(spoilt, clouds.mask)[~clouds.mask].any()

    def test_a_flat_axis_is_only_centred(self):
        points = torch.tensor([[[1.0, 4.0], [3.0, 4.0]]])
        assert normalised(points, torch.ones(1, 2, dtype=torch.bool)).tolist() == [[[-1, 0], [1, 0]]]

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_rounding_of_a_flat_axis_is_not_scaled_up(self, dtype):
        points = torch.stack([torch.arange(77.0), torch.full((77,), 0.1)], 1).to(dtype)[None]
        mask = torch.arange(77)[None] >= 3  # the first point is not the first row
        assert not normalised(points, mask)[..., 1].any() and moments(points, mask)[0][0, 0, 1] == points[0, 0, 1]

    def test_the_spread_of_a_cloud_far_from_the_origin_keeps_its_digits(self):
        near = torch.randint(0, 16, (1, 50, 2), generator=generator()).float()
        mask = torch.ones(1, 50, dtype=torch.bool)
        assert torch.equal(moments(near + 2.0**18, mask)[1], moments(near, mask)[1])

    def test_a_cloud_without_points_is_zero(self):
        nothing = normalised(torch.ones(1, 2, 2), torch.zeros(1, 2, dtype=torch.bool))
        assert nothing.tolist() == [[[0, 0], [0, 0]]]

    def test_shapes_that_do_not_fit(self):
        for ask in (moments, normalised):
            with pytest.raises(ValueError, match=r"points is torch.int64 \(1, 2, 2\)"):
                ask(torch.ones(1, 2, 2, dtype=torch.int64), torch.ones(1, 2, dtype=torch.bool))
            with pytest.raises(ValueError, match=r"mask of points is torch.bool \(2, 1\); bool \[1, 2\] is needed"):
                ask(torch.ones(1, 2, 2), torch.ones(2, 1, dtype=torch.bool))


class TestClouds:
    def test_selection_by_numbers_and_truth_values(self):
        clouds = scattered([2, 5, 3])
        chosen = clouds.select(torch.tensor([2, 0, 2]))
        assert chosen.labels.tolist() == [20, 0, 20] and chosen.points.shape == (3, 5, 2)
        assert torch.equal(chosen.points[0], clouds.points[2]) and torch.equal(chosen.mask[1], clouds.mask[0])
        assert clouds.select(clouds.labels > 5).labels.tolist() == [10, 20]

    def test_moving(self):
        moved = scattered([2, 5]).to("meta")
        assert {t.device.type for t in (moved.points, moved.mask, moved.labels)} == {"meta"}

    def test_wrong_parts_are_refused(self):
        good = scattered([2, 5])
        with pytest.raises(ValueError, match="the mask of points is torch.float32"):
            Clouds(good.points, good.mask.float(), good.labels)
        with pytest.raises(ValueError, match=r"labels is torch.int64 \(1,\); int64 \[2\]"):
            Clouds(good.points, good.mask, good.labels[:1])
        with pytest.raises(ValueError, match="labels is torch.int32"):
            Clouds(good.points, good.mask, good.labels.int())
        with pytest.raises(ValueError, match=r"floating numbers \[n, M, d\]"):
            Clouds(good.points[0], good.mask, good.labels)

    def test_joining(self):
        first, second = torch.randn(2, 3, generator=generator()), torch.randn(4, 3, generator=generator(1)).double()
        joined = clouds_of([first, second], [1, 0])
        assert joined.mask.sum(1).tolist() == [2, 4] and joined.points.dtype == torch.float32
        assert torch.equal(joined.points[0, :2], first) and not joined.points[0, 2:].any()
        assert torch.equal(joined.points[1], second.float()) and joined.labels.tolist() == [1, 0]

    @pytest.mark.parametrize("shapes", [[], [(0, 2)], [(2, 2), (2, 3)], [(4,)]])
    def test_joining_what_does_not_fit(self, shapes):
        with pytest.raises(ValueError, match="members has the shapes"):
            clouds_of([torch.zeros(shape) for shape in shapes], [0] * len(shapes))
        with pytest.raises(ValueError, match="labels is"):
            clouds_of([torch.zeros(2, 2)], [0, 1])


class TestResampling:
    @given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5), points=st.integers(1, 12), seed=st.integers(0, 9))
    @settings(max_examples=60, deadline=None)
    def test_a_subset_without_replacement_or_everything(self, sizes, points, seed):
        clouds = scattered(sizes)
        chosen = resampled(clouds, points, generator(seed))
        assert chosen.points.shape == (len(sizes), points, 2) and torch.equal(chosen.labels, clouds.labels)
        for i, size in enumerate(sizes):
            taken = rows(chosen, i)
            assert len(taken) == len(set(taken)) == min(size, points) and set(taken) <= set(rows(clouds, i))
            assert chosen.mask[i].tolist() == [True] * len(taken) + [False] * (points - len(taken))
        assert not chosen.points[~chosen.mask].any()

    def test_every_cloud_has_its_own_draw_and_a_seed_repeats_it(self):
        twins = clouds_of([torch.arange(40.0)[:, None].expand(40, 2)] * 2, [0, 0])
        first, again = resampled(twins, 20, generator(3)), resampled(twins, 20, generator(3))
        assert torch.equal(first.points, again.points) and torch.equal(first.mask, again.mask)
        assert set(rows(first, 0)) != set(rows(first, 1))
        assert not torch.equal(first.points, resampled(twins, 20, generator(4)).points)

    def test_every_point_is_taken_equally_often(self):
        same = clouds_of([torch.arange(6.0)[:, None]] * 4000, [0] * 4000)
        taken = torch.bincount(resampled(same, 2, generator()).points.flatten().long(), minlength=6)
        # each is in a subset with probability 1/3: standard deviation sqrt(4000 * 2/9) = 30
        assert (taken - 4000 / 3).abs().max() < 4 * 30

    def test_a_mask_with_gaps(self):
        clouds = scattered([6])
        mask = torch.tensor([[False, True, False, True, True, False]])
        chosen = resampled(Clouds(clouds.points, mask, clouds.labels), 5, generator())
        assert set(rows(chosen, 0)) == {tuple(point) for point in clouds.points[0, [1, 3, 4]].tolist()}
        assert chosen.mask.tolist() == [[True] * 3 + [False] * 2] and not chosen.points[0, 3:].any()

    @pytest.mark.parametrize("points", [0, -1, 2.0, True])
    def test_bad_numbers(self, points):
        with pytest.raises(ValueError, match="points = .*; a whole number from 1"):
            resampled(scattered([3]), points, generator())


class TestSplit:
    def test_disjoint_of_the_right_sizes_and_repeatable(self):
        parts = split(10, {"train": 6, "test": 3}, generator(1))
        assert list(parts) == ["train", "test"] and [len(part) for part in parts.values()] == [6, 3]
        together = torch.cat(list(parts.values()))
        assert together.dtype == torch.int64 and len(set(together.tolist())) == 9 and 0 <= together.min()
        assert together.max() < 10
        again, other = (split(10, {"train": 6, "test": 3}, generator(seed)) for seed in (1, 2))
        assert torch.equal(again["train"], parts["train"]) and not torch.equal(other["train"], parts["train"])
        assert sorted(split(3, {"all": 3}, generator())["all"].tolist()) == [0, 1, 2]

    def test_sizes_that_do_not_fit(self):
        with pytest.raises(ValueError, match="need 11; from 1 to n = 10 are accepted"):
            split(10, {"train": 6, "test": 5}, generator())
        with pytest.raises(ValueError, match="need 0"):
            split(10, {}, generator())
        with pytest.raises(ValueError, match=r"sizes\['test'\] = 0"):
            split(10, {"train": 6, "test": 0}, generator())
        with pytest.raises(ValueError, match="n = 0"):
            split(0, {"train": 1}, generator())


class TestMnist:
    def test_the_5000_digits(self):
        clouds = mnist_clouds("mnist5k")
        assert mnist_clouds("mnist5k") is clouds
        sizes = clouds.mask.sum(1)
        assert clouds.points.shape == (5000, 303, 2) and (sizes.min(), sizes.max()) == (46, 303)
        assert round(float(sizes.double().mean()), 1) == 151.0
        assert torch.equal(clouds.labels, torch.from_numpy(data.load("mnist5k")["labels"]))
        mean, spread = moments(clouds.points.double(), clouds.mask)
        assert mean.abs().max() < 1e-6 and (spread - 1).abs().max() < 1e-6
        assert not clouds.points[~clouds.mask].any()

    def test_a_seven_has_its_bar_on_top(self):
        clouds = mnist_clouds("mnist5k")
        sevens = clouds.select(clouds.labels == 7)
        high, low = (sevens.mask & (sign * sevens.points[..., 1] > 1) for sign in (1, -1))
        # the bar is wide and the foot is narrow
        widths = [moments(sevens.points, part)[1][:, 0, 0].mean() for part in (high, low)]
        assert widths[0] > 1.5 * widths[1]

    def test_the_parts_of_the_whole(self, monkeypatch):
        made = {"images": np.ones((3, 2, 2), np.uint8), "labels": np.arange(3),
                "test_images": np.eye(2, dtype=np.uint8)[None], "test_labels": np.array([7])}
        monkeypatch.setattr(data, "load", lambda name: made)
        mnist_clouds.cache_clear()
        train, test = mnist_clouds("mnist60k"), mnist_clouds("mnist60k", "test")
        mnist_clouds.cache_clear()
        assert len(train) == 3 and train.mask.all() and train.points.shape[1] == 4
        assert test.labels.tolist() == [7] and test.points.shape == (1, 2, 2)

    @pytest.mark.parametrize(("name", "part"), [("mnist", "train"), ("mnist5k", "test"), ("mnist60k", "all")])
    def test_unknown_names_and_parts(self, name, part):
        with pytest.raises(ValueError, match=f"name = '{name}', part = '{part}'; accepted are mnist5k with train"):
            mnist_clouds(name, part)

    def test_the_whole_comes_from_the_users_folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("TWELVEFOLD_DATA", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"something else"))
        mnist_clouds.cache_clear()
        with pytest.raises(data.DataDamaged, match="mnist60k: .*train-images.*not the recorded file"):
            mnist_clouds("mnist60k")
