"""Explanations: does what they say matter, and how long do they take?

    OMP_NUM_THREADS=1 python scripts/benchmarks/explaining.py CHECKPOINT reviews.csv

compares, for 100 reviews, how far the log odds of the label fall when the five words that speak
most for it are deleted, and how far they move when five random words are.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from sentiment import Predictor
from sentiment.predict.explanation import Explanation
from sentiment.predict.logits import log_odds

WORDS, DRAWS, TOKENS = 5, 4, 250


def moved(
    predictor: Predictor, explanation: Explanation, drawn: np.random.Generator
) -> tuple[float, float]:
    """How far the log odds fall without the words that speak most for the label, and move else."""
    words = [token.token for token in explanation.tokens]
    heaviest = np.argsort([-token.weight for token in explanation.tokens])[:WORDS]
    random = [drawn.choice(len(words), min(WORDS, len(words)), replace=False) for _ in range(DRAWS)]
    deleted = [set[int](), *({int(each) for each in one} for one in (heaviest, *random))]
    texts = [
        " ".join(word for index, word in enumerate(words) if index not in each) for each in deleted
    ]
    whole, without, *others = log_odds(
        predictor.logits(texts), predictor.labels.index(explanation.label)
    )
    return whole - without, float(np.abs(whole - np.array(others)).mean())


def main() -> None:
    """Print what 100 reviews show."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--reviews", type=int, default=100)
    given = parser.parse_args()
    predictor = Predictor.load(given.checkpoint)
    texts = pd.read_csv(given.csv, nrows=given.reviews)[predictor.text_column]
    predictor.explain(texts[0])  # imports what it needs
    drawn = np.random.default_rng(0)
    moves, seconds, missing = [], [], []
    for text in texts:
        explanation = predictor.explain(text)
        if len(explanation.tokens) >= TOKENS:
            start = time.process_time()
            predictor.explain(explanation.text[: explanation.tokens[TOKENS - 1].end])
            seconds.append(time.process_time() - start)
        total = sum(token.weight for token in explanation.tokens)
        missing.append(abs(explanation.log_odds - explanation.reference - total))
        moves.append(moved(predictor, explanation, drawn))
    heaviest, random = np.mean(moves, 0)
    sys.stdout.write(
        f"log odds without the {WORDS} words that speak most for the label fall by"
        f" {heaviest:.2f}, without {WORDS} random ones they move by"
        f" {random:.2f}: {heaviest / random:.1f} times as much\n"
        f"missing from the sum of the weights, at most: {max(missing):.5f}\n"
        f"CPU time for {TOKENS} tokens: {1000 * np.median(seconds):.0f} ms (median)\n"
    )


if __name__ == "__main__":
    main()
