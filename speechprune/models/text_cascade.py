"""What cascades share: speech becomes text, and a language model reads its own tokens of it.

The audio tokens are the language model's tokens of the text, S are its own embeddings of them: an hour's
transcript is pruned to what a question needs. A window without speech has no token.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from transformers import PreTrainedConfig

from speechprune.audio import SAMPLE_RATE
from speechprune.cost import EncoderShape, ModelShape
from speechprune.models.base import EncodedWindows, SpeechModel, SplicedPrompt, Window
from speechprune.models.cascade_config import TextCascadeConfig
from speechprune.models.hub import ModelError
from speechprune.models.source import ModelSource
from speechprune.models.text_model import check_chat_template, decoder_shape, language_model_with
from speechprune.models.whisper_text import Segment, Transcript

INTRODUCTION = "Transcript of a recording:"
PLACEHOLDER = "<|transcript|>"  # added to the tokenizer in memory; it has no embedding and needs none
_TEST_TOKENS = 8
_TEST_TOLERANCE = 0.02  # of the largest logit


class TextCascade(SpeechModel):
    """What writes down speech, and a language model, behind the contract of ``SpeechModel``.

    The language model is any causal one of Hugging Face that is dense, of Llama's modules (Llama, Mistral,
    Qwen, SmolLM and others) and has a chat template.

    - ``transcriber``: gives the transcript of each window of a batch.
    - ``model``: a loaded causal language model in eval mode.
    - ``tokenizer``: its fast tokenizer.
    - ``config``: the parsed config.json.
    """

    states_are_ids: ClassVar[bool] = True
    min_window_samples: ClassVar[int] = SAMPLE_RATE // 10  # shorter than any word
    full_window_samples: ClassVar[int] = 0  # silence fills a window up, and nothing is masked

    def __init__(
        self,
        transcriber: Callable[[Sequence[Window]], list[Transcript]],
        model: Any,
        tokenizer: Any,
        config: TextCascadeConfig,
        *,
        name: str,
        encoder_batch_size: int,
        prefill_batch_tokens: int,
    ) -> None:
        self.transcriber = transcriber
        self.model = model
        shape = self.shape_of(config)
        super().__init__(
            name=name,
            shape=shape,
            language_model=language_model_with(PLACEHOLDER, model, tokenizer, shape.decoder),
            encoder_batch_size=encoder_batch_size,
            prefill_batch_tokens=prefill_batch_tokens,
        )

    @classmethod
    @abstractmethod
    def encoder_shape(cls, config: Any) -> EncoderShape:
        """Read the sizes of what writes down speech."""

    @classmethod
    @abstractmethod
    def load_transcriber(
        cls, source: ModelSource, text_model: Any, tokenizer: Any
    ) -> Callable[[Sequence[Window]], list[Transcript]]:
        """Load what writes down speech; the language model and its tokenizer are loaded."""

    @classmethod
    def shape_of(cls, config: PreTrainedConfig) -> ModelShape:
        """Read the sizes of both models from their configs."""
        return ModelShape(decoder=decoder_shape(config.text_config), encoder=cls.encoder_shape(config))

    @classmethod
    def holds_all_weights(cls, config: PreTrainedConfig) -> bool:
        """Whether both models are in folders beside config.json."""
        config = cast(TextCascadeConfig, config)
        return bool(config.whisper.subfolder and config.llm.subfolder)

    @classmethod
    def load(cls, source: ModelSource) -> Self:
        """Load both models."""
        from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

        config = cast(TextCascadeConfig, source.config)
        text_source = config.llm.source_in(source)
        text_class = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(text_source.config), None)
        if text_class is None:
            raise ModelError(f"{text_source.folder} is no causal language model: give one")
        tokenizer = cls.load_tokenizer(source)
        check_chat_template(tokenizer, text_source.folder)
        text_model = text_source.load_weights(text_class)
        transcriber = cls.load_transcriber(source, text_model, tokenizer)
        model = cls(transcriber, text_model, tokenizer, config, **source.batches)
        model._check_handles(text_source.folder)
        return model

    @classmethod
    def load_tokenizer(cls, source: ModelSource) -> Any:
        """Load the language model's."""
        from transformers import AutoTokenizer

        config = cast(TextCascadeConfig, source.config)
        return AutoTokenizer.from_pretrained(**config.llm.source_in(source).location)

    @torch.inference_mode()
    def _check_handles(self, path: str) -> None:
        """Refuse a language model that scales its embeddings or logits outside of their modules."""
        token_ids = list(range(_TEST_TOKENS))
        theirs = self.model(input_ids=torch.tensor([token_ids], device=self.device)).logits[0, -1].float()
        (ours,) = self.next_token_logits([SplicedPrompt(self.embed_tokens(token_ids), token_ids)])
        if not (ours - theirs).abs().max() <= _TEST_TOLERANCE * theirs.abs().max():
            raise ModelError(f"{path} scales its embeddings or logits, which a cascade can't: give another")

    def render_chat(self, user_text: str) -> str:
        """Render the language model's chat template: the transcript, then the user's words."""
        content = f"{INTRODUCTION}{PLACEHOLDER}\n\n{user_text}"
        rendered = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        assert isinstance(rendered, str)
        return rendered

    def transcribe(self, windows: Sequence[Window]) -> list[list[Segment]]:
        """Write down a batch of windows: the text of each, in words with times, or in sentences."""
        return [transcript.segments for transcript in self.transcriber(windows)]

    def encode_windows(self, windows: Sequence[Window]) -> EncodedWindows:
        """Write down a batch of windows, and tokenize each one's text for the language model.

        Words have times, or only sentences; the characters of each are spread evenly over its time.
        """
        transcripts = self.transcriber(windows)
        tokens = [text_tokens(self.tokenizer, transcript.segments) for transcript in transcripts]
        ids = [torch.tensor(own, dtype=torch.int32, device=self.device) for own, _ in tokens]
        states = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)[..., None]
        return EncodedWindows(states, [times for _, times in tokens], self.extra_flops(transcripts))

    def extra_flops(self, transcripts: Sequence[Transcript]) -> list[int] | None:
        """FLOPs of each window beyond ``EncoderShape.flops``; here its cost does not depend on the sound."""
        return None

    @torch.inference_mode()
    def project(self, states: torch.Tensor) -> torch.Tensor:
        """Look up the language model's embeddings of token ids."""
        embeds: torch.Tensor = self.language_model.embedding(states[..., 0].to(self.device, torch.long))
        return embeds

    @property
    def projector(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The table of embeddings, transposed."""
        return self.language_model.embedding.weight.T, None


def text_tokens(tokenizer: Any, segments: Sequence[Segment]) -> tuple[list[int], np.ndarray]:
    """Tokenize the text of a window, as plain words whatever it says.

    Returns
    -------
    tuple
        Token ids, and start and end of each in seconds, ``(tokens, 2)``: where a token's characters are in
        their segment, its time is in the segment's.
    """
    text = "".join(segment.text for segment in segments)
    if not text:
        return [], np.zeros((0, 2))
    encoded = tokenizer(
        text, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True
    )
    lengths = np.array([len(segment.text) for segment in segments])
    firsts = np.cumsum(lengths) - lengths
    seconds = np.array([(segment.start_seconds, segment.end_seconds) for segment in segments])

    def time_of(places: np.ndarray, characters: np.ndarray) -> np.ndarray:
        """Seconds at places in the text that belong to the segments of some characters."""
        own = np.searchsorted(firsts, characters, side="right") - 1
        starts, ends = seconds[own].T
        times: np.ndarray = starts + (places - firsts[own]) / lengths[own] * (ends - starts)
        return times

    begins = np.minimum([begin for begin, _ in encoded["offset_mapping"]], len(text) - 1)
    ends = np.maximum([end for _, end in encoded["offset_mapping"]], begins + 1)
    return encoded["input_ids"], np.stack([time_of(begins, begins), time_of(ends, ends - 1)], axis=1)
