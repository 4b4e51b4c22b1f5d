"""tasks.meshes: OFF files and damaged ones, averages on a grid, clouds of a ModelNet40 folder made by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from twelvefold.core import data
from twelvefold.tasks import meshes
from twelvefold.tasks.meshes import (
    cloud_of_vertices,
    modelnet_classes,
    modelnet_clouds,
    read_off,
    thinned,
    voxel_means,
)
from twelvefold.tasks.point_clouds import moments

PYRAMID = "0 0 0\n1 0 0\n0 2 0\n0.5 5e-1 -3\n"
FACES = "3 0 1 2\n3 0 1 3\n"
VERTICES = [[0, 0, 0], [1, 0, 0], [0, 2, 0], [0.5, 0.5, -3]]


def normal(m: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(m, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class TestOff:
    @pytest.mark.parametrize(
        "text",
        ["OFF\n4 2 0\n" + PYRAMID + FACES, "OFF4 2 0\n" + PYRAMID + FACES, "OFF 4 2 5\n" + PYRAMID + FACES,
         "# made by hand\n\nOFF # a mesh\n\n4 2\n" + PYRAMID.replace("\n", " # a vertex\n\n") + FACES + "\n# the end",
         "OFF\r\n4 2 0\r\n" + (PYRAMID + FACES).replace("\n", "\r\n"),
         "OFF\n4 0 0\n" + PYRAMID.replace("\n", " 255 0 0\n"),  # colours behind the coordinates
         "OFF\n4 1 0\n" + PYRAMID.replace(" ", "\t") + FACES],
        ids=["plain", "glued", "same line", "comments", "windows", "colours", "tabs"],
    )
    def test_good_files(self, tmp_path, text):
        path = tmp_path / "a.off"
        path.write_text(text, newline="")
        found = read_off(path)
        assert found.dtype == torch.float64 and found.tolist() == VERTICES

    @pytest.mark.parametrize(
        ("text", "said"),
        [("", "begins with 'nothing'; an OFF file begins with"), ("PLY\n4 2 0\n", "begins with 'PLY'"),
         ("OFF\n", "states the counts 'nothing'"), ("OFF\n4 2 0 1\n" + PYRAMID, "states the counts '4 2 0 1'"),
         ("OFF\nfour 2 0\n", "states the counts 'four 2 0'"), ("OFF\n-4 2 0\n", "states the counts '-4 2 0'"),
         ("OFF\n0 0 0\n", r"vertices \(at least 1\)"), ("OFF\n4\n" + PYRAMID, "states the counts '4'"),
         ("OFF\n4 2 0\n" + PYRAMID + "3 0 1 2\n", "5 lines after its header, which states 4 vertices and 2 faces"),
         ("OFF\n4 2 0\n" + PYRAMID.replace("1 0 0", "1 x 0") + FACES, "a vertex that is not three numbers .*'x'"),
         ("OFF\n4 2 0\n" + PYRAMID.replace("1 0 0", "1 0") + FACES, "a vertex that is not three numbers"),
         ("OFF\n4 2 0\n" + PYRAMID.replace("1 0 0", "1 nan 0") + FACES, r"vertex 1 is \[1.0, nan, 0.0\]"),
         ("OFF\n4 2 0\n" + PYRAMID.replace("1 0 0", "1 inf 0") + FACES, "finite numbers are needed")],
    )
    def test_damaged_files_are_named(self, tmp_path, text, said):
        path = tmp_path / "damaged.off"
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"damaged\.off.*{said}"):
            read_off(path)

    def test_a_file_of_bytes(self, tmp_path):
        path = tmp_path / "damaged.off"
        path.write_bytes(bytes(range(256)))
        with pytest.raises(ValueError, match="damaged.off begins with"):
            read_off(path)


class TestGrid:
    @given(m=st.integers(1, 60), leaf=st.floats(0.05, 3), seed=st.integers(0, 99))
    @settings(max_examples=60, deadline=None)
    def test_means_by_a_dictionary(self, m, leaf, seed):
        points = normal(m, seed).numpy()
        cells: dict[tuple[float, ...], list[np.ndarray]] = {}
        for point in points:
            cells.setdefault(tuple(np.floor((point - points.min(0)) / leaf)), []).append(point)
        expected = np.array([np.mean(cells[cell], axis=0) for cell in sorted(cells)])
        found = voxel_means(torch.from_numpy(points), leaf).numpy()
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=1e-12)

    def test_tiny_cells_of_a_wide_cloud_do_not_overflow(self):
        # 1e7 cells along each axis: 1e21 cells are more than an int64 can number
        points = torch.tensor([[0.0, 0, 0], [1e3, 1e3, 1e3], [1e3, 0, 1e3], [0, 0, 0]], dtype=torch.float64)
        assert voxel_means(points, 1e-4).tolist() == [[0, 0, 0], [1e3, 0, 1e3], [1e3, 1e3, 1e3]]

    def test_the_first_size_that_leaves_few_enough(self):
        points = normal(500)
        sizes = [len(voxel_means(points, leaf)) for leaf in meshes.LEAF_SIZES]
        assert sizes == sorted(sizes, reverse=True) and sizes[0] == 500 and sizes[-1] < 120
        for most in (499, 450, 300, sizes[-1]):
            first = next(leaf for leaf, size in zip(meshes.LEAF_SIZES, sizes, strict=True) if size <= most)
            assert torch.equal(thinned(points, most), voxel_means(points, first))
        assert thinned(points, 500) is points

    def test_too_few_are_asked_for(self):
        with pytest.raises(ValueError, match="most = 2; cells of edge 1 still leave"):
            thinned(normal(500), 2)

    def test_a_cloud_is_normalised_before_and_after(self):
        vertices = normal(2000) * torch.tensor([1e-3, 5.0, 100.0]) + 7
        cloud = cloud_of_vertices(vertices, 400)
        assert 100 < len(cloud) <= 400
        mean, spread = moments(cloud[None], torch.ones(1, len(cloud), dtype=torch.bool))
        assert mean.abs().max() < 1e-12 and (spread - 1).abs().max() < 1e-12
        # a cloud of other units is the same one
        torch.testing.assert_close(cloud_of_vertices(normal(2000), 400), cloud, rtol=1e-9, atol=1e-9)

    def test_a_flat_mesh_stays_flat(self):
        # 0.1 is not a binary number: means of it round, and rounding errors must not be scaled up
        cloud = cloud_of_vertices(torch.cat([normal(2000)[:, :2], torch.full((2000, 1), 0.1).double()], 1), 100)
        assert not cloud[:, 2].any() and abs(float(cloud[:, 0].std(correction=0)) - 1) < 1e-12

    def test_bad_input(self):
        for shape in ((0, 3), (3,)):
            with pytest.raises(ValueError, match=r"points has shape .*; \[m, d\]"):
                voxel_means(torch.zeros(shape), 0.1)
        for leaf in (0.0, -1.0, float("nan")):
            with pytest.raises(ValueError, match="leaf = .*; a positive edge length"):
                voxel_means(torch.zeros(2, 3), leaf)
        with pytest.raises(ValueError, match="most = 0"):
            thinned(normal(3), 0)
        with pytest.raises(ValueError, match="most = 1.5"):
            cloud_of_vertices(normal(3), 1.5)


class TestModelNet:
    """A folder of 40 classes with one training and one test mesh each; class 3 has two training meshes."""

    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("TWELVEFOLD_DATA", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        root = tmp_path / "ModelNet40"
        for number in range(40):
            for part in meshes.PARTS:
                place = root / f"class{number:02}" / part
                place.mkdir(parents=True)
                self.write(place / f"class{number:02}_0001.off", 5 + number)
        self.write(root / "class03" / "train" / "class03_0000.off", 900)
        (root / ".DS_Store").write_text("x")
        return root

    def write(self, path, m):
        lines = [" ".join(f"{x:.6f}" for x in point) for point in normal(m, m).tolist()]
        path.write_text(f"OFF{m} 1 0\n" + "\n".join(lines) + "\n3 0 1 2\n")

    def test_clouds_with_labels(self, folder):
        train, test = modelnet_clouds("train", most=300), modelnet_clouds("test", most=300)
        assert modelnet_classes() == tuple(f"class{number:02}" for number in range(40))
        assert test.labels.tolist() == list(range(40)) and test.mask.sum(1).tolist() == list(range(5, 45))
        assert train.labels.tolist() == [0, 1, 2, 3, *range(3, 40)]
        assert test.points.shape == (40, 44, 3) and test.points.dtype == torch.float32
        # the larger of the two meshes of class 3 comes first, by its name, and is thinned
        sizes = train.mask.sum(1).tolist()
        assert 44 < sizes[3] <= 300 and sizes[4] == 8
        mean, spread = moments(train.points.double(), train.mask)
        assert mean.abs().max() < 1e-6 and (spread - 1).abs().max() < 1e-6 and not train.points[~train.mask].any()
        assert modelnet_clouds().mask.sum(1).max() <= 800

    def test_a_damaged_mesh_is_named_with_the_cure(self, folder):
        (folder / "class07/test/class07_0001.off").write_text("OFF\n3 0 0\n1 2\n")
        with pytest.raises(data.DataDamaged, match="modelnet40: .*class07_0001.off has 1 lines.*Kaggle"):
            modelnet_clouds("test")
        assert len(modelnet_clouds("train")) == 41

    def test_a_model_that_cannot_be_thinned_is_named(self, folder):
        with pytest.raises(ValueError, match="class00_0001.off: most = 1; cells of edge 1 still leave"):
            modelnet_clouds(most=1)

    def test_classes_that_differ(self, folder):
        (folder / "class07/test/class07_0001.off").unlink()
        with pytest.raises(data.DataDamaged, match="the same 40 classes.*train 40, test 39, together 40"):
            modelnet_clouds()
        (folder / "class07/train/class07_0001.off").unlink()
        with pytest.raises(data.DataDamaged, match="train 39, test 39, together 39"):
            modelnet_classes()

    def test_absent(self, tmp_path, monkeypatch):
        monkeypatch.delenv("TWELVEFOLD_DATA", raising=False)
        with pytest.raises(data.DataMissing, match=r"(?s)2\.0 GB.*academic research.*modelnet.cs.princeton.*Kaggle"):
            modelnet_clouds()
        monkeypatch.setenv("TWELVEFOLD_DATA", str(tmp_path))
        (tmp_path / "ModelNet40").mkdir()
        with pytest.raises(data.DataDamaged, match=r"lacks \*/train/\*.off, \*/test/\*.off; it holds nothing"):
            modelnet_clouds()

    def test_bad_input(self):
        with pytest.raises(ValueError, match="part = 'validation'; accepted are train and test"):
            modelnet_clouds("validation")
        with pytest.raises(ValueError, match="most = 0"):
            modelnet_clouds(most=0)
