"""`scrfd-nas propose`: flags, config file, JSON, errors and exit codes."""

import json
from pathlib import Path

import pytest
from command_line import CommandLine

from nas.candidates import flops, latency_limit
from nas.candidates.proposals import propose_stage1, propose_stage2
from search_spaces.architecture import load_architecture, save_architecture
from search_spaces.cost.detector import flops_by_part, total
from search_spaces.zoo import load_zoo


@pytest.fixture(autouse=True)
def closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the torch networks where fvcore's word is not the question."""
    monkeypatch.setattr(flops, "confirm_flops", lambda a: total(flops_by_part(a)))


def stage1(out: Path, *flags: str) -> list[str]:
    return ["propose", "--stage", "1", "--flops", "0.5G", "--num", "2", "--out", str(out), *flags]


def stage2(out: Path, *flags: str) -> list[str]:
    return ["propose", "--stage", "2", "--num", "2", "--out", str(out), *flags]


def test_json_lists_the_files_and_the_feasible(tmp_path: Path, cli: CommandLine) -> None:
    document = cli.json(stage1(tmp_path / "out"))
    expected = propose_stage1(500_000_000, 2, 0)
    assert set(document) == {"candidates", "feasible"}
    assert document["feasible"] == expected.feasible
    assert [set(c) for c in document["candidates"]] == [
        {"number", "file", "flops", "params", "hash"}
    ] * 2
    for listed, candidate in zip(document["candidates"], expected.candidates, strict=True):
        assert listed["hash"] == load_architecture(listed["file"]).content_hash == candidate.hash
        assert (listed["flops"], listed["params"]) == (candidate.total_flops, candidate.params)
    assert (tmp_path / "out" / "candidates.csv").is_file()


def test_table_shows_every_candidate(tmp_path: Path, cli: CommandLine) -> None:
    shown = cli.run(stage1(tmp_path / "out")).out
    for candidate in propose_stage1(500_000_000, 2, 0).candidates:
        assert candidate.hash in shown
    assert "satisfy the constraints" in shown


def test_same_command_again_is_fine_and_another_seed_is_refused(
    tmp_path: Path, cli: CommandLine
) -> None:
    cli.run(stage1(tmp_path / "out"))
    cli.run(stage1(tmp_path / "out"))
    printed = cli.fail(stage1(tmp_path / "out", "--seed", "1", "--json"))
    assert "holds other proposals" in printed


def test_stage2_aims_at_the_templates_own_flops(tmp_path: Path, cli: CommandLine) -> None:
    template = load_zoo("scrfd_0.5g")
    flags = ("--template", "scrfd_0.5g", "--stage2-space", "scaled")
    document = cli.json(stage2(tmp_path / "out", *flags))
    flops = total(flops_by_part(template))
    expected = propose_stage2(template, flops, 2, 0, stage2_space="scaled")
    assert [c["hash"] for c in document["candidates"]] == [c.hash for c in expected.candidates]


def test_template_may_be_a_file_or_a_number(tmp_path: Path, cli: CommandLine) -> None:
    template = load_zoo("scrfd_0.5g")
    save_architecture(template, tmp_path / "search" / "stage1" / "0007" / "architecture.yaml")
    save_architecture(template, tmp_path / "proposed" / "0003.yaml")
    (tmp_path / "proposed" / "candidates.csv").touch()
    references = [
        ("--template", str(tmp_path / "proposed" / "0003.yaml")),
        ("--template", "7", "--search-dir", str(tmp_path / "search")),
        ("--template", "3", "--search-dir", str(tmp_path / "proposed")),
    ]
    documents = []
    for index, reference in enumerate(references):
        out = tmp_path / f"out{index}"
        documents.append(cli.json(stage2(out, *reference, "--ratio-tolerance", "0.05")))
    found = {tuple(c["hash"] for c in document["candidates"]) for document in documents}
    assert len(found) == 1


@pytest.mark.parametrize("name", ["num", "num_candidates"])
def test_config_file_holds_options_and_flags_override_them(
    tmp_path: Path, cli: CommandLine, name: str
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        f"flops: 2.5G\n{name}: 3\nseed: 5\nspace: resnet\nblocks: basic\n"
        "ranges: {depth: [1, 6], stem: [16, 40]}\n"
    )
    command = ["propose", "--stage", "1", "--config", str(config), "--out", str(tmp_path / "out")]
    document = cli.json([*command, "--seed", "6", "--depth-range", "2", "5"])
    ranges = {"blocks": ("basic",), "depth": (2, 5), "stem": (16, 40)}
    expected = propose_stage1(2_500_000_000, 3, 6, space="resnet", ranges=ranges)
    assert [c["hash"] for c in document["candidates"]] == [c.hash for c in expected.candidates]


