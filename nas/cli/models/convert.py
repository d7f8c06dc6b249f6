"""Commands that exchange models with other programs: convert, export, configurations."""

from pathlib import Path
from typing import Annotated, Any

import typer

from nas.cli.shared import common, paths
from nas.cli.shared.run_flags import Json
from search_spaces.architecture import save_architecture
from search_spaces.errors import ConfigError
from search_spaces.files import read_text, write_text
from search_spaces.mmdet.config_reader import architecture_from_mmdet
from search_spaces.mmdet.config_writer import mmdet_config
from search_spaces.zoo import resolve_architecture


def convert(
    model: Annotated[Path, typer.Argument(help="A SCRFD .onnx file or mmdetection .pth file.")],
    out: Annotated[Path, typer.Option(help="The model file to write, MODEL.pt.")],
    architecture: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="What the model is; recognised if not given."),
    ] = None,
    ema: Annotated[
        bool, typer.Option("--ema", help="Take the averaged weights of a checkpoint.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Convert a model of the SCRFD repository."""
    from trials.convert import convert_model

    wanted = None if architecture is None else resolve_architecture(architecture)
    done = convert_model(model, out, wanted, ema=ema)
    content: dict[str, Any] = {
        "source": str(model),
        "out": str(out),
        "architecture": done.architecture.name or None,
        "hash": done.architecture.content_hash,
        "tensors": done.tensors,
        "ignored": list(done.ignored),
        "difference": done.difference,
    }
    name = done.architecture.name or f"an architecture of hash {done.architecture.content_hash}"
    text = f"{model} is {name}: {done.tensors} tensors, none left over, written to {out}"
    if done.difference is not None:
        text += f"; outputs differ by at most {done.difference:.1g}"
    if done.ignored:
        text += f"; without meaning in the source: {', '.join(done.ignored)}"
    common.print_result(content, text, as_json=as_json)


def export(
    model: Annotated[
        Path,
        typer.Argument(
            help="A model file (.pt) or a trial's folder or URL.",
            parser=paths.trial,
            metavar="MODEL",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The ONNX file to write.")] = Path("model.onnx"),
    shape: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="H W", help="Fix the input's height and width; else any size."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Export a model as ONNX, checked against torch."""
    from trials.model_file import load_model
    from trials.onnx.export import export_onnx

    architecture, detector = load_model(paths.model_file(model))
    difference = export_onnx(detector, out, shape)
    content = {
        "out": str(out),
        "architecture": architecture.name or None,
        "hash": architecture.content_hash,
        "shape": list(shape) if shape else None,
        "difference": difference,
    }
    size = f"{shape[0]} x {shape[1]}" if shape else "any size"
    text = f"wrote {out} for {size}; differs from torch by at most {difference:.1g}"
    common.print_result(content, text, as_json=as_json)


def export_config(
    candidate: Annotated[
        str,
        typer.Argument(
            help="A built-in name, YAML file, candidate's folder or URL, or model file.",
            parser=paths.reference,
            metavar="CANDIDATE",
        ),
    ],
    format: Annotated[str, typer.Option(help="mmdet, the SCRFD repository's.")] = "mmdet",
    out: Annotated[Path | None, typer.Option(help="File to write; else standard output.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Length of the schedule.")] = 640,
) -> None:
    """Write a configuration for the SCRFD repository."""
    from trials.candidate import resolve_candidate

    if format != "mmdet":
        raise ConfigError(f"--format must be mmdet, got {format!r}")
    text = mmdet_config(resolve_candidate(candidate), epochs)
    if out is None:
        typer.echo(text, nl=False)
        return
    write_text(out, text)
    common.print_rich(f"wrote {out}")


def import_config(
    file: Annotated[Path, typer.Argument(help="An mmdetection configuration of SCRFD.")],
    out: Annotated[Path | None, typer.Option(help="YAML to write; else standard output.")] = None,
    as_json: Json = False,
) -> None:
    """Read a configuration of the SCRFD repository.

    It is parsed and never executed.
    """

    architecture = architecture_from_mmdet(read_text(file), str(file), file.stem, file.parent)
    if out is not None:
        save_architecture(architecture, out)
    if as_json:
        common.print_json({**architecture.to_dict(), "hash": architecture.content_hash})
    elif out is None:
        typer.echo(architecture.to_yaml(), nl=False)
    else:
        common.print_rich(f"wrote {out}")


COMMANDS = {
    "convert": convert,
    "export": export,
    "export-config": export_config,
    "import-config": import_config,
}
