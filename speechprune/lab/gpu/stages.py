"""Prefill, encoder and pruning, each alone."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import torch

from speechprune.audio import SAMPLE_RATE
from speechprune.cost import encode_flops, paper_activation_bytes, prefill_flops
from speechprune.inference.encode import EncodedAudio
from speechprune.lab.gpu.bench import Bench, Rows
from speechprune.lab.gpu.clock import peak_gigabytes, queued_seconds, reset_peak, seconds_of
from speechprune.lab.gpu.recordings import make_samples
from speechprune.lab.gpu.sizes import TABLE_I_MILLISECONDS
from speechprune.lab.qwen2_audio import as_qwen2_audio
from speechprune.models.base import SpeechModel, Window
from speechprune.pruning import (
    FeatureInputs,
    FirstPhase,
    LateInteraction,
    PruningInputs,
    PruningMethod,
    SpeechPrune,
)
from speechprune.pruning.transfers import upload

QUERY_TOKENS = 30  # of a question with four choices


def measure_prefill(bench: Bench) -> Rows:
    """Milliseconds a prompt, one at a time and in a batch, beside the paper's Table I."""
    model = bench.lm.model
    for batch in (1, bench.sizes.prompt_batch):
        for num_tokens in bench.sizes.prompt_tokens:
            prompts = bench.prompts(num_tokens, batch)
            reset_peak(bench.device)
            seconds = seconds_of(bench.device, partial(model.next_token_logits, prompts), bench.sizes.repeats)
            flops = batch * prefill_flops(model.shape.decoder, num_tokens)
            yield {
                "tokens": num_tokens,
                "batch": batch,
                "ms_per_prompt": seconds / batch * 1e3,
                "table_i_ms": TABLE_I_MILLISECONDS.get(num_tokens),
                "share_of_matrix_rate": bench.share("decoder", flops, seconds),
                "peak_gb": peak_gigabytes(bench.device),
                "account_gb": weights_gigabytes(bench) + batch * activation_gigabytes(bench, num_tokens),
                "tflops": flops / 1e12,
                "seconds": seconds,
            }


def weights_gigabytes(bench: Bench) -> float:
    """All weights of the model, GB of 10⁹ bytes."""
    return sum(p.numel() * p.element_size() for p in as_qwen2_audio(bench.lm).model.parameters()) / 1e9


def activation_gigabytes(bench: Bench, num_tokens: int) -> float:
    """One prompt's activations by the account, GB of 10⁹ bytes."""
    return paper_activation_bytes(bench.lm.model.shape.decoder, num_tokens) / 1e9


def measure_encoder(bench: Bench) -> Rows:
    """Windows a second from samples to embeddings, and of the encoder alone; log-mel on host and card."""
    model = as_qwen2_audio(bench.lm)
    tower, extractor = model.model.model.audio_tower, model.processor.feature_extractor
    for batch in bench.sizes.encoder_batches:
        samples = [make_samples(model.window_seconds, seed) for seed in range(batch)]
        windows = [Window(part, 0.0) for part in samples]
        reset_peak(bench.device)
        from_samples = queued_seconds(
            bench.device, partial(model.embed_windows, windows), bench.sizes.repeats
        )
        peak = peak_gigabytes(bench.device)
        features = torch.randn(
            batch, extractor.feature_size, extractor.nb_max_frames, device=bench.device, dtype=model.dtype
        )
        alone = queued_seconds(bench.device, partial(_encode, tower, features), bench.sizes.repeats)
        flops = encode_flops(model.shape, batch)
        yield {
            "batch": batch,
            "windows_per_second": batch / from_samples,
            "share_of_matrix_rate": bench.share("encoder", flops, from_samples),
            "windows_per_second_alone": batch / alone,
            "share_alone": bench.share("encoder", flops, alone),
            "log_mel_host_ms": _log_mel_ms(bench, extractor, samples, "cpu"),
            "log_mel_card_ms": _log_mel_ms(bench, extractor, samples, str(bench.device)),
            "peak_gb": peak,
            "tflops": flops / 1e12,
            "seconds": from_samples,
        }


