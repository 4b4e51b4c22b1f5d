"""The language-model study, end to end on a tiny Qwen2, ten questions and a few lines of text in the real formats."""

import csv
import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from twelvefold.core import data, seeds
from twelvefold.core.checkpoint import Checkpoint
from twelvefold.core.data import DataDamaged, DataMissing
from twelvefold.core.sweep import sweep
from twelvefold.papers.random_scaling.language_model import (
    LANGUAGE_MODEL_SCALE,
    corpus,
    language_model_data,
    language_model_points,
    language_model_run,
    language_model_runs,
    mmlu,
    model,
    require_data,
    study,
    training,
)
from twelvefold.papers.random_scaling.language_model.mixture import Mixture

WORDS = "the old river carries cold water past a small town where people buy bread and read about ships".split()
TINY = SimpleNamespace(
    lm_shares=[0.25, 0.5], lm_runs=2, lm_steps=12, lm_batch=4, lm_micro_batch=3, lm_length=24, lm_learning_rate=1e-2,
    lm_warmup=2, lm_weight_decay=0.1, lm_precision="float32", lm_held_out=6, lm_shots=0,
)  # fmt: skip
# The fields of the real config.json, in its own (older) spelling
CONFIG = {
    "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 0, "eos_token_id": 0,
    "hidden_act": "silu", "hidden_size": 32, "initializer_range": 0.02, "intermediate_size": 48,
    "max_position_embeddings": 512, "max_window_layers": 2, "model_type": "qwen2", "num_attention_heads": 4,
    "num_hidden_layers": 2, "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
    "sliding_window": 512, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "transformers_version": "4.40.1",
    "use_cache": True, "use_mrope": False, "use_sliding_window": False, "vocab_size": 400,
}  # fmt: skip


def sentence(generator):
    return " ".join(generator.choice(WORDS, 12))


def question_row(generator):
    text, choices = f"Which word follows in '{sentence(generator)}'?", generator.choice(WORDS, 4)
    return [text, *choices, generator.choice(list("ABCD"))]


def write_questions(folder):
    generator = np.random.default_rng(1)
    sizes = {"dev": 5, "test": 5}
    for part, count in sizes.items():
        (folder / part).mkdir(parents=True)
        for subject in ("marketing", "abstract_algebra"):
            rows = [question_row(generator) for _ in range(count)]
            rows[0][:3] = ['A "quoted", longer\nquestion', "None", "NA"]
            with open(folder / part / f"{subject}_{part}.csv", "w", newline="", encoding="utf-8") as stream:
                csv.writer(stream).writerows(rows)
    (folder / "auxiliary_train").mkdir()
    with open(folder / "auxiliary_train" / "race.csv", "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([question_row(generator) for _ in range(40)])


def write_text(folder):
    generator = np.random.default_rng(2)
    (folder / "en").mkdir(parents=True)
    for name, lines in (("c4-train.00000-of-01024", 60), ("c4-validation.00000-of-00008", 20)):
        with gzip.open(folder / "en" / f"{name}.json.gz", "wt", encoding="utf-8") as stream:
            for _ in range(lines):
                record = {"text": sentence(generator), "timestamp": "2019-04-25T12:57:54Z", "url": "http://example.org"}
                stream.write(json.dumps(record) + "\n")


def write_model(folder):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import Qwen2Config, Qwen2ForCausalLM

    folder.mkdir(parents=True)
    generator = np.random.default_rng(3)
    texts = [sentence(generator) for _ in range(50)] + [f"\n{x}. word\nAnswer: {x}\n" for x in "ABCD" * 20]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=380, special_tokens=["<|endoftext|>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        network = Qwen2ForCausalLM(Qwen2Config.from_dict(CONFIG))
    stored = {name: tensor.bfloat16().contiguous() for name, tensor in network.state_dict().items()}
    del stored["lm_head.weight"]  # tied: the real file has none either
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("supplied")
    write_model(folder / "qwen2.5-0.5b")
    write_questions(folder / "mmlu")
    write_text(folder / "c4_sample")
    return folder


@pytest.fixture(scope="module")
def toy_project(tmp_path_factory):
    """A project whose registry is the installed one, with the tiny Qwen2's shapes of the weights."""
    root = tmp_path_factory.mktemp("project")
    for folder in ("notebooks", "lib/toylib/data"):
        (root / folder).mkdir(parents=True)
    (root / "pyproject.toml").touch()
    (root / "lib/toylib/__init__.py").touch()
    entry = json.loads(json.dumps(data.registry()["qwen2.5-0.5b"].raw))
    shapes = {"model.embed_tokens.weight": [400, 32], "model.norm.weight": [32]}
    entry["folder"]["tensors"] = {"model.safetensors": shapes}
    (root / "lib/toylib/data/registry.yaml").write_text(yaml.safe_dump({"qwen2.5-0.5b": entry}))
    return root


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch, toy_project):
    """No network, a cache of this test's own, and no folder of the user."""
    monkeypatch.setenv("TWELVEFOLD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TWELVEFOLD_DATA", raising=False)
    monkeypatch.chdir(toy_project)
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: pytest.fail(f"touched the network: {address}"))
    study._pools.cache_clear()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a forked process must not wait for threads that it has not got
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def supplied(written, monkeypatch):
    monkeypatch.setenv("TWELVEFOLD_DATA", str(written))
    return written


