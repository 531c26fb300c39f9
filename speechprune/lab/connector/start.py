"""What the training starts from: Whisper's encoder, a tokenizer, and a language model's embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from speechprune.benchmarks.builder.script import Script
from speechprune.lab.connector.config import ConnectorConfig
from speechprune.lab.connector.objective import CtcObjective
from speechprune.lab.connector.speakers import sentences_of
from speechprune.models.ctc import BLANK, Connector

PUBLISHED = "start.safetensors"


@dataclass(frozen=True)
class Start:
    """The untrained model.

    Parameters
    ----------
    objective
        Encoder and connector.
    extractor, tokenizer
        Whisper's feature extractor; the language model's tokenizer.
    token_ids
        Of the classes from 1 on, the tokens that occur in the texts of the training.
    class_of
        Of every token id, ``BLANK`` where it is no class: ``(tokens of the tokenizer,)``.
    """

    objective: CtcObjective
    extractor: Any
    tokenizer: Any
    token_ids: list[int]
    class_of: torch.Tensor

    def text_of(self, classes: Sequence[int]) -> str:
        """The text that classes write."""
        text: str = self.tokenizer.decode([self.token_ids[place - 1] for place in classes])
        return text


def load_start(config: ConnectorConfig, scripts: Sequence[Script], folder: Path) -> Start:
    """Load what the training starts from; the connector is seeded.

    The first time it is taken out of both models and saved in ``folder``: a tenth of their size, to train on
    another machine without them.

    Raises
    ------
    OSError
        A folder of a model is missing.
    """
    from transformers import AutoFeatureExtractor, AutoTokenizer, WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    if not (folder / PUBLISHED).exists():
        _prepare(config, scripts, folder)
    tokenizer, extractor = AutoTokenizer.from_pretrained(folder), AutoFeatureExtractor.from_pretrained(folder)
    weights = load_file(folder / PUBLISHED)
    token_ids, embeddings = weights.pop("token_ids"), weights.pop("embeddings").float()
    encoder = WhisperEncoder(WhisperConfig.from_pretrained(folder)).eval()
    encoder.load_state_dict({name: weight.float() for name, weight in weights.items()})
    class_of = torch.full((len(tokenizer),), BLANK)
    class_of[token_ids] = 1 + torch.arange(len(token_ids))
    torch.manual_seed(config.run.seed)
    connector = Connector(encoder.config.d_model, config.recipe.hidden_size, embeddings.shape[1])
    objective = CtcObjective(encoder, connector, embeddings, config.recipe.free_layers)
    return Start(objective.to(config.run.device), extractor, tokenizer, token_ids.tolist(), class_of)


def _prepare(config: ConnectorConfig, scripts: Sequence[Script], folder: Path) -> None:
    """Save the encoder and the embeddings of the tokens that occur, as bfloat16; the weights come last."""
    from transformers import AutoFeatureExtractor, AutoModelForCausalLM, AutoTokenizer, WhisperModel

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(config.start.llm)
    tokenizer.save_pretrained(folder)
    AutoFeatureExtractor.from_pretrained(config.start.whisper).save_pretrained(folder)
    token_ids = torch.tensor(occurring_tokens(tokenizer, scripts))
    language_model = AutoModelForCausalLM.from_pretrained(config.start.llm, dtype=torch.bfloat16)
    whisper = WhisperModel.from_pretrained(config.start.whisper, dtype=torch.bfloat16)
    whisper.config.save_pretrained(folder)
    embeddings = language_model.get_input_embeddings().weight.detach()[token_ids]
    kept = {"token_ids": token_ids, "embeddings": embeddings}
    half_written = folder / f"{PUBLISHED}.tmp"
    save_file(whisper.get_encoder().state_dict() | kept, half_written)
    half_written.replace(folder / PUBLISHED)


def occurring_tokens(tokenizer: Any, scripts: Sequence[Script]) -> list[int]:
    """Tokens of all sentences, at the beginning of a text and inside one."""
    sentences = [sentence for script in scripts for _, sentence in sentences_of(script)]
    texts = [*sentences, *(f" {sentence}" for sentence in sentences)]
    return sorted({token_id for ids in tokenizer(texts)["input_ids"] for token_id in ids})
