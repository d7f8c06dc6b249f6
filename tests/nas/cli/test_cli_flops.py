import json
import os
import subprocess
import sys
from dataclasses import asdict

import pytest
import typer

from nas.candidates.flops import count_flops
from nas.cli import main
from nas.cli.shared import common
from nas.search.options import parse_flops
from search_spaces.architecture import save_architecture
from search_spaces.cost import detector as cost
from search_spaces.errors import ConfigError
from search_spaces.zoo import list_models, load_zoo


def test_flops_as_json_is_one_document(cli):
    output = cli.run(["flops", "scrfd_1g", "--json"])
    shown = json.loads(output.out)
    architecture = load_zoo("scrfd_1g")
    assert shown.pop("published") == {
        "convention": "mmcv 1.2.6, as in the SCRFD paper",
        "total": 982342200,
        "parts": cost.mmcv_flops_by_part(architecture),
    }
    assert shown == {"total": 971887200, "params": 635565, "parts": count_flops(architecture)}
    assert output.err == ""


def test_flops_of_a_file_are_those_of_its_architecture(cli, tmp_path):
    save_architecture(load_zoo("scrfd_0.5g"), tmp_path / "mine.yaml")
    assert cli.json(["flops", tmp_path / "mine.yaml"])["total"] == 503925600


def test_the_table_shows_parts_shares_and_both_conventions(cli):
    text = cli.run(["flops", "scrfd_2.5g"]).out
    rows = {}
    for line in text.splitlines():
        first, *cells = line.split() or [""]
        rows[first] = cells
    assert rows["c3"] == ["956.2M", "37.9", "958.9M", "199,200"]
    assert rows["total"] == ["2.522G", "100.0", "2.531G", "671,761"]
    assert "fvcore" in text
    assert "mmcv 1.2.6" in text


def test_zoo_lists_all_built_in_architectures(cli):
    entries = cli.json(["zoo"])["architectures"]
    assert entries == [asdict(model) for model in list_models()]
    rows = [line.split() for line in cli.run(["zoo"]).out.splitlines()]
    scores = ["0.9057", "0.8812", "0.6851"]
    assert ["scrfd_0.5g", "depthwise", "0.5G", "503.9M", "572,741", "-", *scores] in rows
    assert rows[-2] == ["mobilenet_1g", "depthwise", "1G", "1.023G", "632,893", *"----"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["flops", "scrfd_2g"], 1, "did you mean"),
        (["flops", "none.yaml"], 1, "none.yaml: cannot be read"),
        (["flops", "{}/bad.yaml"], 1, "bad.yaml"),
        (["flops"], 2, "Missing argument 'NAME|FILE' (see scrfd-nas flops --help)"),
        (["flops", "scrfd_1g", "--jsn"], 2, "No such option: --jsn"),
        (["flop"], 2, "No such command 'flop'"),
    ],
)
def test_faults_are_one_line_on_standard_error(arguments, code, message, cli, tmp_path):
    (tmp_path / "bad.yaml").write_bytes(b"\xff\x00{{{")
    assert message in cli.fail([word.format(tmp_path) for word in arguments], code)


def raising(error):
    """The command line with one command `fail` that raises `error`."""

    def build():
        app = typer.Typer()
        app.callback()(lambda: None)

        @app.command()
        def fail() -> None:
            raise error

        return typer.main.get_command(app)

    return build


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (
            ConfigError("low must not exceed high,\n got 3"),
            1,
            "error: low must not exceed high, got 3",
        ),
        (FileNotFoundError(2, "No such file", "x.png"), 1, "error: x.png: No such file"),
        (PermissionError("no"), 1, "error: no"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (typer.BadParameter("too small"), 2, "error: Invalid value: too small"),
    ],
)
def test_every_expected_fault_has_its_exit_code(error, code, line, monkeypatch, capsys):
    monkeypatch.setattr(main, "build_app", raising(error))
    assert main.run(["fail"]) == code
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(line)


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(main, "build_app", raising(ZeroDivisionError("bug")))
    with pytest.raises(ZeroDivisionError):
        main.run(["fail"])


def test_an_exit_code_of_a_command_is_kept(monkeypatch):
    monkeypatch.setattr(main, "build_app", raising(typer.Exit(3)))
    assert main.run(["fail"]) == 3


def test_version(cli):
    assert cli.run(["--version"]).out.startswith("scrfd-nas 0.")


def test_a_reader_that_leaves_early_is_no_fault():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "nas", "zoo", "--json"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert done.stderr == b""
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("text", "flops"),
    [
        ("2.5G", 2_500_000_000),
        ("0.5g", 500_000_000),
        ("500M", 500_000_000),
        ("2500000000", 2_500_000_000),
        (" 34.13 G ", 34_130_000_000),
        ("0.1G", 100_000_000),
        ("508.77m", 508_770_000),
    ],
)
def test_flops_are_read_exactly(text, flops):
    assert parse_flops(text) == flops


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9" * 30,
        *["G", "-1G", "0", "0G", "nan", "inf", "1e9", "2,5G", "2.5T", "1.5", "1e-9G", "٣G"],
    ],
)
def test_flops_that_are_no_positive_whole_number_are_refused(text):
    with pytest.raises(ConfigError, match="FLOPs"):
        parse_flops(text)


def test_json_refuses_nan():
    with pytest.raises(ValueError, match="JSON"):
        common.print_json({"ap": float("nan")})