def test_fewer_than_asked_is_said_on_standard_error(tmp_path: Path, cli: CommandLine) -> None:
    flags = ("--template", "resnet_2.5g", "--stage2-space", "scaled", "--num", "99")
    ranges = ("--neck-range", "48", "64", "--convs-range", "2", "3")
    captured = cli.run([*stage2(tmp_path / "out", *flags, *ranges), "--json"])
    document = json.loads(captured.out)
    assert len(document["candidates"]) == document["feasible"] < 55
    assert f"{document['feasible']} of 99 candidates" in captured.err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["--stage", "1"], "give --flops"),
        (["--stage", "2"], "needs --template"),
        (["--stage", "1", "--flops", "fast"], "FLOPs are a number"),
        (["--stage", "1", "--flops", "1M"], "nearest reachable is"),
        (["--stage", "1", "--flops", "1G", "--tolerance", "2"], "less than 1, got 2"),
        (["--stage", "1", "--flops", "1G", "--space", "vit"], "got 'vit'"),
        (["--stage", "1", "--flops", "1G", "--blocks", "basic"], "no blocks basic"),
        (["--stage", "1", "--flops", "1G", "--template", "3"], "--template belongs to --stage 2"),
        (["--stage", "2", "--space", "mobile"], "--space belongs to --stage 1"),
        (["--stage", "2", "--template", "3"], "there is no search in runs/: give --search-dir"),
        (["--stage", "2", "--template", "3", "--search-dir", "none"], "(none in none), got 3"),
        (["--stage", "2", "--template", "best", "--search-dir", "none"], "a finished stage-1"),
        (["--stage", "2", "--template", "scrfd_3g"], "did you mean"),
        (["--stage", "2", "--template", "scrfd_1g", "--ratio-tolerance", "0"], "got 0"),
        (["--stage", "2", "--template", "scrfd_1g", "--stage2-space", "all"], "got 'all'"),
        (["--stage", "1", "--config", "none.yaml"], "none.yaml: cannot be read"),
    ],
)
def test_faults_print_one_line_and_write_nothing(
    tmp_path: Path,
    cli: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in cli.fail(["propose", *command, "--out", "out"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["[1]", "speed: 3", "ranges: 3", "template: a", "a: [", ""])
def test_a_broken_config_file_is_refused(tmp_path: Path, cli: CommandLine, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    printed = cli.run(stage1(tmp_path / "out", "--config", str(tmp_path / "config.yaml")), 1).err
    assert "config.yaml" in printed


def test_wrong_usage_exits_with_2(tmp_path: Path, cli: CommandLine) -> None:
    cli.run(["propose", "--stage", "3", "--out", str(tmp_path)], 2)
    cli.run(["propose", "--stage", "1", "--num", "0", "--out", str(tmp_path)], 2)


def test_a_number_that_would_take_weeks_is_refused_with_the_limit(
    tmp_path: Path, cli: CommandLine
) -> None:
    printed = cli.fail(stage1(tmp_path / "out", "--num", "1000000"))
    assert "num_candidates must be an integer from 1 to 100000, got 1000000" in printed
    assert not (tmp_path / "out").exists()


SMALL = ("--latency-size", "32", "32")


def test_proposals_within_a_latency_are_measured_once(tmp_path: Path, cli: CommandLine) -> None:
    command = stage1(tmp_path / "out", "--max-latency", "60s", *SMALL)
    printed = cli.run(command)
    assert printed.out.splitlines()[1].split()[-1] == "ms"
    assert "measuring latencies: 0/2 within 60000 ms" in printed.err
    table = (tmp_path / "out" / "latencies.csv").read_text()
    found = [candidate["latency_ms"] for candidate in cli.json(command)["candidates"]]
    assert [f",{latency!r}," in table for latency in found] == [True, True]
    assert (tmp_path / "out" / "latencies.csv").read_text() == table
    printed = cli.fail(stage1(tmp_path / "out", "--max-latency", "60s"))
    assert "480x640 cannot be compared; continue there, or begin in another folder" in printed


def test_faults_of_a_latency_limit(
    tmp_path: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency_limit, "TRIES", 2)
    out = tmp_path / "out"
    printed = cli.run(stage1(out, "--max-latency", "0.00001ms", *SMALL), 1).err
    assert "error: 0 of 2 candidates are within 1e-05 ms: the last 2 took longer" in printed
    assert not list(out.glob("*.yaml"))
    assert "a latency is a number above 0" in cli.fail(stage1(out, "--max-latency", "fast"))
    printed = cli.fail(stage1(out, "--max-latency", "9", "--latency-on", "tensorrt"))
    assert "runtime must be one of" in printed
