"""What ``jobs/train_connector.py`` and ``jobs/measure_connector.py`` print."""

from __future__ import annotations

from speechprune.lab.connector.config import ConnectorConfig
from speechprune.lab.connector.measure import Recognition


def report_connector(config: ConnectorConfig, found: Recognition) -> int:
    """Print what it recognises of held-out texts in held-out voices."""
    print(f"frames right: {found.num_frames_right / max(1, found.num_frames):.1%} of {found.num_frames:,}")
    print(f"words wrong: {found.num_word_errors / max(1, found.num_words):.1%} of {found.num_words:,}")
    print(f"text:  {found.example[0]}\nfound: {found.example[1]}")
    print(f"connector: {config.output.path}")
    return 0


def report_answers(config: ConnectorConfig, right: dict[str, dict[str, float]]) -> int:
    """Print the share of right answers by voice, and from what they were given."""
    for voice, shares in right.items():
        texts = [f"{name} {share:.1%}" for name, share in shares.items() if name != "questions"]
        print(f"{voice}, {shares['questions']:.0f} questions: {', '.join(texts)}")
    return 0