@pytest.fixture
def own(written, tmp_path, monkeypatch):
    """A copy of the supplied folder, to be damaged."""
    shutil.copytree(written, tmp_path / "own")
    monkeypatch.setenv("TWELVEFOLD_DATA", str(tmp_path / "own"))
    return tmp_path / "own"


def points(**changes):
    return language_model_points(SimpleNamespace(**(vars(TINY) | changes)), seed=10_000)


def bytes_of(result):
    return {name: value.tobytes() if isinstance(value, np.ndarray) else value for name, value in result.items()}


def encoded(texts):
    tokenizer = model.load_tokenizer(model.model_config())
    return [tokenizer.encode(text, add_special_tokens=False).ids for text in texts], mmlu.letter_tokens(tokenizer)


class TestWhatIsNeeded:
    def test_everything_missing_is_said_at_once(self, tmp_path, monkeypatch):
        for ask in (require_data, points):
            with pytest.raises(DataMissing) as caught:
                ask()
            for said in ("1.0 GB", "Apache-2.0", "hf download Qwen/Qwen2.5-0.5B", "166.0 MB", "MIT", "tar -xf data.tar",
                         "360.0 MB", "ODC-BY", "hf download allenai/c4", "TWELVEFOLD_DATA", "not set"):
                assert said in str(caught.value)
        monkeypatch.setenv("TWELVEFOLD_DATA", str(tmp_path))
        with pytest.raises(DataMissing, match=f"now: {tmp_path}"):
            require_data()

    def test_the_table_of_needs_is_the_same_on_every_machine(self, supplied):
        frame = language_model_data()
        assert frame["name"].tolist() == ["qwen2.5-0.5b", "mmlu", "c4_sample"]
        assert frame["gigabytes"].tolist() == [1.0, 0.17, 0.36] and all("type: " in how for how in frame["how"])
        assert str(supplied) not in frame.to_csv()

    def test_the_fingerprint_follows_the_files(self, own):
        before = require_data()
        assert len(before) == 16 and before == require_data()
        (own / "mmlu/dev/._marketing_dev.csv").write_text("x")  # tar on macOS writes such files
        assert require_data() == before
        with open(own / "mmlu/dev/marketing_dev.csv", "a") as stream:
            stream.write("q,a,b,c,d,A\n")
        assert require_data() != before
        point = points()[0]
        with pytest.raises(DataDamaged, match="fingerprint.*language_model_points"):
            language_model_run(**(point | {"data": before}))

    def test_importing_the_study_does_not_import_transformers(self):
        code = ("import sys, twelvefold.papers.random_scaling.language_model as m;"
                "assert not {'transformers', 'tokenizers', 'safetensors'} & set(sys.modules), 'loaded'")
        subprocess.run([sys.executable, "-c", code], check=True)


