"""Answers of chat models: read strictly, then leniently; sampled as a model says; averaged into beliefs."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.pretrained import LanguageModel
from twelvefold.papers.igda.chat_backends import (
    ChatBackend,
    ChatError,
    Question,
    Sampling,
    TransformersChat,
    _drawn,
    same_conversation,
    sample_tokens,
    seed_of,
)
from twelvefold.papers.igda.chat_model import Answer, ChatEdgeModel, parse_answer
from twelvefold.papers.igda.edge_model import ModelExpert, Result
from twelvefold.papers.igda.feedback import pairs
from twelvefold.papers.igda.loop import Discovery, Policy, discover
from twelvefold.papers.igda.prompts import Messages, chat_messages, chat_text, choice_messages
from twelvefold.papers.igda.replay import RecordReplay
from twelvefold.tasks.causal_graphs import load_graph

from tests.nn.language_model_cases import TOKENS, tiny_llama, tiny_tokenizer

CANCER = load_graph("cancer")
EVERY = pairs(CANCER.size).nonzero()
HELLO: Messages = ({"role": "user", "content": "the hill"},)
OTHER: Messages = ({"role": "system", "content": "12"}, {"role": "user", "content": "a wall"})


def reply(answer: object, confidence: object) -> str:
    return json.dumps({"answer": answer, "confidence": confidence})


class TestParser:
    @pytest.mark.parametrize(("text", "answer"), [
        (reply("yes", 80), Answer(True, 0.8)), (reply("no", 62.5), Answer(False, 0.625)),
        (reply("YES", 100), Answer(True, 1.0)), (reply(" No ", 0), Answer(False, 0.0)),
        ('  {"confidence": 7, "answer": "no", "why": "..."}\n', Answer(False, 0.07)),
    ])  # fmt: skip
    def test_json(self, text: str, answer: Answer) -> None:
        assert parse_answer(text) == answer

    @pytest.mark.parametrize(("text", "answer"), [
        ('```json\n{"answer": "yes", "confidence": 85}\n```', Answer(True, 0.85)),
        ("Smoke does it.\nAnswer: Yes\nConfidence: 90%", Answer(True, 0.9)),
        ("{'answer': 'no', 'confidence': '40'}", Answer(False, 0.4)),
        (reply("yes", "75"), Answer(True, 0.75)),
        ("My answer is no, with a confidence of 55.", Answer(False, 0.55)),
        ('{"answer": "yes", "confidence": 20} No: {"answer": "no", "confidence": 95}', Answer(False, 0.95)),
        ('{"answer": "yes", "confidence": 88', Answer(True, 0.88)),
    ])  # fmt: skip
    def test_what_is_not_quite_json(self, text: str, answer: Answer) -> None:
        assert parse_answer(text) == answer

    @pytest.mark.parametrize("text", [
        "", "yes", "Yes, 80", reply("maybe", 80), reply("yes", 101), reply("yes", -3), reply("yes", None),
        reply("yes", True), reply(True, 80), '{"answer": "yes"}', '{"confidence": 80}', "[1, 2]", "null", "7",
        '{"answer": "yes", "confidence": NaN}', '{"answer": "yes", "confidence": Infinity}',
        '{"answer": "yes" or "no", "confidence": your confidence in this answer from 0 to 100}',
        "[" * 100_000, '{"a":' * 50_000, '{"answer": "yes", "confidence": ' + "9" * 5000 + "}",
        "the answer: yesterday, confidence: 80", "confidence " * 20_000,
    ])  # fmt: skip
    def test_neither(self, text: str) -> None:
        assert parse_answer(text) is None

    @pytest.mark.parametrize("confidence", [0.85, 1, 1.0, 0.01])
    def test_a_confidence_that_may_be_a_share_is_not_read(self, confidence: float) -> None:
        assert parse_answer(reply("yes", confidence)) is None

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        found = parse_answer(text)
        assert found is None or 0 <= found.confidence <= 1

    @given(st.booleans(), st.one_of(st.just(0), st.integers(2, 100), st.floats(1.01, 100)))
    def test_what_was_said_is_read(self, present: bool, confidence: float) -> None:
        assert parse_answer(reply("yes" if present else "no", confidence)) == Answer(present, confidence / 100)


class Scripted(ChatBackend):
    """Answers by a function of the question; keeps the questions."""

    def __init__(self, answer: Callable[[Question], str]) -> None:
        self.answer, self.asked, self.samplings = answer, list[Question](), list[Sampling]()

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"model": "scripted"}

    def answers(self, questions: Sequence[Question], sampling: Sampling) -> Iterator[tuple[int, str]]:
        self.samplings.append(sampling)
        for place, question in reversed([*enumerate(questions)]):  # in whatever order they come
            self.asked.append(question)
            yield place, self.answer(question)


class TestComplete:
    def test_answers_find_their_places(self) -> None:
        backend = Scripted(lambda q: f"{q.messages[-1]['content']} {q.sample}")
        found = backend.complete([HELLO, OTHER], 3, 10_000)
        assert found == [["the hill 0", "the hill 1", "the hill 2"], ["a wall 0", "a wall 1", "a wall 2"]]
        assert backend.samplings == [Sampling()] and backend.complete([], 2, 0) == []

    def test_a_seed_depends_on_its_own_question_alone(self) -> None:
        backend = Scripted(lambda q: str(q.seed))
        whole = backend.complete([HELLO, OTHER], 3, 10_000)
        assert backend.complete([OTHER], 2, 10_000)[0] == whole[1][:2]
        assert len({seed for own in whole for seed in own}) == 6
        assert backend.complete([HELLO], 1, 10_001) != [whole[0][:1]]
        assert all(0 <= seed_of(10_000, HELLO, k) < 2**31 for k in range(200))

    def test_a_missing_answer_is_an_error(self) -> None:
        class Silent(Scripted):
            def answers(self, questions: Sequence[Question], sampling: Sampling) -> Iterator[tuple[int, str]]:
                yield 0, "only this"

        with pytest.raises(ChatError, match="scripted gave 1 of 2 answers"):
            Silent(str).complete([HELLO], 2, 0)

    @pytest.mark.parametrize("messages", [
        (), ({"role": "system", "content": "x"},), ({"role": "user"},), ({"role": "user", "content": 3},),
        ({"role": "user", "content": "x", "name": "y"},),
    ])  # fmt: skip
    def test_no_conversation(self, messages: Any) -> None:
        with pytest.raises(ValueError, match="the last one of the user"):
            Scripted(str).complete([messages], 1, 0)

    def test_numbers(self) -> None:
        with pytest.raises(ValueError, match="n = 0"):
            Scripted(str).complete([HELLO], 0, 0)
        for wrong in ({"temperature": -1.0}, {"max_tokens": 0}, {"temperature": float("nan")},
                      {"temperature": float("inf")}):  # fmt: skip
            with pytest.raises(ValueError, match="a finite temperature of at least 0 and at least 1 token"):
                Sampling(**wrong)  # type: ignore[arg-type]

    def test_groups(self) -> None:
        asked = [Question(m, 0, 0) for m in (HELLO, OTHER, HELLO, HELLO, OTHER)]
        assert same_conversation(asked) == [[0, 2, 3], [1, 4]]
        assert same_conversation(asked, 2) == [[0, 2], [3], [1, 4]]
        assert same_conversation(asked, 1) == [[0], [2], [3], [1], [4]]


class TestEdgeModel:
    def test_the_mean_of_labels_and_confidences(self) -> None:
        said = [reply("yes", 90), reply("no", 70), "?", reply("no", 80)]
        model = ChatEdgeModel(Scripted(lambda q: said[q.sample]), 0.1, samples=4, temperature=0.7, max_tokens=30)
        found = model.beliefs(CANCER, EVERY[:3], [], torch.Generator())
        assert found.p.tolist() == pytest.approx([(0.9 + 0.3 + 0.2) / 3] * 3) and found.p.dtype == torch.float64
        assert found.n_failed == 3 and found.samples is not None and found.samples.shape == (3, 4, 2)
        assert found.samples[0, [0, 1, 3]].tolist() == [[1, 0.9], [0, 0.7], [0, 0.8]]
        assert bool(found.samples[:, 2].isnan().all())
        assert model.backend.samplings == [Sampling(0.7, 30)]  # type: ignore[attr-defined]

    def test_nothing_could_be_read(self) -> None:
        found = ChatEdgeModel(Scripted(lambda q: "I cannot say."), 0.15, samples=2).beliefs(
            CANCER, EVERY, [], torch.Generator())  # fmt: skip
        assert found.p.tolist() == [0.15] * 20 and found.n_failed == 40

    def test_one_of_many_could_not_be_read(self) -> None:
        backend = Scripted(lambda q: reply("yes", 60) if "Does smoking" in q.messages[1]["content"] else "")
        found = ChatEdgeModel(backend, 0.15, samples=1).beliefs(CANCER, EVERY, [], torch.Generator())
        assert [p == 0.6 for p in found.p.tolist()] == (EVERY[:, 0] == 1).tolist() and found.n_failed == 16

    def test_the_questions(self) -> None:
        backend, results = Scripted(lambda q: reply("no", 90)), [Result(0, 2, True, 1)]
        earlier = torch.tensor([0.4, torch.nan], dtype=torch.float64)
        ChatEdgeModel(backend, 0.1, samples=1).beliefs(CANCER, EVERY[:2], results, torch.Generator(), earlier)
        (i, j), (k, m) = EVERY[:2].tolist()
        wanted = [chat_messages(CANCER, i, j, results, 0.4), chat_messages(CANCER, k, m, results)]
        assert [q.messages for q in reversed(backend.asked)] == wanted

    def test_no_edges(self) -> None:
        found = ChatEdgeModel(Scripted(str), 0.1).beliefs(CANCER, EVERY[:0], [], torch.Generator())
        assert found.p.shape == (0,) and found.samples is not None and found.samples.shape == (0, 16, 2)

    def test_in_the_loop(self) -> None:
        backend = Scripted(lambda q: reply("yes" if q.seed % 3 == 0 else "no", 50 + q.seed % 51))
        expert = ModelExpert(ChatEdgeModel(backend, 0.2, samples=4), CANCER, torch_generator(10_000, 0, "chat"))
        made = discover(expert, CANCER.edges, Policy(), replicates=5, rounds=3, experiments=4,
                        generator=torch_generator(10_000, 0, "ties"))  # fmt: skip
        assert made.tests.tolist() == [0, 4, 8, 12] and expert.n_failed == 0
        assert len(backend.asked) == 4 * expert.n_asked

    @pytest.mark.parametrize(("wrong", "message"), [
        ({"samples": 0}, "samples = 0"), ({"density": 0.0}, "density = 0.0"), ({"density": 1.0}, "density = 1.0"),
        ({"temperature": -1.0}, "temperature"), ({"max_tokens": 0}, "at least 1 token"),
        ({"pair_tokens": 0}, "pair_tokens = 0"),
    ])  # fmt: skip
    def test_bad_input(self, wrong: dict[str, Any], message: str) -> None:
        settings: dict[str, Any] = {"backend": Scripted(str), "density": 0.1, **wrong}
        with pytest.raises(ValueError, match=message):
            ChatEdgeModel(**settings)


class TestChoice:
    def test_one_answer_is_asked_for_and_read(self) -> None:
        backend, known = Scripted(lambda q: '[["Smoker", "Cancer"], ["Xray", "Fog"]]'), [Result(0, 2, True, 1)]
        model = ChatEdgeModel(backend, 0.1, temperature=0.7, max_tokens=40, pair_tokens=20)
        found = model.choose(CANCER, 3, known, torch_generator(10_000, 0, "chat"))
        assert found.dtype == torch.int64 and found.tolist() == [[1, 2]] and model.dropped == {"unknown": 1}
        assert [q.messages for q in backend.asked] == [choice_messages(CANCER, 3, known)]
        model.choose(CANCER, 1, known, torch_generator(10_000, 0, "chat"))
        assert backend.samplings == [Sampling(0.7, 60), Sampling(0.7, 40)] and model.dropped == {"unknown": 2}

    def test_no_pair(self) -> None:
        model = ChatEdgeModel(Scripted(lambda q: "None."), 0.1)
        assert model.choose(CANCER, 3, [], torch.Generator()).shape == (0, 2) and model.dropped == {"unreadable": 1}
        with pytest.raises(ValueError, match="count = 0"):
            model.choose(CANCER, 0, [], torch.Generator())

    def test_models_count_for_themselves_and_counts_do_not_tell_them_apart(self) -> None:
        one, other = (ChatEdgeModel(backend, 0.1) for backend in [Scripted(lambda q: "?")] * 2)
        one.choose(CANCER, 3, [], torch.Generator())
        assert one.dropped and not other.dropped and one == other


NAMED = (  # by what is known: all of these, then two of five, then none
    '[["Smoker", "Pollution"], ["Pollution", "Cancer"], ["Cancer", "Xray"]]',
    'Here: ["smoker", "xray"], ["Pollution", "Cancer"], ["Xray", "X"], ["Cancer", "Cancer"], ["Smoker", "Dyspnoea"]',
    "I do not know.",
)


def spoken(question: Question) -> str:
    """Of a pair: whatever a smoker does, nothing else. Of what to test: by the number of results told."""
    text = question.messages[-1]["content"]
    if "should be tested next" in text:
        return NAMED[text.count(" -> ") // 3]
    smoking = text.rsplit("Does ", 1)[1].startswith("smoking")
    return reply("yes" if smoking else "no", 80)


class TestTheWholeLoop:
    """Edges of `cancer`: Pollution -> Cancer, Smoker -> Cancer, Cancer -> Xray, Cancer -> Dyspnoea."""

    def discovered(self, backend: ChatBackend, rounds: int = 3) -> tuple[Discovery, ChatEdgeModel]:
        model = ChatEdgeModel(backend, 0.2, samples=2)
        expert = ModelExpert(model, CANCER, torch_generator(10_000, 0, "chat"))
        made = discover(expert, CANCER.edges, Policy("expert", "local"), replicates=4, rounds=rounds, experiments=3,
                        generator=torch_generator(10_000, 0, "ties"))  # fmt: skip
        return made, model

    def test_by_hand(self) -> None:
        backend = Scripted(spoken)
        made, model = self.discovered(backend)
        # claimed are Smoker -> all four: TP 1, FP 3, FN 3; after round 1: TP 3, FP 2, FN 1
        assert all(made.f1[s, :2].tolist() == pytest.approx([0.25, 2 / 3]) for s in range(4))
        assert [int(made.feedback.round[0, i, j]) for i, j in ((1, 0), (0, 2), (2, 3))] == [1] * 3
        # round 2: two pairs that were named, and one at random, which may be the last edge
        assert all([int(made.feedback.round[s, i, j]) for i, j in ((1, 3), (1, 4))] == [2] * 2 for s in range(4))
        last = made.feedback.round[:, 2, 4] == 2
        assert made.f1[:, 2].tolist() == pytest.approx(torch.where(last, 1.0, 6 / 7).tolist())
        assert made.tests.tolist() == [0, 3, 6, 9]
        # four that stand alike are asked once; after the random tests each that stands alone
        choices = [q for q in backend.asked if "should be tested next" in q.messages[-1]["content"]]
        apart = len({tuple(((r > 0) & (r < 3)).flatten().tolist()) for r in made.feedback.round})
        assert len(choices) == 2 + apart and apart > 1
        assert model.dropped == {"tested": 1, "unknown": 1, "self": 1, "unreadable": apart}

    def test_recorded_and_played_back(self, tmp_path: Path) -> None:
        path, backend = tmp_path / "answers.jsonl", Scripted(spoken)
        first, _ = self.discovered(RecordReplay(backend, path, "record"))
        asked = len(backend.asked)
        again, model = self.discovered(RecordReplay("scripted", path))
        assert len(backend.asked) == asked and torch.equal(first.feedback.round, again.feedback.round)
        assert torch.equal(first.f1, again.f1) and model.dropped["tested"] == 1
        with pytest.raises(ChatError, match="Record them"):
            self.discovered(RecordReplay("scripted", path), rounds=4)


@pytest.fixture(scope="module")
def language_model() -> LanguageModel:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }} {{ m.content }}<|im_start|>{% endfor %}"
    return LanguageModel(tiny_llama(max_position_embeddings=256), tokenizer, "tiny")


def prompt_of(model: LanguageModel, messages: Messages) -> list[int]:
    tokens: list[int] = model.tokenizer(chat_text(model.tokenizer, messages))["input_ids"]
    return tokens


class TestTransformers:
    def test_greedy_is_that_of_generate(self, language_model: LanguageModel) -> None:
        prompt = prompt_of(language_model, HELLO)
        made = language_model.model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=20,
                                             attention_mask=torch.ones(1, len(prompt)))[0, len(prompt) :]  # fmt: skip
        wanted = [token for token in made.tolist() if token != 0]
        assert sample_tokens(language_model, prompt, [1, 2], Sampling(0, 20)) == [wanted, wanted]

    def test_a_sample_is_what_it_is_alone(self, language_model: LanguageModel) -> None:
        prompt, seeds = prompt_of(language_model, HELLO), [5, 6, 7, 8, 9]
        whole = sample_tokens(language_model, prompt, seeds, Sampling(1.5, 12))
        assert [sample_tokens(language_model, prompt, [seed], Sampling(1.5, 12))[0] for seed in seeds] == whole
        assert len({tuple(own) for own in whole}) == 5

    def test_frequencies(self, language_model: LanguageModel) -> None:
        prompt, n = prompt_of(language_model, HELLO), 4000
        made = sample_tokens(language_model, prompt, range(n), Sampling(2.0, 1))
        drawn = torch.tensor([own[0] if own else 0 for own in made]).bincount(minlength=len(TOKENS)) / n
        with torch.no_grad():
            logits = language_model.model(torch.tensor([prompt])).logits[0, -1]
        p = (logits.double() / 2.0).softmax(0)
        assert bool(((drawn - p).abs() <= 4.5 * (p * (1 - p) / n).sqrt() + 1e-9).all()) and float(p.max()) < 0.5

    def test_what_is_impossible_is_never_drawn(self) -> None:
        logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]]).double().expand(4, -1)
        drawn = _drawn(logits, torch.tensor([0.0, 0.4999, 0.5, 1 - 2.0**-53], dtype=torch.float64), 0.7)
        assert drawn.tolist() == [1, 1, 3, 3]

    def test_it_stops_at_the_end(self, language_model: LanguageModel) -> None:
        prompt = prompt_of(language_model, HELLO)
        long = sample_tokens(language_model, prompt, range(40), Sampling(3.0, 60))
        assert not any(0 in own for own in long) and len({len(own) for own in long}) > 2  # 0 is the token of the end
        short = sample_tokens(language_model, prompt, range(40), Sampling(3.0, 4))
        assert [own[:4] for own in long] == short

    def test_the_backend(self, language_model: LanguageModel) -> None:
        backend = TransformersChat(language_model)
        found = backend.complete([HELLO, OTHER], 3, 10_000, Sampling(1.0, 8))
        assert backend.complete([OTHER], 1, 10_000, Sampling(1.0, 8)) == [found[1][:1]]
        assert all(isinstance(text, str) and "<|" not in text for own in found for text in own)
        assert backend.identity == {"model": "tiny (float32)"}
        assert TransformersChat(language_model, "mine").identity == {"model": "mine (float32)"}

    def test_no_global_generator(self, language_model: LanguageModel) -> None:
        state = torch.random.get_rng_state()
        TransformersChat(language_model).complete([HELLO], 2, 10_000, Sampling(1.0, 4))
        assert torch.equal(torch.random.get_rng_state(), state)

    @pytest.mark.parametrize(("prompt", "seeds", "most"), [([], [1], 5), ([3], [], 5), ([3] * 250, [1], 7)])
    def test_bad_input(self, language_model: LanguageModel, prompt: list[int], seeds: list[int], most: int) -> None:
        with pytest.raises(ValueError, match="together at most 256 tokens"):
            sample_tokens(language_model, prompt, seeds, Sampling(1.0, most))


@pytest.mark.gpu
def test_samples_on_cuda_are_those_of_the_cpu(language_model: LanguageModel) -> None:
    """In the mode in which studies run, where a running sum on CUDA is refused."""
    prompt, seeds = [3, 1, 4], [5, 6, 7]
    here = sample_tokens(language_model, prompt, seeds, Sampling(1.5, 12))
    there = LanguageModel(copy.deepcopy(language_model.model).to("cuda"), language_model.tokenizer, "tiny")
    torch.set_deterministic_debug_mode("error")
    try:
        assert sample_tokens(there, prompt, seeds, Sampling(1.5, 12)) == here
    finally:
        torch.set_deterministic_debug_mode("default")
