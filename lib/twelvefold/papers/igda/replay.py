"""Answers of chat models kept in a file and played back, so that a result needs neither network nor model.

The file holds one JSON object a line, {"key", "model", "template", "sample", "answer"}. The key is the sha256 of all
that decides on an answer, except its seed: sample k of a question is one answer, whatever the base seed. Each answer is
written, whole and to the disk, before the next one is waited for; a line that a crash has torn is dropped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from filelock import FileLock

from twelvefold.papers.igda.chat_backends import ChatBackend, ChatError, Question, Sampling
from twelvefold.papers.igda.prompts import VERSION

Mode = Literal["replay", "record", "auto"]
_FIELDS = {"key": str, "model": str, "template": str, "sample": int, "answer": str}


class MissingAnswer(ChatError):
    """An answer was asked for that is not recorded."""


@dataclass(frozen=True)
class RecordReplay(ChatBackend):
    """A chat model whose answers are kept; a question that was answered once is never asked again.

    Attributes:
        backend: who is asked; to replay, the name does of a model that has no other settings in its `identity`.
        path: of the file; its folder is made when the first answer is written.
        mode: "replay": nobody is asked, a missing answer is an error. "auto": what is missing is asked and kept.
            "record": as "auto", and the file may hold answers of this model to these templates alone.
        template: version of the prompts.
    """

    backend: ChatBackend | str
    path: Path | str
    mode: Mode = "replay"
    template: str = VERSION
    _kept: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(f"mode = {self.mode!r}; known are {list(get_args(Mode))}")
        if isinstance(self.backend, str) and self.mode != "replay":
            raise ValueError(f"backend = {self.backend!r} with mode = {self.mode!r}; a chat model to ask is needed")
        for number, record in enumerate(read_records(Path(self.path)), 1):
            if self.mode == "record" and (record["model"], record["template"]) != (self._model, self.template):
                raise ValueError(f"{self.path}, line {number}: an answer of {record['model']!r} to templates "
                                 f"{record['template']!r}; record {self._model!r}, {self.template!r} to a file of its "
                                 "own, or use mode='auto'")  # fmt: skip
            self._kept.setdefault(record["key"], record["answer"])

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"model": self.backend} if isinstance(self.backend, str) else self.backend.identity

    @property
    def _model(self) -> str:
        return str(self.identity["model"])

    def answers(self, questions: Sequence[Question], sampling: Sampling) -> Iterator[tuple[int, str]]:
        places: dict[str, list[int]] = {}
        for place, question in enumerate(questions):
            places.setdefault(answer_key(self.identity, self.template, question, sampling), []).append(place)
        missing = [key for key in places if key not in self._kept]
        if missing and (self.mode == "replay" or isinstance(self.backend, str)):
            raise self._missing(questions[places[missing[0]][0]], missing)
        for key, own in places.items():
            if key in self._kept:
                yield from ((place, self._kept[key]) for place in own)
        if missing:
            yield from self._asked(missing, places, questions, sampling)

    def _asked(
        self, missing: Sequence[str], places: Mapping[str, Sequence[int]], questions: Sequence[Question],
        sampling: Sampling,
    ) -> Iterator[tuple[int, str]]:  # fmt: skip
        assert not isinstance(self.backend, str)
        asked = [questions[places[key][0]] for key in missing]
        for number, text in self.backend.answers(asked, sampling):
            key = missing[number]
            append_record(Path(self.path), {"key": key, "model": self._model, "template": self.template,
                                            "sample": asked[number].sample, "answer": text})  # fmt: skip
            self._kept[key] = text
            yield from ((place, text) for place in places[key])

    def _missing(self, question: Question, missing: Sequence[str]) -> MissingAnswer:
        last = question.messages[-1]["content"]
        return MissingAnswer(
            f"{self.path} holds {len(self._kept)} answers, but {len(missing)} of those asked for are not among them, "
            f"first sample {question.sample} of {self._model!r}, templates {self.template!r}, to {last[-320:]!r} (key "
            f"{missing[0]}). Record them: RecordReplay(backend, path, mode='auto') with a backend that can be asked"
        )


def answer_key(identity: Mapping[str, Any], template: str, question: Question, sampling: Sampling) -> str:
    """sha256, in hexadecimal, of model, templates, conversation, sampling and number of the sample."""
    decisive = [dict(identity), template, [dict(m) for m in question.messages], asdict(sampling), question.sample]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def read_records(path: Path) -> list[dict[str, Any]]:
    """Whole records of a file, none where there is no file; a last line without its end is left out.

    Raises:
        ValueError: another line is no record; the message names it.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last end of a line was torn
    return [_record(path, number, line) for number, line in enumerate(lines, 1)]


def _record(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or any(type(found.get(name)) is not kind for name, kind in _FIELDS.items()):
        raise ValueError(f"{path}, line {number} is no record of an answer ({line[:60]!r}); delete the line, its "
                         "answer is asked for again")  # fmt: skip
    return found


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record to the end of a file and to the disk, after removing what a crash has left behind the last line.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(dict(record)).encode() + b"\n"
    with FileLock(f"{path}.lock.tmp"), open(path, "ab+") as file:  # a name that version control ignores
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        if size and file.read(1) != b"\n":
            file.truncate(_end_of_last_line(file, size))
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _end_of_last_line(file: Any, size: int) -> int:
    file.seek(0)
    return int(file.read(size).rfind(b"\n") + 1)
