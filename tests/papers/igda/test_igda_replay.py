"""Recorded answers: written at once and whole, found again, never asked for twice, and missed loudly."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from twelvefold.papers.igda.chat_backends import ChatBackend, ChatError, Question, Sampling
from twelvefold.papers.igda.chat_model import ChatEdgeModel
from twelvefold.papers.igda.feedback import pairs
from twelvefold.papers.igda.prompts import VERSION, Messages
from twelvefold.papers.igda.replay import MissingAnswer, RecordReplay, answer_key, append_record, read_records
from twelvefold.tasks.causal_graphs import load_graph

HELLO: Messages = ({"role": "system", "content": "s"}, {"role": "user", "content": "hello \u00e9\u2028 \U0001f600"})
OTHER: Messages = ({"role": "user", "content": "other"},)
RECORD = {"key": "k", "model": "m", "template": VERSION, "sample": 0, "answer": "a"}


class Counting(ChatBackend):
    """Answers with place and seed; breaks off before answer number `stop`."""

    def __init__(self, model: str = "m", stop: int | None = None) -> None:
        self.model, self.stop, self.asked = model, stop, list[Question]()

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"model": self.model}

    def answers(self, questions: Sequence[Question], sampling: Sampling) -> Iterator[tuple[int, str]]:
        for place, question in enumerate(questions):
            if len(self.asked) == self.stop:
                raise ChatError("no more")
            self.asked.append(question)
            yield place, f"{question.messages[-1]['content']}\n{question.sample} {question.seed} {sampling.temperature}"


class Broken(Counting):
    """Must not be asked."""

    def answers(self, questions: Sequence[Question], sampling: Sampling) -> Iterator[tuple[int, str]]:
        raise AssertionError("asked")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "answers.jsonl"


class TestRecordAndReplay:
    def test_the_same_answers(self, path: Path) -> None:
        plain = Counting().complete([HELLO, OTHER], 3, 10_000)
        assert RecordReplay(Counting(), path, "record").complete([HELLO, OTHER], 3, 10_000) == plain
        for mode in ("replay", "auto", "record"):
            assert RecordReplay(Broken(), path, mode).complete([HELLO, OTHER], 3, 10_000) == plain  # type: ignore[arg-type]
        assert RecordReplay("m", path).complete([OTHER, HELLO], 2, 10_000) == [plain[1][:2], plain[0][:2]]

    def test_only_what_is_missing_is_asked(self, path: Path) -> None:
        RecordReplay(Counting(), path, "auto").complete([HELLO], 2, 10_000)
        backend = Counting()
        found = RecordReplay(backend, path, "auto").complete([HELLO, OTHER], 3, 10_000)
        assert [(q.messages, q.sample) for q in backend.asked] == [(HELLO, 2), (OTHER, 0), (OTHER, 1), (OTHER, 2)]
        assert found == Counting().complete([HELLO, OTHER], 3, 10_000)
        assert len(path.read_text().split("\n")) == 7

    def test_the_same_question_twice_is_asked_once(self, path: Path) -> None:
        backend = Counting()
        found = RecordReplay(backend, path, "auto").complete([HELLO, HELLO], 2, 0)
        assert found[0] == found[1] and len(backend.asked) == 2

    def test_another_base_seed_replays(self, path: Path) -> None:
        first = RecordReplay(Counting(), path, "auto").complete([HELLO], 2, 10_000)
        assert RecordReplay(Broken(), path).complete([HELLO], 2, 10_001) == first

    @pytest.mark.parametrize("other", [
        {"model": "n"}, {"messages": OTHER}, {"sampling": Sampling(0.9, 150)}, {"sampling": Sampling(1.0, 151)},
        {"template": "0"}, {"n": 2},
    ])  # fmt: skip
    def test_whatever_decides_on_an_answer_is_in_its_key(self, path: Path, other: dict[str, Any]) -> None:
        def ask(backend: ChatBackend, mode: Any, model: str = "m", messages: Messages = HELLO, n: int = 1,
                sampling: Sampling | None = None, template: str = VERSION) -> None:  # fmt: skip
            assert backend.identity == {"model": model}
            RecordReplay(backend, path, mode, template).complete([messages], n, 0, sampling)

        ask(Counting(), "record")
        with pytest.raises(MissingAnswer):
            ask(Broken(other.get("model", "m")), "replay", **other)

    def test_keys(self) -> None:
        question = Question(HELLO, 1, 5)
        key = answer_key({"model": "m", "x": 1}, "1", question, Sampling())
        assert key == answer_key({"x": 1, "model": "m"}, "1", question._replace(seed=6), Sampling()) and len(key) == 64
        turned = ({"content": m["content"], "role": m["role"]} for m in HELLO)
        assert key == answer_key({"model": "m", "x": 1}, "1", Question([*turned], 1, 5), Sampling())
        assert key != answer_key({"model": "m", "x": 2}, "1", question, Sampling())

    def test_the_file(self, path: Path) -> None:
        """Stable form: a recording that is committed must be read for ever."""
        RecordReplay(Counting(), path, "record", "1").complete([OTHER], 1, 10_000)
        (line,) = path.read_text().splitlines()
        assert json.loads(line) == {
            "key": "db873acfa9f68962811a9b92d106e58dfecc63b0c9f0959d94e6c4d9bef3e464", "model": "m", "template": "1",
            "sample": 0,
            "answer": Counting().complete([OTHER], 1, 10_000)[0][0],
        }  # fmt: skip

    def test_an_edge_model_replays(self, path: Path) -> None:
        graph, edges = load_graph("cancer"), pairs(5).nonzero()
        found = []
        for seed, backend in enumerate((RecordReplay(Counting(), path, "record"), Broken())):
            played = backend if seed == 0 else RecordReplay(backend, path)
            model = ChatEdgeModel(played, 0.2, samples=2)
            found.append(model.beliefs(graph, edges, [], torch.Generator().manual_seed(seed)))
        assert torch.equal(found[0].p, found[1].p) and found[0].n_failed == found[1].n_failed == 40


class TestMissing:
    def test_names_it_and_the_cure(self, path: Path) -> None:
        RecordReplay(Counting(), path, "record").complete([HELLO], 2, 0)
        before = path.read_bytes()
        with pytest.raises(MissingAnswer, match=r"holds 2 answers, but 3 of those .* first sample 2 of 'm', templates "
                           r"'.*', to 'hello .*mode='auto'\)"):  # fmt: skip
            RecordReplay(Broken(), path).complete([HELLO], 5, 0)
        assert path.read_bytes() == before

    def test_no_file(self, path: Path) -> None:
        with pytest.raises(MissingAnswer, match="holds 0 answers, but 1 of those asked for"):
            RecordReplay(Broken(), path).complete([OTHER], 1, 0)
        assert not path.parent.exists()


class TestCrashes:
    def test_each_answer_is_kept_before_the_next_is_waited_for(self, path: Path) -> None:
        for kept in range(1, 7):
            with pytest.raises(ChatError, match="no more"):
                RecordReplay(Counting(stop=1), path, "auto").complete([HELLO, OTHER], 9, 10_000)
            assert len(read_records(path)) == kept

    def test_a_line_torn_anywhere(self, tmp_path: Path) -> None:
        whole = tmp_path / "whole.jsonl"
        plain = RecordReplay(Counting(), whole, "record").complete([HELLO], 3, 10_000)
        content = whole.read_bytes()
        start = content[:-1].rfind(b"\n") + 1
        for cut in [*range(start, len(content)), start]:
            torn = tmp_path / f"torn{cut}.jsonl"
            torn.write_bytes(content[:cut])
            assert len(read_records(torn)) == 2
            assert RecordReplay("m", torn).complete([HELLO], 2, 0) == [plain[0][:2]]
            assert torn.read_bytes() == content[:cut]  # to replay, nothing is written
            backend = Counting()
            assert RecordReplay(backend, torn, "record").complete([HELLO], 3, 10_000) == plain
            assert [q.sample for q in backend.asked] == [2] and torn.read_bytes() == content

    def test_torn_in_the_first_line(self, path: Path) -> None:
        path.parent.mkdir()
        path.write_bytes(b'{"key": "12')
        append_record(path, RECORD)
        assert read_records(path) == [RECORD]

    def test_a_process_that_is_killed(self, path: Path) -> None:
        """It dies in the middle of writing its third answer."""
        code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).resolve().parents[3])!r})
from tests.papers.igda.test_igda_replay import Counting, HELLO
from twelvefold.papers.igda import replay

def torn(path, record, real=replay.append_record, done=[]):
    done.append(1)
    if len(done) < 3:
        return real(path, record)
    with open(path, "ab") as file:
        file.write(b'{{"key": "0123')
    os.kill(os.getpid(), 9)

replay.append_record = torn
replay.RecordReplay(Counting(), {str(path)!r}, "record").complete([HELLO], 5, 10_000)
"""
        assert subprocess.run([sys.executable, "-c", code], timeout=300).returncode == -9
        backend = Counting()
        found = RecordReplay(backend, path, "record").complete([HELLO], 5, 10_000)
        assert [q.sample for q in backend.asked] == [2, 3, 4]
        assert found == Counting().complete([HELLO], 5, 10_000) and len(read_records(path)) == 5

    def test_two_recorders_at_once(self, path: Path) -> None:
        """They may ask the same twice, but no line is lost or mixed, and the first answer stays."""
        context = multiprocessing.get_context("fork")
        writers = [context.Process(target=_write_many, args=(path, name)) for name in ("one", "two")]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(120)
        found = read_records(path)
        assert sorted((r["key"], r["sample"]) for r in found) == [(k, i) for k in ("one", "two") for i in range(20)]
        append_record(path, RECORD | {"key": "one", "answer": "later"})
        assert RecordReplay("m", path)._kept["one"] == "a"


