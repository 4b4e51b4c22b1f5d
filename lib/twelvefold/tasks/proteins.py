"""Protein sequences from FASTA files: reading, splitting without leaks, and what simple coders need for a residue.

A residue is one of the 20 standard amino acids, written as one letter, so residues and bytes are the same number.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from twelvefold.core import data

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
_AMBIGUOUS = "BJOUXZ"  # one of several, rare (O, U) or unknown (X): FASTA allows them, the alphabet here does not
_LETTERS = frozenset(AMINO_ACIDS + _AMBIGUOUS + "*")
_NUCLEOTIDES = frozenset("ACGTUN")

COMPRESSORS: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": lambda text: gzip.compress(text, compresslevel=9, mtime=0),
    "bz2": lambda text: bz2.compress(text, 9),
    "lzma": lambda text: lzma.compress(text, preset=9 | lzma.PRESET_EXTREME),
}


@dataclass(frozen=True)
class Proteins:
    """Sequences of standard amino acids, in the order of their files.

    Attributes:
        sequences: one string of letters of `AMINO_ACIDS` each, none empty.
        names: what stood after ">" up to the first space; names may repeat.
        dropped: how many records were left out because they hold another letter, a stop inside, or nothing.
    """

    sequences: tuple[str, ...]
    names: tuple[str, ...]
    dropped: int

    @property
    def residues(self) -> int:
        """Number of residues, which is the number of bytes."""
        return sum(map(len, self.sequences))


def load_proteins(name: str = "pyhmmer_proteome", limit: int | None = None) -> Proteins:
    """Read the FASTA files of a dataset of the registry, e.g. "pyhmmer_proteome" or "uniref50".

    Args:
        name: of the dataset. limit: read at most so many usable records.

    Raises:
        KeyError: unknown name. DataMissing: not on this machine. DataDamaged: a file is not FASTA of proteins.
    """
    found = data.load(name).get("files", ())
    files = [file for group in found.values() for file in group] if isinstance(found, Mapping) else list(found)
    if not files:
        raise ValueError(f"name = {name!r}; a dataset of FASTA files is needed, e.g. pyhmmer_proteome or uniref50")
    try:
        return read_fasta(files, limit)
    except ValueError as error:
        raise data.damaged(name, str(error)) from error


def read_fasta(paths: Iterable[Path | str], limit: int | None = None) -> Proteins:
    """Read protein sequences from FASTA files, plain or packed with gzip.

    Lower case counts as upper case, a stop (*) at the end is cut off, and records with a letter outside
    `AMINO_ACIDS` are dropped.

    Args:
        paths: the files, read in this order. limit: stop after so many usable records.

    Raises:
        ValueError: a file is empty or no FASTA, a line holds a character that no protein has, no record is usable, all
            are nucleotides, or the limit is not positive. OSError: a file cannot be read.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit = {limit}; a positive number or None is needed")
    kept: list[tuple[str, str]] = []
    dropped, standard, files = 0, frozenset(AMINO_ACIDS), [Path(path) for path in paths]
    for name, sequence in (record for file in files for record in fasta_records(file)):
        if sequence and standard.issuperset(sequence):
            kept.append((name, sequence))
        else:
            dropped += 1
        if len(kept) == limit:
            break
    where = ", ".join(str(file) for file in files[:3]) or "paths"
    if not kept:
        raise ValueError(f"{where}: no sequence of standard amino acids among {dropped} records")
    if all(_NUCLEOTIDES.issuperset(sequence) for _, sequence in kept):
        raise ValueError(f"{where}: all sequences consist of {''.join(sorted(_NUCLEOTIDES))}; these are nucleotides, "
                         "amino acids are needed")  # fmt: skip
    return Proteins(tuple(sequence for _, sequence in kept), tuple(name for name, _ in kept), dropped)


