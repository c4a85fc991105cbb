"""Do moyai and mergekit-moe make the same tensors of the same config file?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks import mergekit_peer
from benchmarks.benchmark import Benchmark
from benchmarks.document import table
from benchmarks.workplace import Workplace

_PROMPTS = [
    {
        "positive_prompts": ["今日は日本の歴史について話しましょう。", "俳句を一つ詠んでください。", "東京"],
        "negative_prompts": ["Write a program that sorts a list.", "for (int i = 0; i < n; i++)"],
    },
    {"positive_prompts": ["Explain how photosynthesis works in plants.", "What is the capital of France?"]},
]
SETTINGS: dict[str, Any] = {
    "size": "tiny",
    "seeds": [1, 2],
    "modes": ["random", "cheap_embed", "hidden", "hidden_avg"],
    "prompts": _PROMPTS,
}


def measure(workplace: Workplace) -> dict[str, Any]:
    """One comparison for each gate mode and each of mergekit's settings that is timed elsewhere."""
    experts = [workplace.model(SETTINGS["size"], seed) for seed in SETTINGS["seeds"]]
    found: dict[str, Any] = {}
    for mode in SETTINGS["modes"]:
        prompts = None if mode == "random" else SETTINGS["prompts"]
        config = workplace.scratch / "configs" / f"{mode}.yml"
        mergekit_peer.write_config(config, experts[0], experts, gate_mode=mode, prompts=prompts)
        ours = workplace.out("ours")
        workplace.call([workplace.moyai, "merge", str(config), str(ours), "--gates", "mergekit"])
        for name, options in mergekit_peer.OPTIONS.items() if mode == "random" else [("as it comes", ())]:
            theirs = workplace.out("theirs")
            workplace.call(mergekit_peer.command(workplace, config, theirs, options))
            compare = [workplace.python, "-m", "benchmarks.programs.compare_weights", str(ours), str(theirs)]
            found.setdefault(mode, {})[name] = workplace.ask(compare)
    return found


def section(figures: Mapping[str, Any]) -> str:
    """The section in the document."""
    rows = []
    for mode, by_options in figures.items():
        for name, found in by_options.items():
            counts, routers = found["equal"], found["routers"]
            total = counts["experts"] + counts["other"]
            drawn = mode == "random"
            rows.append(
                [
                    f"`{mode}`" + (f", mergekit {name}" if drawn else ""),
                    f"{total - len(found['different'])} of {total}",
                    str(len(found["left_over"])),
                    "drawn" if drawn else f"{routers['share_equal']:.1%}",
                    "" if drawn else f"{routers['largest_difference']:.1e} of {routers['largest_value']:.2f}",
                    "" if drawn else str(routers["largest_steps_of_large_values"]),
                    "" if drawn else f"{routers['smallest_cosine']:.7f}",
                ]
            )
    heads = [
        "gate mode",
        "tensors equal to the byte",
        "left over",
        "router values equal",
        "largest difference",
        "in bfloat16 steps",
        "smallest cosine",
    ]
    return f"""## The same weights as mergekit

`moyai merge CONFIG.yml OUT --gates mergekit` and mergekit-moe {mergekit_peer.VERSION} on the same config: two random models,
2 experts, Japanese and English prompts, one expert with negative ones.
mergekit's stacked experts are compared expert by expert; the routers stand apart.
Steps are counted for values above a tenth of their row's largest.

{table(heads, rows)}"""


BENCHMARK = Benchmark("same_weights", SETTINGS, measure, section)
