"""Training of a connector between Whisper's encoder and a language model: the language model isn't run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from loguru import logger
from safetensors.torch import load_file, save_file

from speechprune.lab.connector.config import ConnectorConfig
from speechprune.lab.connector.measure import Recognition, measure
from speechprune.lab.connector.speakers import load_scripts
from speechprune.lab.connector.start import PUBLISHED, Start, load_start
from speechprune.lab.connector.windows import SpokenWindows, batches
from speechprune.lab.fetch.folders import link_folder, write_json
from speechprune.lab.training.progress import StageProgress
from speechprune.lab.training.schedule import MasterWeights, learning_rate
from speechprune.lab.training.work_folder import claim
from speechprune.models.ctc_cascade import TOKEN_IDS, WEIGHTS
from speechprune.models.packed_weights import pack

FRAMES_SHARE_ENDS = 0.4  # of the steps: from here on the frames' labels count nothing
LEAST_CTC_SHARE = 0.2  # at the first step, where the frames' labels count most


def train_connector(config: ConnectorConfig) -> Recognition:
    """Train from the published weights, or from the state of a stopped run; then measure what it recognises.

    The frames' labels come first, as they show at once where a token is; CTC, which is what a token's place
    and number depend on, takes over.

    A stopped training goes on on another device, and without the two models: see ``load_start``.

    Raises
    ------
    ValueError
        A file of texts is missing, or the work folder holds a training of other settings.
    """
    work = Path(config.output.work_path)
    training, held_out = load_scripts(config.speech.texts)
    start = load_start(config, training, work / "start")
    speech, recipe = asdict(config.speech), asdict(config.recipe)
    claim(work, {"speech": speech, "recipe": recipe, "run": {"seed": config.run.seed}})
    weights = MasterWeights(start.objective)
    device = torch.device(config.run.device)
    progress = StageProgress("connector", work / "connector.pt", config.recipe.num_steps)
    progress.restore(start.objective, weights)
    windows = SpokenWindows(
        training, config.speech, start.extractor, start.tokenizer, start.class_of, config.run.seed
    )
    for batch in batches(windows, progress.step, config.recipe.num_steps, config.recipe.windows_per_step):
        losses = start.objective.losses(batch.to(device))
        frames_share = max(0.0, 1 - progress.step / (FRAMES_SHARE_ENDS * config.recipe.num_steps))
        ctc_share = 1 - (1 - LEAST_CTC_SHARE) * frames_share
        loss = ctc_share * losses["ctc"] + frames_share * losses["frames"]
        weights.step(loss, learning_rate(progress.step, config.recipe.num_steps, config.recipe.learning_rate))
        progress.advance(start.objective, weights, losses)
    save(start, config)
    recognised = measure(start, held_out, config)
    logger.info("trained in {:,.0f} s", progress.seconds)
    return recognised


def save(start: Start, config: ConnectorConfig) -> None:
    """Save a cascade: what was trained, packed, and the two models where they are on this machine.

    The encoder's free layers are saved as their differences from Whisper's.
    """
    folder = Path(config.output.path)
    folder.mkdir(parents=True, exist_ok=True)
    published = load_file(Path(config.output.work_path) / "start" / PUBLISHED)
    trained = {}
    for name, parameter in start.objective.named_parameters():
        if parameter.requires_grad:
            trained[name] = parameter.detach().cpu().float()
            if name.startswith("encoder."):
                trained[name] -= published[name.removeprefix("encoder.")].float()
    token_ids = torch.tensor(start.token_ids, dtype=torch.int32)
    save_file(pack(trained) | {TOKEN_IDS: token_ids}, folder / WEIGHTS)
    sizes = {"hidden_size": config.recipe.hidden_size, "num_tokens": len(token_ids)}
    kind = {"model_type": "ctc_cascade", "whisper": "whisper", "llm": "llm"}
    write_json(folder / "config.json", kind | {"connector": sizes})
    for part, source in (("whisper", config.start.whisper), ("llm", config.start.llm)):
        if Path(source).is_dir() and not (folder / part).exists():
            link_folder(Path(source), folder / part)