def fasta_records(path: Path) -> Iterator[tuple[str, str]]:
    """Yield name and sequence of each record, in upper case and without a stop at the end; reads as it goes.

    Raises:
        ValueError: as `read_fasta`; the message names file and line.
    """
    name: str | None = None
    parts: list[str] = []
    for number, line in _lines(path):
        if line.startswith(">"):
            if name is not None:
                yield name, "".join(parts).removesuffix("*")
            name, parts = (line[1:].split() or [""])[0], []
            continue
        if name is None:
            raise ValueError(f"{path}, line {number}: {line[:40]!r} stands before the first line that begins with >")
        letters = "".join(line.split()).upper()
        odd = next((letter for letter in letters if letter not in _LETTERS), None)
        if odd is not None:
            raise ValueError(f"{path}, line {number}: {odd!r} is no letter of a protein sequence (accepted are "
                             f"{AMINO_ACIDS}, and {_AMBIGUOUS}* in records that are dropped)")  # fmt: skip
        parts.append(letters)
    if name is None:
        raise ValueError(f"{path} is empty; FASTA records begin with a line >name")
    yield name, "".join(parts).removesuffix("*")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of the lines that are neither blank nor an old-style comment (;)."""
    try:
        # latin-1 reads any byte: names may hold what they like, and an odd letter is reported with its line
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="latin-1") as file:
            for number, raw in enumerate(file, 1):
                line = raw.strip()
                if line and not line.startswith(";"):
                    yield number, line
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not packed with gzip, or was cut off: {error}") from error


def split(sequences: Sequence[str], held_out: int, seed: int = 0) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split the distinct sequences into training and held-out ones by their contents.

    A sequence's rank is the sha256 of the seed and its letters: the first `held_out` are held out. Copies count once,
    so no sequence is on both sides, and the order of the input does not matter for the choice. Similar sequences
    (relatives within one genome) can be on different sides.

    Args:
        sequences: n strings. held_out: how many to hold out, 1 to (number of distinct ones) - 1. seed: any integer.

    Returns:
        Training and held-out sequences, each in the order of first appearance.

    Raises:
        ValueError: `held_out` leaves one side empty.
    """
    distinct = list(dict.fromkeys(sequences))
    if not 1 <= held_out < len(distinct):
        raise ValueError(f"held_out = {held_out}; needed is 1 to {len(distinct) - 1}, as there are {len(distinct)} "
                         "distinct sequences")  # fmt: skip
    ranked = sorted(distinct, key=lambda sequence: hashlib.sha256(f"{seed} {sequence}".encode()).digest())
    chosen = set(ranked[:held_out])
    return tuple(s for s in distinct if s not in chosen), tuple(s for s in distinct if s in chosen)


def unigram_entropy(sequences: Sequence[str]) -> float:
    """Return the entropy of the residue frequencies, -sum_a f_a log2 f_a, in bits per residue.

    Raises:
        ValueError: no residues.
    """
    counts = _counts("sequences", sequences)
    total = counts.total()
    return -sum(n / total * math.log2(n / total) for n in counts.values())


def unigram_bits(training: Sequence[str], held_out: Sequence[str]) -> float:
    """Return what held-out residues cost under the training frequencies, in bits per residue.

    -(1/N) sum_i log2 p(x_i) with p(a) = (n_a + 1) / (n + 20): one is added to the count of each amino acid.

    Raises:
        ValueError: no residues on one side, or letters outside `AMINO_ACIDS`.
    """
    known, asked = _counts("training", training), _counts("held_out", held_out)
    for name, counts in (("training", known), ("held_out", asked)):
        other = sorted(set(counts) - set(AMINO_ACIDS))
        if other:
            raise ValueError(f"{name} holds {other[0]!r}; letters of {AMINO_ACIDS} are accepted")
    total = known.total() + len(AMINO_ACIDS)
    cost = sum(n * -math.log2((known[letter] + 1) / total) for letter, n in asked.items())
    return cost / asked.total()


def compressed_bits(sequences: Sequence[str], method: str = "gzip") -> float:
    """Return the length of the compressed sequences in bits per residue: a coder that knows nothing of proteins.

    The sequences are joined by newlines, which are compressed too but not counted: where a sequence ends has its cost.

    Args:
        method: "gzip", "bz2" or "lzma", each at its strongest setting.

    Raises:
        ValueError: unknown method, or no residues.
    """
    if method not in COMPRESSORS:
        raise ValueError(f"method = {method!r}; one of {', '.join(COMPRESSORS)} is accepted")
    residues = _counts("sequences", sequences).total()
    return 8 * len(COMPRESSORS[method]("\n".join(sequences).encode())) / residues


def _counts(name: str, sequences: Sequence[str]) -> Counter[str]:
    if isinstance(sequences, str):
        raise ValueError(f"{name} is one string; a list of sequences is needed")
    counts: Counter[str] = Counter()
    for sequence in sequences:
        counts.update(sequence)
    if not counts:
        raise ValueError(f"{name} holds no residue; at least one is needed")
    return counts
