"""Which programs read a mixture of moyai's and one of mergekit's, and whether they compute the same."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import mergekit_peer
from benchmarks.benchmark import Benchmark
from benchmarks.document import table
from benchmarks.workplace import ROOT, Workplace

SETTINGS: dict[str, Any] = {"size": "tiny", "seeds": [1, 2], "llama_cpp_sdist": "llama-cpp-python==0.3.36"}
_LOGITS = str(ROOT / "benchmarks" / "programs" / "reference_logits.py")


def measure(workplace: Workplace) -> dict[str, Any]:
    """Every reader on every model; the installed transformers is the reference."""
    old_python = str(workplace.peer("transformers4") / "python")
    converter = _converter(workplace)
    found: dict[str, Any] = {}
    for name, model in _models(workplace).items():
        reference, other = workplace.scratch / "reference.npy", workplace.scratch / "other.npy"
        new = workplace.ask([workplace.python, _LOGITS, str(model), str(reference)])
        old = workplace.ask([old_python, _LOGITS, str(model), str(other)])
        far = [workplace.python, "-c", _DIFFERENCE, str(reference), str(other)]
        gguf = _by_llama_cpp(workplace, converter, model, reference)
        found[name] = {"new": new, "old": old | {"difference": workplace.ask(far)}, "llama_cpp": gguf}
    return found


# in a process of its own, as numpy would make the measuring process large
_DIFFERENCE = "import numpy, sys; first, second = map(numpy.load, sys.argv[1:]); print(float(abs(first - second).max()))"


def _models(workplace: Workplace) -> dict[str, Path]:
    first, second = (workplace.model(SETTINGS["size"], seed) for seed in SETTINGS["seeds"])
    config = workplace.scratch / "configs" / "readers.yml"
    mergekit_peer.write_config(config, first, [first, second], gate_mode="random")
    made = {name: workplace.out(name.replace(" ", "-")) for name in ("moyai upcycle", "moyai merge", "mergekit-moe")}
    counts = ["--experts", "4", "--active", "2", "--method", "drop"]
    workplace.call([workplace.moyai, "upcycle", str(first), str(made["moyai upcycle"]), *counts])
    workplace.call([workplace.moyai, "merge", str(config), str(made["moyai merge"])])
    workplace.call(mergekit_peer.command(workplace, config, made["mergekit-moe"]))
    return made


def _converter(workplace: Workplace) -> Path:
    """llama.cpp's converter, out of the source package that carries it; nothing of it is built."""
    directory = workplace.scratch / "llama.cpp"
    if not directory.exists():
        downloads = workplace.scratch / "downloads"
        wanted = ["--no-deps", "--no-binary", ":all:", "--dest", str(downloads), SETTINGS["llama_cpp_sdist"]]
        workplace.call([workplace.python, "-m", "pip", "download", *wanted])
        (archive,) = downloads.glob("llama_cpp_python-*.tar.gz")
        partial = workplace.scratch / "llama.cpp.partial"
        with tarfile.open(archive) as tar:
            tar.extractall(partial, filter="data")
        partial.rename(directory)
    (script,) = directory.glob("*/vendor/llama.cpp/convert_hf_to_gguf.py")
    return script


def _by_llama_cpp(workplace: Workplace, converter: Path, model: Path, reference: Path) -> dict[str, Any]:
    gguf = workplace.out("converted.gguf")
    command = [workplace.python, str(converter), str(model), "--outfile", str(gguf), "--outtype", "f32"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"refused": done.stderr.strip().splitlines()[-1]}
    found: dict[str, Any] = workplace.ask(
        [workplace.python, "-m", "benchmarks.programs.gguf_log_probabilities", str(gguf), str(reference)]
    )
    gguf.unlink()
    return found


def section(figures: Mapping[str, Any]) -> str:
    """The section in the document."""
    any_model = next(iter(figures.values()))
    new, old = (f"transformers {any_model[reader]['transformers']}" for reader in ("new", "old"))
    rows = []
    for name, found in figures.items():
        gguf = found["llama_cpp"]
        refused = f"refuses it: `{gguf['refused']}`" if "refused" in gguf else ""
        rows.append(
            [
                f"`{name}`",
                _loaded(found["new"]),
                f"{_loaded(found['old'])}; largest difference of a logit {found['old']['difference']:.1e}",
                refused or f"reads it; largest difference of a log-probability {gguf['difference']:.1e}",
            ]
        )
    return f"""## Who reads the result

Small mixtures, read by other programs; logits in float32 over 64 tokens are compared with those of {new}.
llama.cpp's converter is the one in {SETTINGS["llama_cpp_sdist"]}; its GGUF file (f32) is run by xllamacpp.

{table(["made by", new, old, "llama.cpp's converter, then llama.cpp"], rows)}"""


def _loaded(found: Mapping[str, Any]) -> str:
    if found["missing"] or found["unexpected"]:
        drawn, unused = found["missing"], found["unexpected"]
        return f"**loads with {drawn} tensors drawn at random** and {unused} not used, and only warns"
    return "reads it"


BENCHMARK = Benchmark("readers", SETTINGS, measure, section)
