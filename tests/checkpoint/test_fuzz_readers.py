"""A small run of `tools/fuzz_readers.py`, and proof that it would see what it looks for."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fuzzer forks and limits memory as Linux does")


def run(*command):
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False, cwd=TOOLS)


def test_damaged_files_are_accepted_or_refused(tmp_path):
    done = run("fuzz_readers.py", "--files", "150", "--seed", "1", "--out", str(tmp_path / "failures"))
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {line.split()[0]: line.split()[1:5] for line in done.stdout.splitlines()[1:]}
    assert set(rows) == {"safetensors", "index", "gguf", "torch"}
    for num_files, accepted, refused, failed in rows.values():
        assert int(num_files) == int(accepted) + int(refused) == 150
        assert failed == "0"
        assert int(accepted) > 0
    assert not (tmp_path / "failures").exists()


FUZZ = """
import os, sys, time
import fuzz_readers
from moyai.errors import InputFileError
fuzz_readers._SECONDS = 1.0
calls = 0
def read(path):
    global calls
    calls += 1
    if calls == 3:
        {fault}
fuzz_readers.READERS["safetensors"] = read
sys.exit(fuzz_readers.main(["--files", "4", "--kind", "safetensors", "--out", sys.argv[1]]))
"""


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("raise KeyError('moyai')", "KeyError: 'moyai'"),
        ("os.abort()", "the process died with exit code -6"),
        ("os._exit(0)", "the process died with exit code 0"),
        ("time.sleep(60)", "took more than 1 seconds"),
        ("bytearray(1 << 30)", "MemoryError"),
        ("open(path, 'ab')", "Forbidden: open"),
        ("os.system('true')", "Forbidden: os.system"),
        ("os.remove(path)", "Forbidden: os.remove"),
        ("raise InputFileError('Two sentences.  Or one and a stop.')", "a message that is no sentence"),
        ("raise InputFileError('\\ud800')", "a message that is not Unicode"),
    ],
)
def test_the_fuzzer_sees_what_it_looks_for(tmp_path, fault, told):
    done = run("-c", FUZZ.format(fault=fault), str(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    # A file is read once before the first that counts, and each further child reads anew.
    assert "safetensors 1, kept as" in done.stdout
    assert told in done.stdout
    assert list((tmp_path / "safetensors-0-1").iterdir())
