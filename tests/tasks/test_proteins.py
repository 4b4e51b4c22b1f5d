"""Protein sequences: what is read from FASTA, what is refused and where, splits without leaks, reference coders."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy
from twelvefold.core import data
from twelvefold.core.data import DataDamaged, DataMissing
from twelvefold.tasks.proteins import (
    AMINO_ACIDS,
    COMPRESSORS,
    compressed_bits,
    fasta_records,
    load_proteins,
    read_fasta,
    split,
    unigram_bits,
    unigram_entropy,
)

FASTA = """; an old-style comment
>first protein of two
MKVL
aawy*

>second
ACDXEF
>first
MMNN
>third with a stop inside
MM*NN
>fourth, nothing
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "some.fasta"
    path.write_text(FASTA)
    return path


class TestReading:
    def test_records_are_joined_cleaned_and_dropped(self, file: Path) -> None:
        found = read_fasta([file])
        assert found.sequences == ("MKVLAAWY", "MMNN")
        assert found.names == ("first", "first")  # names may repeat
        assert found.dropped == 3 and found.residues == 12

    def test_records_as_they_are(self, file: Path) -> None:
        assert list(fasta_records(file)) == [
            ("first", "MKVLAAWY"), ("second", "ACDXEF"), ("first", "MMNN"), ("third", "MM*NN"), ("fourth,", "")]

    def test_packed_files_windows_lines_and_several_files(self, file: Path, tmp_path: Path) -> None:
        packed = tmp_path / "other.fasta.gz"
        packed.write_bytes(gzip.compress(b">p\xe9\r\nWWWW\r\nYY*\r\n"))
        found = read_fasta([packed, str(file)])
        assert found.sequences == ("WWWWYY", "MKVLAAWY", "MMNN") and found.names[0] == "p\xe9"

    def test_a_limit_stops_reading(self, file: Path) -> None:
        with open(file, "a") as stream:
            stream.write(">broken\n1234\n")
        assert read_fasta([file], limit=1).sequences == ("MKVLAAWY",)
        assert read_fasta([file], limit=2).dropped == 1
        with pytest.raises(ValueError, match="limit = 0"):
            read_fasta([file], limit=0)

    @pytest.mark.parametrize(
        ("content", "words"),
        [(b"", "some.fasta is empty"), (b"\n; only this\n\n", "is empty"),
         (b"MKV\n>a\nMM\n", "line 1: 'MKV' stands before"), (b">a\nMKV\n\nM1V\n", "line 4: '1' is no letter"),
         (b">a\nMK-V\n", "line 2: '-' is no letter"), (b">a\nMK\xe9V\n", "line 2: .* is no letter"),
         (b">a\nMXV\n>b\n\n", "no sequence of standard amino acids among 2 records"), (b">only a name\n", "among 1"),
         (b">a\nACGT\n>b\nNNACGT\n", "these are nucleotides")],
    )
    def test_what_is_no_protein_file(self, file: Path, content: bytes, words: str) -> None:
        file.write_bytes(content)
        with pytest.raises(ValueError, match=words):
            read_fasta([file])

    def test_damaged_packed_files(self, tmp_path: Path) -> None:
        whole = gzip.compress(b">a\n" + b"MKVL\n" * 1000)
        path = tmp_path / "a.fasta.gz"
        for content in (b">a\nMKVL\n", whole[:-12], whole[:15] + b"\xff" * 20):
            path.write_bytes(content)
            with pytest.raises(ValueError, match=r"a\.fasta\.gz is not packed with gzip, or was cut off"):
                read_fasta([path])

    def test_no_files(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="paths: no sequence"):
            read_fasta([])
        with pytest.raises(FileNotFoundError):
            read_fasta([tmp_path / "none.fasta"])

    @given(st.lists(st.text(AMINO_ACIDS, min_size=1), min_size=1, max_size=5), st.integers(1, 9))
    def test_what_is_written_is_read(self, tmp_path_factory: pytest.TempPathFactory, sequences: list[str], width: int
                                     ) -> None:
        sequences = [*sequences, "W"]  # not all nucleotides
        path = tmp_path_factory.getbasetemp() / "round.fasta"
        with open(path, "w") as stream:
            for i, whole in enumerate(sequences):
                lines = [whole[at : at + width] for at in range(0, len(whole), width)]
                stream.write("\n".join([f">{i}", *lines, ""]))
        assert list(read_fasta([path]).sequences) == sequences