class TestDamage:
    @pytest.mark.parametrize(
        ("file", "content", "says"),
        [
            ("mmlu/test/marketing_test.csv", b"", "is empty"),
            ("mmlu/test/marketing_test.csv", b"q,a,b,c,d,A\nq,a,b,c,A\n", "line 2 has 5 fields, expected are 6"),
            ("mmlu/auxiliary_train/race.csv", b"q,a,b,c,d,E\n", "line 1 has the answer 'E'"),
            ("mmlu/dev/marketing_dev.csv", b"\xff\xfe,a,b,c,d,A\n", "not a csv file in UTF-8"),
            ("mmlu/dev/marketing_dev.csv", b'"q,a,b,c,d,A\n', "cut off"),
            ("c4_sample/en/c4-train.00000-of-01024.json.gz", b"plain text", "cannot be read after line 0"),
            ("c4_sample/en/c4-train.00000-of-01024.json.gz", gzip.compress(b"", mtime=0), "has no line"),
            ("c4_sample/en/c4-train.00000-of-01024.json.gz", gzip.compress(b"{'text'", mtime=0), "line 1 is not JSON"),
            ("c4_sample/en/c4-train.00000-of-01024.json.gz", gzip.compress(b'{"url": "x"}', mtime=0),
             "no JSON object with a f"),
            ("qwen2.5-0.5b/config.json", b"{", "is not JSON"),
            ("qwen2.5-0.5b/config.json", b'{"model_type": "llama"}', "model_type 'qwen2'"),
            ("qwen2.5-0.5b/config.json", b'{"model_type": "qwen2"}', "eos_token_id None"),
            ("qwen2.5-0.5b/tokenizer.json", b"{}", "is not a tokenizer"),
            ("qwen2.5-0.5b/model.safetensors", b"junk", "not a safetensors file"),
        ],
    )  # fmt: skip
    def test_a_damaged_file_is_named_with_the_cure(self, own, file, content, says):
        (own / file).write_bytes(content)
        with pytest.raises(DataDamaged, match=says) as caught:
            language_model_run(**points(lm_steps=1, lm_warmup=0)[0])
        assert str(own / file) in str(caught.value) and "type: " in str(caught.value)

    def test_a_shard_that_was_cut_off(self, own):
        shard = own / "c4_sample/en/c4-train.00000-of-01024.json.gz"
        shard.write_bytes(shard.read_bytes()[:-200])
        with pytest.raises(DataDamaged, match=r"cannot be read after line \d+.*cut off.*hf download allenai/c4"):
            list(corpus.documents([shard]))

    def test_weights_that_lack_a_tensor_or_their_end(self, own):
        file = own / "qwen2.5-0.5b/model.safetensors"
        whole, tensors = file.read_bytes(), load_file(file)
        del tensors["model.layers.1.mlp.up_proj.weight"]
        save_file(tensors, file)
        with pytest.raises(DataDamaged, match=r"up_proj.weight of shape \[48, 32\].*no such tensor.*hf download Qwen"):
            model.load_model(torch.Generator())
        file.write_bytes(whole[:-10])
        with pytest.raises(DataDamaged, match="it was cut off or changed.*hf download Qwen"):
            require_data()

    def test_a_tokenizer_of_another_model(self, own):
        file = own / "qwen2.5-0.5b/config.json"
        file.write_text(json.dumps(CONFIG | {"vocab_size": 100}))
        with pytest.raises(DataDamaged, match="tokens, more than the 100 of config.json"):
            model.load_tokenizer(model.model_config())


class TestModel:
    def test_only_the_last_attention_and_the_head_are_new_and_the_head_is_untied(self, supplied):
        state = torch.random.get_rng_state()
        network = model.load_model(seeds.torch_generator(10_000, 0, "new weights"))
        assert torch.equal(torch.random.get_rng_state(), state)  # no global draw
        stored = load_file(supplied / "qwen2.5-0.5b/model.safetensors")
        loaded = network.state_dict()
        new = {f"model.layers.1.self_attn.{part}_proj.weight" for part in "qkvo"} | {"lm_head.weight"}
        biases = {f"model.layers.1.self_attn.{part}_proj.bias" for part in "qkv"}
        assert set(model.new_names(network.config)) == new | biases
        assert set(loaded) == set(stored) | {"lm_head.weight"}
        for name in set(loaded) - new - biases:
            assert torch.equal(loaded[name], stored[name].float()), name
        for name in new:
            assert 0.015 < loaded[name].std() < 0.025 and loaded[name].dtype == torch.float32
            assert name == "lm_head.weight" or not torch.equal(loaded[name], stored[name].float())
        assert all(not loaded[name].any() for name in biases)
        assert network.lm_head.weight.data_ptr() != network.model.embed_tokens.weight.data_ptr()
        assert network.config.rope_parameters["rope_theta"] == 1_000_000.0

    def test_runs_differ_and_a_run_repeats(self, supplied):
        generators = [seeds.torch_generator(10_000, run, "new weights") for run in (0, 1, 0)]
        heads = [model.load_model(generator).lm_head.weight for generator in generators]
        assert not torch.equal(heads[0], heads[1]) and torch.equal(heads[0], heads[2])


