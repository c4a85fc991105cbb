"""moyai verify: is the mixture the same function as its parent?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moyai.cli.arguments import AsJson

if TYPE_CHECKING:
    from moyai.cli.description import Description


def verify(
    dense: Annotated[Path, typer.Argument(metavar="DENSE", help="Checkpoint directory.")],
    moe: Annotated[Path, typer.Argument(metavar="MOE", help="Checkpoint directory to compare with it.")],
    text: Annotated[
        str, typer.Option(metavar="FILE", help="Real text on which both are run: a file or starter:NAME.")
    ] = "starter:ja_text",
    tokens: Annotated[int, typer.Option(metavar="N", min=1, help="How much of it.")] = 2048,
    as_json: AsJson = False,
) -> None:
    """Tell whether two checkpoints are the same function.

    Both are run on real text, layer by layer in little memory, and compared: logits, losses, and every layer's
    feed-forward part on the same input.  The certificate is written to MOE/certificate.json; the exit code is 0 if
    the two are one function and 1 if not.
    """
    from moyai.cli.output import print_data, print_json
    from moyai.cli.progress import make_progress
    from moyai.recipe.architecture import read_architecture
    from moyai.recipe.settings import VerifySettings
    from moyai.recipe.sources import corpus_file

    read_architecture(dense)
    read_architecture(moe)
    corpus_file(text)

    from moyai.stages.verify import CERTIFICATE_NAME, make_certificate, write_certificate

    tolerance = VerifySettings.model_fields["tolerance"].default
    progress = make_progress()
    certificate = {"model": moe.absolute().name, "against": dense.absolute().name}
    certificate |= make_certificate(dense, moe, text=text, num_tokens=tokens, tolerance=tolerance, progress=progress)
    try:
        write_certificate(certificate, moe)
    except OSError as error:
        progress.note(f"{moe / CERTIFICATE_NAME} was not written: {error.strerror}")
    if as_json:
        print_json(certificate)
    else:
        print_data(describe_certificate(certificate).to_renderable())
    if not certificate["same_function"]:
        raise typer.Exit(1)


def describe_certificate(certificate: Mapping[str, Any]) -> Description:
    """A certificate as a person reads it: the verdict first, the layers in a table."""
    from moyai.cli.description import Description

    facts: dict[str, Any] = {"verdict": _verdict(certificate)}
    facts |= {"because": "; ".join(certificate["reasons"])} if certificate["reasons"] else {}
    left_out = {"verdict", "reasons", "same_function", "layers"}
    facts |= {name: value for name, value in certificate.items() if name not in left_out and value is not None}
    return Description("certificate", facts, {"layers": [_layer_row(layer) for layer in certificate["layers"]]})


def _verdict(certificate: Mapping[str, Any]) -> str:
    losses = f"loss {certificate['loss_against']:.4f} → {certificate['loss']:.4f} nats per token"
    method = f", made by {certificate['method']}" if certificate["method"] else ""
    return f"{certificate['verdict']}{method}: {losses}"


def _layer_row(layer: Mapping[str, Any]) -> dict[str, Any]:
    row = {name: layer[name] for name in ("layer", "max_abs_hidden_difference", "max_local_ulp")}
    if "router" in layer:
        load = layer["router"]["load"]
        row |= {"least_used": min(load), "most_used": max(load), "router_entropy": layer["router"]["entropy_of_mean"]}
        row |= {"entropy_per_token": layer["router"]["mean_entropy"]}
    return row