class TestDatasets:
    def test_the_bundled_proteome(self) -> None:
        found = load_proteins()
        assert len(found.sequences) == 2086 and found.dropped == 14 and found.residues == 674_730
        assert set("".join(found.sequences)) == set(AMINO_ACIDS)
        text = data.path("pyhmmer_proteome").read_text()
        assert found.sequences[0] == "".join(text.split(">")[1].split("\n")[1:]).rstrip("*")
        # measured once; a model must do better than the first two to know anything of proteins
        training, held_out = split(found.sequences, 200)
        assert unigram_entropy(found.sequences) == pytest.approx(4.0963, abs=1e-4)
        assert unigram_bits(training, held_out) == pytest.approx(4.1030, abs=1e-4)
        assert compressed_bits(found.sequences, "bz2") == pytest.approx(4.289, abs=1e-2)

    def test_a_folder_of_the_user(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
        monkeypatch.setenv("TWELVEFOLD_DATA", str(tmp_path))
        with pytest.raises(DataMissing, match="uniref50"):
            load_proteins("uniref50")
        (tmp_path / "uniref50").mkdir()
        file.rename(tmp_path / "uniref50/b.fasta")
        (tmp_path / "uniref50/a.fasta.gz").write_bytes(gzip.compress(b">x\nWWW\n"))
        assert load_proteins("uniref50").sequences == ("WWW", "MKVLAAWY", "MMNN")
        assert load_proteins("uniref50", limit=1).sequences == ("WWW",)
        (tmp_path / "uniref50/a.fasta.gz").write_bytes(b"junk")
        with pytest.raises(DataDamaged, match="uniref50: .*a.fasta.gz is not packed.*Replace the file.*curl"):
            load_proteins("uniref50")

    def test_other_datasets(self) -> None:
        with pytest.raises(ValueError, match="name = 'mnist5k'; a dataset of FASTA files"):
            load_proteins("mnist5k")
        with pytest.raises(KeyError, match="no dataset 'proteome'"):
            load_proteins("proteome")


class TestSplitting:
    SEQUENCES = tuple("".join(np.random.default_rng(i).choice(list(AMINO_ACIDS), 9)) for i in range(60))

    @given(st.integers(1, 59), st.integers(0, 99), st.randoms(use_true_random=False))
    def test_sides_are_disjoint_complete_and_independent_of_the_order(self, held_out: int, seed: int, order) -> None:
        mixed = list(self.SEQUENCES) * 2  # every sequence twice
        order.shuffle(mixed)
        training, held = split(mixed, held_out, seed)
        assert len(held) == held_out and not set(training) & set(held)
        assert sorted(training + held) == sorted(self.SEQUENCES)
        assert set(held) == set(split(self.SEQUENCES, held_out, seed)[1])
        assert [s for s in dict.fromkeys(mixed) if s in set(held)] == list(held)

    def test_seeds_choose_different_ones_and_more_held_out_keeps_the_earlier(self) -> None:
        first, second = (set(split(self.SEQUENCES, 20, seed)[1]) for seed in (0, 1))
        assert first != second and 0 < len(first & second) < 20
        assert first < set(split(self.SEQUENCES, 30, 0)[1])

    def test_the_choice_is_the_same_on_every_machine(self) -> None:
        assert split(["MKV", "AAC", "WWY", "GHI"], 2, 5) == (("MKV", "GHI"), ("AAC", "WWY"))

    @pytest.mark.parametrize("held_out", [0, -1, 60, 61])
    def test_empty_sides_are_refused(self, held_out: int) -> None:
        with pytest.raises(ValueError, match=f"held_out = {held_out}; needed is 1 to 59"):
            split(self.SEQUENCES, held_out)


class TestReferenceBits:
    @given(st.lists(st.text(AMINO_ACIDS, min_size=1), min_size=1, max_size=5))
    def test_entropy_is_what_scipy_computes(self, sequences: list[str]) -> None:
        counts = np.unique(list("".join(sequences)), return_counts=True)[1]
        assert unigram_entropy(sequences) == pytest.approx(entropy(counts, base=2), abs=1e-9)
        assert unigram_entropy(sequences) <= math.log2(20) + 1e-9

    def test_cross_entropy_by_hand(self) -> None:
        # counts A 2, C 1; p(A) = 3/23, p(D) = 1/23
        assert unigram_bits(["AC", "A"], ["AD"]) == pytest.approx(-(math.log2(3 / 23) + math.log2(1 / 23)) / 2)

    def test_uniform_residues_cost_as_much_as_they_hold(self) -> None:
        drawn = "".join(np.random.default_rng(0).choice(list(AMINO_ACIDS), 20_000))
        assert unigram_bits([drawn[:10_000]], [drawn[10_000:]]) == pytest.approx(math.log2(20), abs=0.01)
        for method in COMPRESSORS:
            assert math.log2(20) <= compressed_bits([drawn], method) < 1.15 * math.log2(20)

    @pytest.mark.parametrize("method", COMPRESSORS)
    def test_a_repetition_costs_little_and_ends_have_their_cost(self, method: str) -> None:
        assert compressed_bits(["MKVL" * 2000], method) < 0.5
        ends = ["".join(part) for part in np.random.default_rng(1).choice(list(AMINO_ACIDS), (500, 7))]
        assert compressed_bits(ends, method) > compressed_bits(["".join(ends)], method)

    def test_gzip_by_hand(self) -> None:
        text = gzip.compress(b"MKVL\nAAWY", compresslevel=9, mtime=0)
        assert compressed_bits(["MKVL", "AAWY"]) == 8 * len(text) / 8

    def test_bad_input(self) -> None:
        with pytest.raises(ValueError, match="method = 'zip'; one of gzip, bz2, lzma"):
            compressed_bits(["A"], "zip")
        for call in (unigram_entropy, compressed_bits):
            with pytest.raises(ValueError, match="sequences holds no residue"):
                call([""])
            with pytest.raises(ValueError, match="one string; a list"):
                call("MKV")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="training holds no residue"):
            unigram_bits([], ["A"])
        with pytest.raises(ValueError, match="held_out holds 'X'"):
            unigram_bits(["A"], ["AX"])
