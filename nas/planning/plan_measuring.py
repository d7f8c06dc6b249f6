"""Inputs of a plan: the machine, the stage's work, and the pace of some timed steps."""

import io
import math
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import mean

import torch

from nas.candidates.latency_limit import TRIES, Measure, is_within
from nas.candidates.pool import Pool, sample_pool
from nas.limited_candidates import LISTED
from nas.planning.plan import LatencyWork, Pace, Plan, Work, make_plan
from nas.running.nodes import Node, choose_resources
from nas.running.tasks import Resources
from nas.search.directory import SearchDir
from nas.search.request import AnyRequest
from reports.latencies import by_hash, read_latencies
from search_spaces.architecture import Architecture
from search_spaces.cost.detector import params_by_part, total
from search_spaces.errors import ConfigError, counted
from search_spaces.network.detector import build_detector
from trials.data.dataset import FaceDataset
from trials.device import gpu_count
from trials.evaluation.evaluated_images import load_evaluated
from trials.evaluation.latency import candidate_latency
from trials.recipe import Recipe
from trials.settings import TrialSettings
from trials.training.profiling import StepProfile, profile_training
from trials.trial import Trial

_CANDIDATES = 3  # timed at least
_LATENCIES = 8  # measured to see which share is within a limit
_STEPS, _IMAGES = 4, 32  # of each candidate, at least
_MOST_PROCESSES = 16
# Time of an evaluated image relative to a training image where it was not measured: the forward
# pass is a third of forward and backward.
_EVALUATED_SHARE = 1 / 3


def estimate_stage(
    directory: SearchDir,
    request: AnyRequest,
    template: Architecture | None = None,
    *,
    gpus: int | None = None,
    images_per_second: float | None = None,
) -> Plan:
    """Return the plan of a stage, after timing some steps unless their pace is given.

    Args:
        directory: Search directory, whose finished epochs are subtracted.
        request, template: From `nas.resolve_request.resolve_request`.
        gpus: Number of GPUs to plan for; None: those of this machine.
        images_per_second: Training images a second of one trial.

    Raises:
        InfeasibleError: no candidate satisfies the constraints.
        ConfigError, DataError: as `measure_pace` and `given_pace`.
    """
    pool = sample_pool(request, template)
    work = count_work(request, pool, directory)
    machine = this_machine(gpus)
    resources = choose_resources([machine], request, work.candidates)
    slots = min(machine.room(resources), max(1, work.trials))
    if images_per_second is None:
        pace = measure_pace(pool.architectures, request, resources, slots)
    else:
        pace = given_pace(images_per_second, pool.architectures, request)
    latency = latency_work(request, pool, directory)
    return make_plan(work, pace, resources, slots, latency)


def this_machine(gpus: int | None = None) -> Node:
    """Return this machine, or as many like it as have `gpus` GPUs, as one node."""
    there, cores = gpu_count(), len(os.sched_getaffinity(0))
    if gpus is None or gpus == there:
        return Node(cpus=cores, gpus=there)
    return Node(cpus=cores * max(1, math.ceil(gpus / max(there, 1))), gpus=gpus)


def count_work(request: AnyRequest, pool: Pool, directory: SearchDir) -> Work:
    """Return the trials of a stage and the epochs that `directory` has of each.

    Raises:
        DataError: there are no data.
    """
    settings = request.settings(threads=1)
    outcomes = directory.outcomes(request.stage)
    candidates = max(len(pool.architectures), len(directory.numbers(request.stage)))
    waiting = [number for number in range(1, candidates + 1) if number not in outcomes]
    done = {n: min(directory.epochs_done(request.stage, n), request.epochs) for n in waiting}
    validation = load_evaluated(request.data, held_out=settings.held_out).paths
    training = FaceDataset(request.data, "train", faceless=False, held_out=settings.held_out)
    return Work(
        candidates=candidates,
        feasible=pool.sample.feasible,
        draws=pool.sample.draws,
        accepted=pool.sample.accepted,
        schedule=request.schedule,
        done=done,
        training_images=len(training),
        validation_images=len(validation),
        evaluations=sum(map(settings.is_evaluated, range(1, request.epochs + 1))),
    )


