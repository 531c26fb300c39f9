"""Whether a model knows the words that it is asked with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer


def unknown_share(model_path: str, texts: Sequence[str]) -> float:
    """Share of the tokens of some texts that the model has no token for, 0 to 1.

    Only a tokenizer with a closed vocabulary, as the demo model's, leaves any word unknown; those of large
    models spell it out. A model that is no local folder counts as one of those.
    """
    file = Path(model_path) / "tokenizer.json"
    if not file.is_file():
        return 0.0
    tokenizer = Tokenizer.from_file(str(file))
    unknown = getattr(tokenizer.model, "unk_token", None)
    if unknown is None:
        return 0.0
    tokenizer.encode_special_tokens = True  # the texts are words: none of them is a control token
    tokens = [token for text in texts for token in tokenizer.encode(text, add_special_tokens=False).tokens]
    return tokens.count(unknown) / max(1, len(tokens))
