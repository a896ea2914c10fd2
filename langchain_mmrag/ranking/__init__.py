"""Rank pictures and passages fairly against each other: pure functions over arrays.

CLIP keeps images and texts in two separate cones, so to a text query every text is nearer than any image.
Each modality m is therefore corrected by its own background: its mean μ_m and a random sample B_m of its
unit vectors. `rank="calibrated"` does this, in the space P_m(x) = unit(W_m (x - μ_m)):

    q    = P_(modality of q)(q)                        B'_m = P_m(B_m)
    h(x) = a · (mean of the 10 greatest x · b over b in B' of the query's modality)
    s(d) = q · P_m(d) - h(P_m(d))
    z(d) = (s(d) - mean over B'_m of s) / (its standard deviation)

- Removing the means is "GR-CLIP" (Li et al. 2025, arXiv 2507.19054). W_m = Σ_m^(-1/16), shrunk, evens out a
  little what a modality's vectors vary in: fully whitened ones tell single items better apart, topics worse.
- h holds back hubs, documents that are near to everything ("NNN", Chowdhury et al. 2024, arXiv 2410.24114).
- Standing the score against what the query scores by chance follows the standardisation of Yamashita et al.
  2025 (arXiv 2511.22141).
- Then the query moves a little towards the best few found and everything is scored once more:
  pseudo-relevance feedback (Rocchio 1971). It only changes the order; the scores stay the query's own.

A document that is itself in the sample is left out of B_m for its own score: of n items none can be
more than sqrt(n - 1) standard deviations from a mean it is part of, so otherwise the rarer modality of a
small collection never wins. Below some twenty documents there is no background to speak of; then it is padded
with a prior, or without one the modalities are merged by rank.
"""

from __future__ import annotations

from langchain_mmrag.ranking.backgrounds import PRIOR_BELOW, SAMPLE_SIZE, Background, Candidates, hubness
from langchain_mmrag.ranking.ranker import Part, Ranker
from langchain_mmrag.ranking.scores import (
    calibrated_scores,
    feedback,
    levelled,
    mmr_order,
    plain_scores,
    rank_scores,
    relevance,
    reordered,
)
from langchain_mmrag.ranking.vectors import (
    SIDES,
    Collapse,
    FloatArray,
    Places,
    Rank,
    SearchMode,
    Side,
    cosines,
    unit,
)

__all__ = [
    "PRIOR_BELOW",
    "SAMPLE_SIZE",
    "SIDES",
    "Background",
    "Candidates",
    "Collapse",
    "FloatArray",
    "Part",
    "Places",
    "Rank",
    "Ranker",
    "SearchMode",
    "Side",
    "calibrated_scores",
    "cosines",
    "feedback",
    "hubness",
    "levelled",
    "mmr_order",
    "plain_scores",
    "rank_scores",
    "relevance",
    "reordered",
    "unit",
]