def measure_pace(
    architectures: Sequence[Architecture], request: AnyRequest, resources: Resources, slots: int
) -> Pace:
    """Time some training steps and evaluated images, with as many trials at once as in a search.

    At equal FLOPs, networks with few parameters compute at high resolution and are slow: the
    timed candidates are spread over all of them in the order of their parameters.

    Raises:
        DataError: the data cannot be read.
        ConfigError: no such device or precision here.
    """
    at_once = min(_sharing(resources, slots), len(architectures), _MOST_PROCESSES)
    chosen = typical(architectures, at_once * math.ceil(_CANDIDATES / at_once))
    device = "auto" if resources.gpus_per_trial else "cpu"
    settings = replace(request.settings(resources.threads), device=device)
    found = _profiles(chosen, request, settings, at_once)
    timed = f"{counted(found[0].steps, 'step')} of {counted(len(found), 'candidate')}"
    trials = f"{at_once} at a time" if at_once > 1 else "one at a time"
    where = f"{found[0].device}, {counted(found[0].threads, 'thread')} each, {found[0].precision}"
    return _pace(
        chosen[len(chosen) // 2],
        request,
        images_per_second=1 / mean(1 / profile.images_per_second for profile in found),
        evaluation_s=mean(profile.evaluation_s for profile in found),
        basis=f"{timed} timed here, {trials} ({where})",
    )


def latency_work(
    request: AnyRequest, pool: Pool, directory: SearchDir, measure: Measure = candidate_latency
) -> LatencyWork | None:
    """Measure some latencies, unrecorded, and return how many a stage with a limit has to measure.

    None if there is no limit, or if the stage has all its candidates.
    """
    limit, stage = request.max_latency, request.stage
    if limit is None or len(directory.numbers(stage)) >= request.num_candidates:
        return None
    rows = read_latencies(directory.stage_folder(stage))
    known = by_hash(rows, request.latency_conditions)
    new = [item for item in pool.architectures if item.content_hash not in known][:_LATENCIES]
    started = time.monotonic()
    found = [*known.values(), *(measure(item, request.latency_options) for item in new)]
    each = (time.monotonic() - started) / max(len(new), 1)
    within = sum(is_within(latency, limit) for latency in found)
    wanted = request.num_candidates * (1 if request.strategy == "random" else LISTED)
    number = max(0.0, wanted * len(found) / within - len(known)) if within else float(TRIES)
    basis = f"{within} of {len(found)} measured are within {limit:g} ms, {each:.1f} s each"
    if not within:
        fastest = min(latency.median_ms for latency in found)
        basis += f", the fastest {fastest:.2f} ms; the stage would give up"
    return LatencyWork(measurements=number, seconds=number * each, basis=basis)


def given_pace(
    images_per_second: float, architectures: Sequence[Architecture], request: AnyRequest
) -> Pace:
    """Return a pace that the user gives. Raises ConfigError: it is not above 0."""
    if not images_per_second > 0:
        raise ConfigError(f"images per second must be above 0, got {images_per_second!r}")
    return _pace(
        typical(architectures, 1)[0],
        request,
        images_per_second=images_per_second,
        evaluation_s=_EVALUATED_SHARE / images_per_second,
        basis="--images-per-second of a trial; an evaluated image takes a third of a trained one",
    )


def typical(architectures: Sequence[Architecture], count: int) -> list[Architecture]:
    """Return `count` architectures (or all), evenly spread in the order of their parameters."""
    ordered = sorted(architectures, key=lambda item: total(params_by_part(item)))
    count = min(count, len(ordered))
    return [ordered[(2 * i + 1) * len(ordered) // (2 * count)] for i in range(count)]


def _sharing(resources: Resources, slots: int) -> int:
    """Return the number of trials that slow each other: those on one GPU, or all without GPUs."""
    if not resources.gpus_per_trial:
        return slots
    return max(1, min(slots, int(1 / resources.gpus_per_trial + 1e-6)))


def _profiles(
    chosen: Sequence[Architecture], request: AnyRequest, settings: TrialSettings, at_once: int
) -> list[StepProfile]:
    recipe, data = Recipe.from_dict(request.recipe), Path(request.data)
    trials = [
        Trial(architecture=item, recipe=recipe, data_root=data, settings=settings)
        for item in chosen
    ]
    if at_once == 1:
        return [_profile(trial) for trial in trials]
    spawning = multiprocessing.get_context("spawn")  # a fork would share torch's threads
    with ProcessPoolExecutor(at_once, mp_context=spawning) as pool:
        return list(pool.map(_profile, trials))


def _profile(trial: Trial) -> StepProfile:
    steps = max(_STEPS, math.ceil(_IMAGES / trial.recipe.batch_size))
    return profile_training(trial, steps=steps)


def _pace(
    architecture: Architecture,
    request: AnyRequest,
    *,
    images_per_second: float,
    evaluation_s: float,
    basis: str,
) -> Pace:
    recipe = Recipe.from_dict(request.recipe)
    copies = 2 if recipe.optimizer == "adamw" else 1
    content = io.BytesIO()
    network = build_detector(architecture, torch.Generator().manual_seed(0))
    torch.save(network.state_dict(), content)
    return Pace(
        images_per_second=images_per_second,
        evaluation_s=evaluation_s,
        weights_bytes=content.tell(),
        optimizer_copies=copies + bool(recipe.ema_decay),
        basis=basis,
    )
