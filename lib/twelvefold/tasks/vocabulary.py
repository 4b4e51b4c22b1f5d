"""Word-level vocabularies: one id per word, three special symbols in front."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

PAD, SOS, EOS = "<pad>", "<sos>", "<eos>"
SPECIALS = (PAD, SOS, EOS)
PAD_ID, SOS_ID, EOS_ID = range(3)


@dataclass(frozen=True)
class Vocabulary:
    """Words with the ids 3, 4, ... in the order given; the ids 0, 1, 2 are padding, start and end of a sequence.

    Raises ValueError for no words, a word given twice, an empty word, one with a space in it or one of the specials.
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        words = tuple(self.words)
        if isinstance(self.words, str) or not words:
            raise ValueError(f"words = {self.words!r}; a tuple of at least one word is needed")
        for word in words:
            if not isinstance(word, str) or word.split() != [word] or word in SPECIALS:
                raise ValueError(
                    f"words holds {word!r}; accepted are texts without spaces other than {', '.join(SPECIALS)}"
                )
        twice = sorted({word for word in words if words.count(word) > 1})
        if twice:
            raise ValueError(f"words holds {twice[0]!r} more than once; every word is accepted once")
        object.__setattr__(self, "words", words)

    @property
    def size(self) -> int:
        """Number of ids, specials included."""
        return len(SPECIALS) + len(self.words)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(SPECIALS + self.words)}

    def id(self, word: str) -> int:
        """Return the id of a word or special; ValueError names a word that is not in the vocabulary."""
        if word not in self._ids:
            raise ValueError(f"word = {word!r} is not among the {len(self.words)} words of this vocabulary")
        return self._ids[word]

    def encode(self, sentence: str) -> list[int]:
        """Return the ids of the words of a sentence, split at spaces, between those of start and end."""
        return [SOS_ID, *(self.id(word) for word in sentence.split()), EOS_ID]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the words of a sequence of ids, joined by spaces, without specials; ValueError for an unknown id."""
        known = SPECIALS + self.words
        numbers = [int(number) for number in ids]
        for number in numbers:
            if not 0 <= number < self.size:
                raise ValueError(f"ids holds {number}; accepted are 0 to {self.size - 1}")
        return " ".join(known[number] for number in numbers if number >= len(SPECIALS))
