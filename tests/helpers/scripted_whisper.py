"""A Whisper whose decoder gives what a script says, for what random weights can't show."""

import functools
from collections.abc import Sequence

import torch

from tests.helpers.tiny_cascade import FIRST_TIMESTAMP, IDS

END = IDS["<|endoftext|>"]
CERTAIN, UNSURE = 30.0, 1.0  # logit of the token of the script; all others have 0


def time_token(seconds: float) -> int:
    return FIRST_TIMESTAMP + round(seconds / 0.02)


class Script:
    """Logits of the tokens of each pass in turn, and of speech or none.

    - ``passes``: tokens of each pass, without the closing one.
    - ``features``: what each pass was given, ``(windows, mel bins, mel frames)``.
    """

    def __init__(
        self, model, passes: Sequence[Sequence[int]], *, sureness: float = CERTAIN, is_speech: bool = True
    ) -> None:
        self._passes = [[*tokens, END] for tokens in passes]
        self._sureness, self._is_speech = sureness, is_speech
        self._number, self._step = -1, 0
        self.features: list[torch.Tensor] = []
        self._forward = model.forward  # whose signature generate reads
        model.forward = functools.wraps(model.forward)(lambda *args, **kwargs: self._call(*args, **kwargs))
        model.get_encoder().register_forward_pre_hook(lambda _, inputs: self.features.append(inputs[0]))

    def _call(self, *args, **kwargs):
        output = self._forward(*args, **kwargs)
        num_tokens = kwargs["decoder_input_ids"].shape[1]
        logits = torch.zeros_like(output.logits)
        if not kwargs.get("use_cache", True):  # the step that tells language and speech
            logits[..., IDS["<|en|>"] if self._is_speech else IDS["<|nospeech|>"]] = CERTAIN
        else:
            is_prompt = num_tokens > 1
            self._number, self._step = self._number + is_prompt, 0 if is_prompt else self._step + 1
            tokens = self._passes[self._number]
            logits[..., tokens[min(self._step, len(tokens) - 1)]] = self._sureness
        output.logits = logits
        return output
