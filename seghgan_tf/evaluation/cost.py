"""What a training step of several configurations costs, in processor time, measured in turns in one sitting."""

import statistics
import time
from collections.abc import Mapping
from typing import get_args

import tensorflow as tf

from seghgan_tf.config import Config
from seghgan_tf.model.seghgan import Stage
from seghgan_tf.progress import Move
from seghgan_tf.training import run as training

ROUNDS, STEPS = 5, 8
"""How often each takes its turn, and with how many steps."""
STAGES: tuple[Stage, ...] = get_args(Stage)


def step_costs(
    configs: Mapping[str, Config], move: Move = lambda done, total, told="": None
) -> dict[str, dict[str, float]]:
    """Return the processor seconds of a step by name and stage: medians over rounds in which all take turns on a batch of their own.

    Other work on the machine changes them little, as it does the time on the wall; reading and decoding are left out.
    """
    training.choose_strategy()
    models = {name: training.build(config) for name, config in configs.items()}
    batches = {
        name: tf.data.Dataset.zip(training.streams(config, "train")).take(1).cache().repeat()
        for name, config in configs.items()
    }
    costs: dict[str, dict[str, float]] = {name: {} for name in configs}
    for i, stage in enumerate(STAGES):
        having = [name for name, config in configs.items() if stage in dict(_lengths(config))]
        for name in having:
            move(i, len(STAGES), f"{stage}, {name}: tracing")
            models[name].begin(stage)
            models[name].fit(batches[name], steps_per_epoch=2, verbose=0, shuffle=False)
        taken: dict[str, list[float]] = {name: [] for name in having}
        for _ in range(ROUNDS):
            for name in having:
                began = time.process_time()
                models[name].fit(batches[name], steps_per_epoch=STEPS, verbose=0, shuffle=False)
                taken[name].append((time.process_time() - began) / STEPS)
        for name, each in taken.items():
            costs[name][stage] = statistics.median(each)
    return costs


def _lengths(config: Config) -> list[tuple[Stage, int]]:
    """Return the stages that a run has and their steps."""
    found: list[tuple[Stage, int]] = []
    begin = 0
    for stage, end in training.stages(config):
        if end > begin:
            found.append((stage, end - begin))
        begin = end
    return found


def seconds_of(config: Config, cost: Mapping[str, float]) -> float:
    """Return the processor seconds of a whole run.

    >>> from seghgan_tf.config import read_config
    >>> config = read_config("drawn-64", ("training.steps=20", "model.segmenter_steps=10", "model.paired_steps=0"))
    >>> seconds_of(config, {"segmenter": 1.0, "joint": 2.0}), steps_within(config, {"segmenter": 1.0, "joint": 2.0}, 16.0)
    (30.0, 13.0)
    """
    return sum(steps * cost[stage] for stage, steps in _lengths(config))


def steps_within(config: Config, cost: Mapping[str, float], seconds: float) -> float:
    """Return how many steps of a run these processor seconds buy."""
    bought = 0.0
    for stage, steps in _lengths(config):
        here = min(float(steps), seconds / cost[stage])
        bought, seconds = bought + here, seconds - here * cost[stage]
    return bought
