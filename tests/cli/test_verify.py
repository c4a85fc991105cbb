"""`moyai verify` on tiny models: what it says, what it writes and how it exits."""

import json

import pytest

from moyai.checkpoint.model_directory import write_model
from moyai.checkpoint.reader import CheckpointReader
from moyai.checkpoint.upcycle import plan_upcycle
from moyai.progress import SilentProgress
from moyai.recipe.architecture import read_architecture, read_config
from moyai.recipe.settings import UpcycleSettings
from tiny import ENGLISH, JAPANESE, write_tiny_checkpoint, write_tiny_tokenizer


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A dense model, and what `copy` and `drop` make of it."""
    root = tmp_path_factory.mktemp("verify")
    dense = write_tiny_checkpoint(root / "dense")
    (root / "text.txt").write_text((ENGLISH + JAPANESE) * 4, encoding="utf-8")
    for method in ("copy", "drop"):
        settings = UpcycleSettings(experts=4, active=2, method=method)
        mixture, planned = plan_upcycle(CheckpointReader(dense), read_architecture(dense), settings)
        (root / method).mkdir()
        write_model(
            root / method,
            mixture,
            planned,
            like=read_config(dense),
            tokenizer_dir=dense,
            shard_bytes=10**9,
            progress=SilentProgress(),
        )
    return root


def verify(moyai, models, name, *words):
    return moyai("verify", models / "dense", models / name, "--text", models / "text.txt", "--tokens", "300", *words)


def test_a_copy_passes(moyai, models):
    outcome = verify(moyai, models, "copy")
    assert outcome.code == 0, outcome.err
    lines = [" ".join(line.split()) for line in outcome.out.splitlines()]
    assert lines[1].startswith("verdict PASS, made by copy: loss")
    assert not any(line.startswith("because") for line in lines)
    (heading,) = (place for place, line in enumerate(lines) if line.startswith("layer max abs hidden difference"))
    assert [line.split()[0] for line in lines[heading + 1 :]] == ["0", "1"]


def test_another_function_exits_with_1_and_says_what_it_is(moyai, models):
    outcome = verify(moyai, models, "drop")
    assert outcome.code == 1
    words = " ".join(outcome.out.split())
    certificate = json.loads((models / "drop" / "certificate.json").read_text())
    losses = f"loss {certificate['loss_against']:.4f} → {certificate['loss']:.4f} nats per token"
    assert f"verdict NOT THE SAME FUNCTION: {losses} because layers whose feed-forward parts differ" in words


def test_the_certificate_is_beside_the_model(moyai, models):
    outcome = verify(moyai, models, "copy", "--json")
    certificate = json.loads((models / "copy" / "certificate.json").read_text())
    assert certificate == json.loads(outcome.out)
    assert (certificate["model"], certificate["against"]) == ("copy", "dense")
    assert (certificate["same_function"], certificate["tolerance"]) == (True, 1e-3)
    assert (certificate["num_tokens"], certificate["text"]) == (300, str(models / "text.txt"))
    assert not list((models / "copy").glob("*.partial"))


def test_a_directory_that_cannot_be_written(moyai, models, tmp_path):
    readable = tmp_path / "readable"
    readable.mkdir()
    for path in (models / "copy").iterdir():
        (readable / path.name).symlink_to(path)
    (readable / "certificate.json").unlink(missing_ok=True)
    (readable / "certificate.json").mkdir()  # a file cannot take a directory's place, whoever asks
    outcome = verify(moyai, models, readable)
    assert outcome.code == 0
    assert "PASS" in outcome.out
    assert "certificate.json was not written: Is a directory" in outcome.err


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda root: (root / "text.txt").write_text(""), "text.txt has no text"),
        (lambda root: write_tiny_tokenizer(root / "copy", vocab_size=270), "into other tokens"),
        (lambda root: (root / "copy" / "tokenizer.json").unlink(), "copy has no tokenizer.json"),
    ],
)
def test_what_cannot_be_compared(moyai, models, tmp_path, break_it, message):
    root = tmp_path / "models"
    for path in models.rglob("*"):
        if path.is_file():
            (root / path.relative_to(models)).parent.mkdir(parents=True, exist_ok=True)
            (root / path.relative_to(models)).write_bytes(path.read_bytes())
    break_it(root)
    outcome = verify(moyai, root, "copy")
    assert outcome.code == 2, outcome.err
    assert message in outcome.err