class TestMixture:
    def rows(self, count, start):
        return torch.arange(start, start + count, dtype=torch.int32)[:, None].expand(-1, 3)

    @pytest.mark.parametrize("share", [0.0, 0.075, 0.2, 1.0])
    def test_the_share_and_each_row_once_before_any_twice(self, share):
        mixture = Mixture(self.rows(50, 0), self.rows(20, 1000), share, 10_000, 3)
        batches = [mixture.batch(step, 8) for step in range(25)]
        rows, kinds = torch.cat([rows for rows, _ in batches])[:, 0].numpy(), np.concatenate([k for _, k in batches])
        assert ((rows >= 1000) == kinds).all() and kinds.sum() == mixture.before(200)
        for number in range(1, 201):  # evenly spread, in every stretch from the start
            assert abs(kinds[:number].sum() - share * number) <= 1
        for kind, size in ((False, 50), (True, 20)):
            taken = rows[kinds == kind]
            for start in range(0, len(taken) - size + 1, size):
                assert len(set(taken[start : start + size])) == size
            assert not len(taken) > 2 * size or (taken[:size] != taken[size : 2 * size]).any()

    def test_a_batch_is_a_function_of_its_step_and_shares_have_one_order(self):
        made = [Mixture(self.rows(50, 0), self.rows(20, 1000), share, 10_000, 3) for share in (0.2, 0.2, 0.5)]
        later = made[1].batch(7, 8)[0]
        for step in range(8):
            rows = made[0].batch(step, 8)[0]
        assert torch.equal(rows, later)
        texts = [torch.cat([m.batch(step, 8)[0] for step in range(6)])[:, 0] for m in (made[0], made[2])]
        few, many = (rows[rows < 1000][:20] for rows in texts)
        assert torch.equal(few, many)
        other = Mixture(self.rows(50, 0), self.rows(20, 1000), 0.2, 10_000, 4)
        assert not torch.equal(other.batch(7, 8)[0], later)

    def test_mistakes(self):
        with pytest.raises(ValueError, match="share = 1.5"):
            Mixture(self.rows(5, 0), self.rows(5, 0), 1.5, 0, 0)
        with pytest.raises(ValueError, match="3 tokens, questions of 2"):
            Mixture(self.rows(5, 0), self.rows(5, 0)[:, :2], 0.5, 0, 0)


