"""What the oracles of families with a class in transformers share: own forward and own generate."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch

from speechprune.audio import SAMPLE_RATE


class OwnForwardOracle(ABC):
    """Hugging Face's own forward of input ids with placeholders, and of features made of every window.

    - ``model``: of a family of ours, that has ``model`` and ``processor`` of Hugging Face.
    """

    def __init__(self, model: Any) -> None:
        self._model, self._processor = model.model, model.processor

    @abstractmethod
    def inputs(self, samples: np.ndarray, user_text: str) -> dict[str, torch.Tensor]:
        """Make what the forward takes."""

    def prompt_ids(self, samples: np.ndarray, user_text: str) -> list[int]:
        return self.inputs(samples, user_text)["input_ids"][0].tolist()

    @torch.inference_mode()
    def logits(self, samples: np.ndarray, user_text: str) -> torch.Tensor:
        return self._model(**self.inputs(samples, user_text)).logits[0, -1]

    @torch.inference_mode()
    def generate(self, samples: np.ndarray, user_text: str, max_new_tokens: int) -> list[int]:
        inputs = self.inputs(samples, user_text)
        output = self._model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        return output[0, inputs["input_ids"].shape[1] :].tolist()

    @torch.inference_mode()
    def log_probabilities(self, samples: np.ndarray, user_text: str, answer_ids: list[int]) -> torch.Tensor:
        inputs = self.inputs(samples, user_text)
        answer = torch.tensor([answer_ids])
        inputs["input_ids"] = torch.cat([inputs["input_ids"], answer], dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        table = self._model(**inputs).logits.log_softmax(dim=-1)[0, -len(answer_ids) - 1 : -1]
        return table.gather(1, answer.T)[:, 0]


def windows_of_30_seconds(samples: np.ndarray) -> list[np.ndarray]:
    """Cut a recording into windows, as floats."""
    size = 30 * SAMPLE_RATE
    return [(samples[i : i + size] / 32768).astype(np.float32) for i in range(0, len(samples), size)]