def _write_many(path: Path, name: str) -> None:
    for sample in range(20):
        append_record(path, RECORD | {"key": name, "sample": sample, "answer": "a"})
    os._exit(0)


class TestBadFiles:
    @pytest.mark.parametrize("line", [
        "", "{}", "7", "{not json", json.dumps(RECORD | {"sample": "0"}), json.dumps(RECORD | {"answer": None}),
        json.dumps({k: v for k, v in RECORD.items() if k != "key"}), "[" * 50_000,
        json.dumps(RECORD | {"sample": True}),
    ])  # fmt: skip
    def test_a_damaged_line_is_named(self, tmp_path: Path, line: str) -> None:
        path = tmp_path / "answers.jsonl"
        path.write_text(f"{json.dumps(RECORD)}\n{line}\n{json.dumps(RECORD)}\n")
        with pytest.raises(ValueError, match=r"answers.jsonl, line 2 is no record of an answer .*delete the line"):
            RecordReplay("m", path)

    def test_line_ends_of_windows(self, tmp_path: Path) -> None:
        path = tmp_path / "answers.jsonl"
        path.write_bytes(json.dumps(RECORD).encode() + b"\r\n")
        assert read_records(path) == [RECORD]

    @pytest.mark.parametrize("other", [{"model": "n"}, {"template": "0"}])
    def test_a_recording_holds_one_model_and_one_version(self, tmp_path: Path, other: dict[str, str]) -> None:
        path = tmp_path / "answers.jsonl"
        append_record(path, RECORD)
        append_record(path, RECORD | other)
        with pytest.raises(ValueError, match="line 2: an answer of .* to a file of its own, or use mode='auto'"):
            RecordReplay(Counting(), path, "record")
        RecordReplay(Counting(), path, "auto")

    def test_settings(self, path: Path) -> None:
        with pytest.raises(ValueError, match=r"mode = 'live'; known are \['replay', 'record', 'auto'\]"):
            RecordReplay("m", path, "live")  # type: ignore[arg-type]
        for mode in ("record", "auto"):
            with pytest.raises(ValueError, match="a chat model to ask is needed"):
                RecordReplay("m", path, mode)  # type: ignore[arg-type]