class TestText:
    def test_packed_rows_are_the_texts_end_to_end(self, supplied):
        tokenizer = model.load_tokenizer(model.model_config())
        texts = ["the old river", "ships", "a small town"] * 500
        rows = corpus.packed(iter(texts), tokenizer, 0, 7, 100)
        assert rows.shape == (100, 7) and rows.dtype == torch.int32
        plain = [token for text in texts for token in [*tokenizer.encode(text).ids, 0]]
        assert rows.flatten().tolist() == plain[:700]
        assert len(corpus.packed(texts[:3], tokenizer, 0, 7, 100)) == len(plain[: len(plain) // 500]) // 7
        with pytest.raises(ValueError, match="do not fill one row of 99"):
            corpus.packed(["ships"], tokenizer, 0, 99, 1)
        with pytest.raises(ValueError, match="width = 0"):
            corpus.packed(["ships"], tokenizer, 0, 0, 1)

    def test_only_as_much_is_read_as_is_needed(self, supplied):
        def endless():
            while True:
                yield "the old river carries cold water"

        tokenizer = model.load_tokenizer(model.model_config())
        assert corpus.packed(endless(), tokenizer, 0, 16, 3).shape == (3, 16)

    def test_a_question_and_its_prompt(self, supplied):
        questions = mmlu.by_subject(mmlu.TEST)
        assert list(questions) == ["abstract_algebra", "marketing"] and sum(map(len, questions.values())) == 10
        first = questions["marketing"][0]
        assert first.choices[:2] == ("None", "NA")
        text = 'A "quoted", longer\nquestion\nA. None\nB. NA\nC. {}\nD. {}\nAnswer:'.format(*first.choices[2:])
        assert mmlu.question_text(first, False) == text
        assert mmlu.question_text(first, True) == f"{text} {'ABCD'[first.answer]}"
        assert len(mmlu.training_questions()) == 40 + 10

    def test_shots_stand_before_the_question(self, supplied):
        subjects, zero, answers = mmlu.question_prompts(0)
        _, five, _ = mmlu.question_prompts(5)
        assert subjects == ["abstract_algebra"] * 5 + ["marketing"] * 5 and len(answers) == 10
        dev = mmlu.by_subject(mmlu.DEV)["marketing"]
        assert five[7] == "".join(mmlu.question_text(question, True) + "\n\n" for question in dev) + zero[7]
        with pytest.raises(DataDamaged, match="has 5 questions, needed are 6"):
            mmlu.question_prompts(6)
        with pytest.raises(ValueError, match="shots = -1"):
            mmlu.question_prompts(-1)

    def test_a_tokenizer_without_single_letters_is_refused(self):
        from tokenizers import Tokenizer, models, pre_tokenizers

        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.add_tokens(["Answer:", " "] + list("ABCD"))
        with pytest.raises(ValueError, match="must be one token"):
            mmlu.letter_tokens(tokenizer)


class TestScoring:
    @pytest.mark.parametrize("tokens", [1, 200, 16_384])
    def test_it_equals_a_plain_loop_over_single_questions(self, supplied, tokens):
        network = model.load_model(seeds.torch_generator(10_000, 0, "new weights"))
        _, prompts, answers = mmlu.question_prompts(2)
        prompts[3] = prompts[3][-60:]  # of quite different lengths
        ids, letters = encoded(prompts)
        scores = mmlu.graded(mmlu.letter_logits(network, ids, letters, tokens=tokens), answers)
        for i, prompt in enumerate(ids):
            with torch.no_grad():
                logits = network(torch.tensor([prompt])).logits[0, -1, letters]
            assert scores.correct[i] == (int(logits.argmax()) == answers[i])
            assert scores.gold_probability[i] == pytest.approx(float(logits.softmax(0)[answers[i]]), abs=1e-6)
        assert scores.gold_probability.dtype == np.float32 and len(scores.correct) == 10

    def test_a_model_that_always_prefers_the_right_letter(self, supplied):
        _, prompts, answers = mmlu.question_prompts(0)
        ids, letters = encoded(prompts)
        known = {tuple(prompt): int(answer) for prompt, answer in zip(ids, answers, strict=True)}
        right = doctored(known, letters)
        scores = mmlu.graded(mmlu.letter_logits(right, ids, letters), answers)
        assert scores.correct.all() and (scores.gold_probability > 0.99).all()
        wrong = doctored({prompt: (answer + 1) % 4 for prompt, answer in known.items()}, letters)
        scores = mmlu.graded(mmlu.letter_logits(wrong, ids, letters), answers)
        assert not scores.correct.any() and (scores.gold_probability < 0.01).all()

    def test_equal_logits_and_mistakes(self, supplied):
        scores = mmlu.graded(torch.zeros(2, 4), np.array([0, 1]))
        assert scores.correct.tolist() == [True, False] and scores.gold_probability.tolist() == [0.25, 0.25]
        with pytest.raises(ValueError, match=r"logits has shape \[2, 3\]"):
            mmlu.graded(torch.zeros(2, 3), np.array([0, 1]))
        network = model.load_model(torch.Generator())
        for prompt in ([], [1] * 513):
            with pytest.raises(ValueError, match=rf"prompts\[0\] has {len(prompt)} tokens"):
                mmlu.letter_logits(network, [prompt], [1, 2, 3, 4])


def doctored(known, letters):
    """A model whose hidden state at the end of a known prompt points at one letter, and elsewhere at none."""
    head = torch.zeros(400, 4)
    head[letters] = torch.eye(4)

    def body(input_ids, use_cache):
        hidden = torch.zeros(*input_ids.shape, 4)
        for row, ids in enumerate(input_ids.tolist()):
            for prompt, letter in known.items():
                if tuple(ids[: len(prompt)]) == prompt:
                    hidden[row, len(prompt) - 1, letter] = 20.0
        return SimpleNamespace(last_hidden_state=hidden)

    return SimpleNamespace(model=body, lm_head=SimpleNamespace(weight=head),
                           config=SimpleNamespace(max_position_embeddings=512))


class TestRun:
    def test_training_goes_down_and_everything_is_returned(self, supplied):
        point = points(lm_steps=40)[0]
        result = language_model_run(**point)
        losses = result["training_loss"]
        assert losses.dtype == np.float32 and losses.shape == (40,)
        assert losses[:2].min() > 5.5 and losses[-3:].mean() < losses[:3].mean() - 2  # from about log 400 = 5.99
        assert result["loss"] < 5 and result["subjects"] == ["abstract_algebra", "marketing"]
        assert result["questions"].tolist() == [5, 5] and (result["correct"] <= 5).all()
        assert result["gold_probability"].shape == (10,) and result["gold_probability"].dtype == np.float32
        assert abs(result["question_rows"] - 0.25 * 160) <= 1
        assert bytes_of(result) == bytes_of(language_model_run(**point))

    def test_before_training_the_loss_is_that_of_a_guess(self, supplied):
        network = model.load_model(torch.Generator())
        rows = torch.randint(0, 380, (5, 9), generator=torch.Generator())
        whole = training.held_out_loss(network, rows, 5, "float32")
        assert whole == pytest.approx(np.log(400), abs=0.1)
        assert training.held_out_loss(network, rows, 2, "float32") == pytest.approx(whole, abs=1e-5)

    def test_gradients_in_parts_are_those_of_the_batch(self, supplied):
        whole, parts = (language_model_run(**points(lm_micro_batch=m, lm_steps=3)[0])["training_loss"] for m in (4, 3))
        np.testing.assert_allclose(whole, parts, atol=1e-4)

    def test_bfloat16_is_close_to_float32(self, supplied):
        exact, rough = (language_model_run(**points(lm_precision=p)[0]) for p in ("float32", "bfloat16"))
        assert 0 < np.abs(exact["training_loss"] - rough["training_loss"]).max() < 0.1

    def test_killed_in_the_middle_it_resumes_to_the_same_bytes(self, supplied, tmp_path):
        point = points()[0]
        expected = bytes_of(language_model_run(**point))
        file, update = tmp_path / "checkpoint.npz", training._update

        def killing(network, optimiser, rows, recipe, step, micro_batch):
            if step == 7:
                os.kill(os.getpid(), signal.SIGKILL)
            return update(network, optimiser, rows, recipe, step, micro_batch)

        child = os.fork()
        if child == 0:
            training._update = killing
            language_model_run(**point, checkpoint=Checkpoint(file, every=0.0))
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        assert Checkpoint(file).load()["step"] == 7
        done = []
        resumed = training._update
        try:
            training._update = lambda *given: done.append(given[4]) or update(*given)
            result = language_model_run(**point, checkpoint=Checkpoint(file, every=0.0))
        finally:
            training._update = resumed
        assert done == [7, 8, 9, 10, 11] and bytes_of(result) == expected

    def test_through_the_sweep_to_the_table_of_runs(self, supplied):
        made = points()
        assert [(point["share"], point["run"]) for point in made] == [(0.25, 0), (0.25, 1), (0.5, 0), (0.5, 1)]
        results = sweep(language_model_run, made)
        frame = language_model_runs(made, results)
        assert frame.columns.tolist() == ["share", "run", "accuracy", "answer_probability", "loss", "questions"]
        assert frame["share"].tolist() == [0.25, 0.25, 0.5, 0.5] and frame["run"].tolist() == [0, 1, 0, 1]
        assert frame["accuracy"].tolist() == [result["correct"].sum() / 10 for result in results]
        means = [result["gold_probability"].mean() for result in results]
        np.testing.assert_allclose(frame["answer_probability"], means, rtol=1e-6)
        assert frame["loss"].nunique() == 4 and (frame["questions"] == 10).all()
        with pytest.raises(ValueError):
            language_model_runs(made, results[:1])

    @pytest.mark.parametrize(("change", "named"), [
        ({"share": -0.1}, "share = -0.1"), ({"steps": 0}, "steps = 0"), ({"micro_batch": 0}, "micro_batch = 0"),
        ({"precision": "float8"}, "float8"), ({"held_out": 0}, "rows = 0"), ({"shots": -1}, "shots = -1"),
    ])  # fmt: skip
    def test_mistakes_are_named(self, supplied, change, named):
        with pytest.raises(ValueError, match=named):
            language_model_run(**(points(lm_steps=2, lm_warmup=0)[0] | change))

    def test_the_scale_of_the_paper_makes_its_grid(self, supplied):
        made = language_model_points(SimpleNamespace(**LANGUAGE_MODEL_SCALE), seed=10_000)
        assert len(made) == 160 and {point["share"] for point in made} == {0.075, 0.2}


@pytest.mark.gpu
def test_on_cuda_with_autocast(supplied):
    result = language_model_run(**points(lm_precision="bfloat16", lm_steps=40)[0], device="cuda")
    assert result["loss"] < 5
