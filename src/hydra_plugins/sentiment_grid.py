"""A Hydra sweeper over all combinations of values, which checks each run before the first begins.

It replaces Hydra's ``basic`` in our programs (see ``sentiment.config.resolvers.register``). Hydra
imports this file whenever it starts, so slow libraries are imported only when they are needed.
"""

import itertools
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from hydra_plugins.sentiment_launchers._launcher import SUBDIR, as_run, numbered

_LONGEST_NAME = 255  # bytes, of common file systems


@dataclass
class GridSweeperConfig:
    """See ``GridSweeper``."""

    _target_: str = "hydra_plugins.sentiment_grid.GridSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = field(default_factory=dict)


class GridSweeper(BasicSweeper):
    """Runs every combination of values, and adds how each run ended to the table at the end.

    Args:
        max_batch_size: number of runs that are launched together; None launches all.
        params: sweeps by key, in addition to those of the command line.
    """

    def sweep(self, arguments: list[str]) -> Any:
        """Check all runs, then run them.

        Raises:
            InputError: a run's config is wrong, or two runs would share a folder.
            SystemExit: a run has returned an ``exit_code`` above 0.
        """
        from sentiment.report.ranking import Job
        from sentiment.runtime.errors import InputError
        from sentiment.train.sweep import ranked

        assert self.hydra_context is not None  # after setup
        assert self.config is not None
        if self.max_batch_size is not None and self.max_batch_size < 1:
            raise InputError(f"hydra.sweeper.max_batch_size={self.max_batch_size}: give 1 or more")
        with ranked(self.hydra_context.callbacks, self.config) as add_jobs:
            returns = list(itertools.chain(*super().sweep(arguments)))
            jobs, codes = [], [0]
            for (folder, overrides), returned in zip(self._planned.items(), returns, strict=True):
                config = returned.hydra_cfg  # None of a run that was killed
                path = folder if config is None else config.hydra.runtime.output_dir
                outcome = returned.return_value
                outcome = outcome if isinstance(outcome, dict) else {}
                jobs.append(Job(Path(path), overrides, failed=outcome.get("status") == "failed"))
                codes.append(outcome.get("exit_code", 0))
            add_jobs(jobs)
        if max(codes):
            sys.exit(max(codes))
        return returns

    def split_arguments(  # type: ignore[override]  # which ``sweep`` calls, before any run
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """The overrides of each run of each batch, all of them checked."""
        from sentiment.config.overrides import UserOptions

        for override in overrides:
            override.config_loader = UserOptions(override.config_loader)  # type: ignore[assignment]
        batches = BasicSweeper.split_arguments(overrides, max_batch_size)
        assert self.config is not None
        _ = self.config.hydra.sweep.dir  # which is chosen once, for all runs
        self._planned = self._checked([run for batch in batches for run in batch])
        return batches

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Leave out what ``split_arguments`` has done for all batches."""

    def _checked(self, runs: Sequence[list[str]]) -> dict[Path, list[str]]:
        """The overrides of each run, by its folder."""
        from sentiment.config.explain import translate_config_errors
        from sentiment.runtime.errors import InputError

        planned: dict[Path, list[str]] = {}
        for number, overrides in enumerate(runs):
            try:
                with translate_config_errors():
                    folder = self._check_run(number, overrides)
            except InputError as error:
                raise InputError(f"{_named(number, runs)}: {error}") from error
            if folder in planned:
                raise InputError(
                    f"{SUBDIR}: {_named(number, runs)} would be in the folder of run"
                    f" {list(planned).index(folder)}, {folder}; give each its own, as"
                    f" '{SUBDIR}=${{hydra.job.num}}' does"
                )
            planned[folder] = overrides
        return planned

    def _check_run(self, number: int, overrides: Sequence[str]) -> Path:
        """Check that a run can begin, and return its folder."""
        from sentiment.config.checks import check_config
        from sentiment.config.schemas import TrainConfig
        from sentiment.runtime.errors import InputError
        from sentiment.runtime.run_folder import is_used
        from sentiment.train.build import check_parts

        assert self.hydra_context is not None  # after setup
        assert self.config is not None
        config = numbered(self.hydra_context.config_loader, self.config, number, overrides)
        with as_run(config) as (cfg, folder):
            check_config(cfg, OmegaConf.get_type(config) or TrainConfig)
            if "trainer" in cfg:
                check_parts(cfg)
            for part in folder.parts:
                if len(os.fsencode(part)) > _LONGEST_NAME:
                    raise InputError(f"{SUBDIR}: {part[:80]}...: too long for a folder's name")
            with suppress(FileNotFoundError):
                folder.stat()  # which may lead through a file
            if cfg.get("ckpt_path") is None and is_used(folder):
                hint = "add ckpt_path=auto to resume it, or " if "ckpt_path" in cfg else ""
                raise InputError(
                    f"{folder}: holds a run already; {hint}give another hydra.sweep.dir"
                )
        return folder.resolve()


def _named(number: int, runs: Sequence[Sequence[str]]) -> str:
    """The number of a run, and the overrides that not all runs have."""
    own = " ".join(item for item in runs[number] if not all(item in each for each in runs))
    return f"run {number} ({own})" if own else f"run {number}"
