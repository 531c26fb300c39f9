"""What families with an ordinary language model of Hugging Face have in common."""

from __future__ import annotations

from typing import Any

from speechprune.cost import DecoderShape
from speechprune.models.base import LanguageModel
from speechprune.models.hub import ModelError
from speechprune.models.source import ModelSource, end_token_ids
from speechprune.pruning import FirstLayerProjections


def decoder_shape(config: Any) -> DecoderShape:
    """Read the sizes of a dense decoder from the config of its language model."""
    return DecoderShape(
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        vocab_size=config.vocab_size,
    )


def rope_switch(config: Any) -> int | None:
    """Read the longest prompt with the usual rotary factors; None where length does not change them."""
    rope = getattr(config, "rope_parameters", None) or {}
    return rope["original_max_position_embeddings"] if rope.get("rope_type") == "longrope" else None


def first_layer_projections(decoder: Any, shape: DecoderShape) -> FirstLayerProjections:
    """W_Q and W_K of a decoder's first layer.

    Raises
    ------
    ModelError
        It has none by the names that Llama gave them.
    """
    attention: Any = getattr(next(iter(getattr(decoder, "layers", [])), None), "self_attn", None)
    if not hasattr(attention, "q_proj") or not hasattr(attention, "k_proj"):
        raise ModelError(
            f"{type(decoder).__name__} has no q_proj and k_proj in its first layer, which pruning needs: "
            "give a language model of Llama's modules, such as Llama, Mistral, Qwen or SmolLM"
        )
    return FirstLayerProjections(
        attention.q_proj.weight,
        attention.k_proj.weight,
        shape.num_attention_heads,
        shape.num_key_value_heads,
    )


def language_model_with(placeholder: str, model: Any, tokenizer: Any, shape: DecoderShape) -> LanguageModel:
    """Return a causal language model of text alone, its tokenizer extended by the placeholder of the audio.

    The placeholder has no embedding and needs none: its places are filled with the audio.
    """
    tokenizer.add_special_tokens({"additional_special_tokens": [placeholder]})
    decoder = model.get_decoder()
    return LanguageModel(
        tokenizer=tokenizer,
        decoder=decoder,
        head=model.get_output_embeddings(),
        embedding=model.get_input_embeddings(),
        projections=first_layer_projections(decoder, shape),
        audio_token_id=tokenizer.convert_tokens_to_ids(placeholder),
        end_token_ids=end_token_ids(model.generation_config, tokenizer),
        max_prompt_tokens=model.config.max_position_embeddings,
        rope_switch=rope_switch(model.config),
    )


def load_tokenizer(source: ModelSource) -> Any:
    """Load a tokenizer with the chat template of the model's processor, which itself is not loaded.

    A processor for images, too, wants packages that speech does not need.

    Raises
    ------
    ModelError
        There is no chat template.
    """
    from transformers import AutoTokenizer, ProcessorMixin

    tokenizer = AutoTokenizer.from_pretrained(**source.location)
    settings, _ = ProcessorMixin.get_processor_dict(**source.location)
    tokenizer.chat_template = settings.get("chat_template", tokenizer.chat_template)
    check_chat_template(tokenizer, source.folder)
    return tokenizer


def check_chat_template(tokenizer: Any, folder: str) -> None:
    """Refuse a tokenizer without a chat template."""
    if tokenizer.chat_template is None:
        raise ModelError(f"{folder} has no chat template: give one that was tuned to chat")
