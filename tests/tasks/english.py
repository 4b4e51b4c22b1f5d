"""A second reader of the grammars' sentences: parses words one by one and goes by their endings, never by the
generator's tables of numbers."""

from __future__ import annotations

from twelvefold.tasks.sentence_templates import LEXICONS

LEXICON = LEXICONS["full"]
NOUNS = {form for noun in LEXICON.nouns for form in noun}
TRANSITIVE = {form for verb in LEXICON.transitive for form in verb}
VERBS = TRANSITIVE | {form for verb in LEXICON.intransitive for form in verb}
AUXILIARIES = {"do", "does", "don't", "doesn't"}


def noun_number(noun: str) -> str:
    return "plural" if noun.endswith("s") else "singular"


def verb_number(form: str) -> str:
    return "singular" if form.endswith("s") or form.startswith("does") else "plural"


class Sentence:
    """One declarative, read from left to right. `agreements`: (number of the subject, form of auxiliary or verb), the
    main clause's marked."""

    def __init__(self, words: list[str]) -> None:
        self.words, self.place = words, 0
        self.agreements: list[tuple[str, str]] = []
        self.head = self.noun_phrase()
        self.relative_on_subject = any(word in LEXICON.relativisers for word in words[: self.place])
        self.main = self.place
        if self.verb(self.head) in TRANSITIVE:
            self.noun_phrase()
        assert self.place == len(words), f"{words} goes on after word {self.place}"

    def take(self, accepted: set[str] | tuple[str, ...]) -> str:
        word = self.words[self.place]
        assert word in accepted, f"{word} at {self.place} in {self.words}"
        self.place += 1
        return word

    def next_is(self, accepted: set[str] | tuple[str, ...]) -> bool:
        return self.place < len(self.words) and self.words[self.place] in accepted

    def noun(self) -> str:
        self.take(LEXICON.determiners)
        return noun_number(self.take(NOUNS))

    def verb(self, subject: str) -> str:
        form = self.take(AUXILIARIES) if self.next_is(AUXILIARIES) else None
        verb = self.take(VERBS)
        self.agreements.append((subject, form or verb))
        return verb

    def noun_phrase(self) -> str:
        head = self.noun()
        if self.next_is(LEXICON.prepositions):
            self.place += 1
            self.noun()
        elif self.next_is(LEXICON.relativisers):
            self.place += 1
            if self.next_is(LEXICON.determiners):
                assert self.verb(self.noun()) in TRANSITIVE
            elif self.verb(head) in TRANSITIVE:
                self.noun()
        return head


def split(text: str, task_words: tuple[str, str]) -> tuple[list[str], str, list[str]]:
    """First sentence without its stop, task word, second sentence with its end mark."""
    words = text.split()
    place = next(index for index, word in enumerate(words) if word in task_words)
    assert words[place - 1] == "."
    return words[: place - 1], words[place], words[place + 1 :]
