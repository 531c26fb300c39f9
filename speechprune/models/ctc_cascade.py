"""A cascade without a decoder: Whisper's encoder finds the language model's tokens in one pass."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch
from safetensors.torch import load_file

from speechprune.cost import CtcShape
from speechprune.models.cascade_config import CtcCascadeConfig, parse_ctc_cascade
from speechprune.models.ctc import (
    POSITIONS_PER_FRAME,
    Connector,
    CtcRecogniser,
    CtcTranscriber,
    unit_directions,
)
from speechprune.models.hub import ModelError
from speechprune.models.packed_weights import unpack
from speechprune.models.source import ModelSource
from speechprune.models.text_cascade import TextCascade
from speechprune.models.whisper_family import whisper_sizes

WEIGHTS = "connector.safetensors"
TOKEN_IDS = "token_ids"


class CtcCascade(TextCascade):
    """Whisper's encoder, a connector and a language model behind the contract of ``SpeechModel``.

    The encoder's trained layers are stored as what is added to Whisper's.
    """

    model_types: ClassVar[tuple[str, ...]] = ("ctc_cascade",)
    transcriber: CtcTranscriber

    @classmethod
    def parse_config(cls, values: dict[str, Any]) -> CtcCascadeConfig:
        """Parse config.json and those of both models."""
        return parse_ctc_cascade(values)

    @classmethod
    def encoder_shape(cls, config: CtcCascadeConfig) -> CtcShape:
        """Read the sizes of Whisper's encoder and of the connector."""
        return CtcShape(
            **whisper_sizes(config),
            positions_per_frame=POSITIONS_PER_FRAME,
            connector_size=config.connector.hidden_size,
            num_classes=1 + config.connector.num_tokens,
        )

    @classmethod
    def load_transcriber(cls, source: ModelSource, text_model: Any, tokenizer: Any) -> CtcTranscriber:
        """Load Whisper's encoder, and add what was trained."""
        from transformers import AutoFeatureExtractor

        from speechprune.models.diva_modules import EncoderOfWhisper

        config = cast(CtcCascadeConfig, source.config)
        whisper_source = config.whisper.source_in(source)
        encoder = whisper_source.load_weights(EncoderOfWhisper).encoder
        embeddings = text_model.get_input_embeddings().weight
        num_tokens = config.connector.num_tokens
        if source.options.random_weights:
            token_ids, trained = torch.arange(num_tokens), {}
        else:
            stored = load_file(str(source.stored_file(WEIGHTS)))
            token_ids, trained = stored.pop(TOKEN_IDS, torch.arange(0)).long(), unpack(stored)
        if len(token_ids) != num_tokens or int(token_ids.max()) >= len(embeddings):
            raise _refusal(source, TOKEN_IDS)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            connector = Connector(encoder.config.d_model, config.connector.hidden_size, embeddings.shape[1])
        own = {"device": encoder.conv1.weight.device, "dtype": encoder.conv1.weight.dtype}
        directions = unit_directions(embeddings[token_ids.to(embeddings.device)])
        recogniser = CtcRecogniser(encoder, connector.to(**own), directions.to(**own))
        if trained:
            _add_trained(source, recogniser, trained)
        recogniser.eval().requires_grad_(False)
        extractor = AutoFeatureExtractor.from_pretrained(**whisper_source.location)
        return CtcTranscriber(recogniser, extractor, tokenizer, token_ids.tolist())

    @property
    def layers(self) -> list[torch.nn.Module]:
        """Those of Whisper's encoder and of the language model."""
        return [*self.transcriber.recogniser.encoder.layers, *super().layers]


@torch.no_grad()
def _add_trained(source: ModelSource, recogniser: CtcRecogniser, trained: dict[str, torch.Tensor]) -> None:
    """Add what is trained to the encoder's weights, and take the connector's as they are."""
    weights = dict(recogniser.named_parameters())
    needed = {name for name in weights if name.startswith("connector.")}
    odd = (trained.keys() - weights.keys()) | (needed - trained.keys())
    odd |= {name for name in trained.keys() & weights.keys() if trained[name].shape != weights[name].shape}
    if odd:
        raise _refusal(source, min(odd))
    for name, value in trained.items():
        weight = weights[name]
        base = weight.float() if name.startswith("encoder.") else 0.0
        weight.copy_(base + value.to(weight.device))


def _refusal(source: ModelSource, name: str) -> ModelError:
    return ModelError(
        f"{name} in {WEIGHTS} of model {source.options.path} is missing or does not fit its Whisper, its "
        "language model and its config.json: give the two models that it was trained between"
    )