@torch.inference_mode()
def _encode(tower: torch.nn.Module, features: torch.Tensor) -> torch.Tensor:
    states: torch.Tensor = tower(features, attention_mask=None).last_hidden_state
    return states


def _log_mel_ms(bench: Bench, extractor: object, samples: list[np.ndarray], device: str) -> float:
    """Milliseconds a window of Hugging Face's own log-mel features."""
    floats = [part.astype(np.float32) / 32768.0 for part in samples]

    def run() -> None:
        extractor(  # type: ignore[operator]
            floats, sampling_rate=SAMPLE_RATE, padding="max_length", return_tensors="pt", device=device
        )

    return seconds_of(bench.device, run, min(3, bench.sizes.repeats)) / len(samples) * 1e3


def measure_pruning(bench: Bench) -> Rows:
    """Milliseconds a question of each method, features included, by length and number of questions."""
    width = bench.lm.model.shape.decoder.hidden_size
    for seconds in bench.sizes.lengths:
        audio = random_audio(bench, seconds, bench.lm.model.dtype)
        tokens = len(audio.embeds)
        for num_questions in bench.sizes.questions:
            queries = [
                torch.randn(QUERY_TOKENS, width, device=bench.device, dtype=bench.lm.model.dtype)
                for _ in range(num_questions)
            ]
            for method in (FirstPhase(), SpeechPrune(), LateInteraction()):
                taken = seconds_of(
                    bench.device,
                    partial(prune_all, bench.lm.model, audio, queries, method),
                    min(3, bench.sizes.repeats),
                )
                flops = method.flops(
                    bench.lm.model.shape.decoder, tokens, QUERY_TOKENS, min(tokens, method.budget)
                )
                yield {
                    "audio_seconds": seconds,
                    "questions": num_questions,
                    "method": method.name,
                    "ms_per_question": taken / num_questions * 1e3,
                    "ms_by_flops": flops / bench.matrix_rates["decoder"] * 1e3,
                }


def random_audio(bench: Bench, seconds: float, dtype: torch.dtype) -> EncodedAudio:
    """A recording of random embeddings."""
    model = bench.lm.model
    rate = model.shape.token_rate
    num_tokens = round(seconds * rate)
    starts = np.arange(num_tokens) / rate
    times = np.stack([starts, starts + 1 / rate], axis=1)
    return EncodedAudio(
        embeds=torch.randn(num_tokens, model.shape.decoder.hidden_size, device=bench.device, dtype=dtype),
        times=times,
        frame_starts=model.frame_starts(times),
        seconds=seconds,
        num_encoder_flops=0,
    )


@torch.inference_mode()
def prune_all(
    model: SpeechModel, audio: EncodedAudio, queries: list[torch.Tensor], method: PruningMethod
) -> list[np.ndarray]:
    """Tokens kept for each query, on the device of the embeddings, features included; one wait at the end."""
    device = audio.embeds.device
    projections = model.language_model.projections
    if projections.query_weight.device != device:
        projections = dataclasses.replace(
            projections,
            query_weight=projections.query_weight.to(device),
            key_weight=projections.key_weight.to(device),
        )
    token_ids = [range(len(query)) for query in queries]
    inputs = FeatureInputs(audio.embeds, queries, token_ids, model.shape.token_rate)
    values = {feature.name: feature.compute(inputs) for feature in method.needed_features}
    frame_starts = upload(audio.frame_starts, device)
    results = method.prune_all(
        [
            PruningInputs(
                audio_embeds=audio.embeds,
                query_embeds=query,
                projections=projections,
                frame_starts=frame_starts,
                item_id=str(number),
                features={name: own[number] for name, own in values.items()},
            )
            for number, query in enumerate(queries)
        ]
    )
    return list(torch.stack([torch.as_tensor(one.kept_indices) for one in results]).cpu().numpy())
