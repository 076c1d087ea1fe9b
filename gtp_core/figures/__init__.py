"""Tables in, plotly figures out; each with its one-sentence alternative and its numbers."""

from gtp_core.figures.budget import held_out_figure, residual_figure, rounds_figure
from gtp_core.figures.contrast import (
    CHECKPOINT_COLUMNS,
    by_checkpoint_figure,
    likeness_figure,
    sources_figure,
    styles,
    upset_figure,
)
from gtp_core.figures.contrast_pool import hero_figure, ranks_figure
from gtp_core.figures.mix import (
    checkpoint_figure,
    length_figure,
    norm_figure,
    overlap_figure,
    source_figure,
)
from gtp_core.figures.theme import COLOURS, Picture, Theme, colour, lay_out, word
from gtp_core.figures.why import (
    cosines_figure,
    covered_figure,
    examples_figure,
    sample_checkpoints_figure,
    subtasks_figure,
    timeline_figure,
    waterfall_figure,
)

__all__ = [
    "CHECKPOINT_COLUMNS",
    "COLOURS",
    "Picture",
    "Theme",
    "by_checkpoint_figure",
    "checkpoint_figure",
    "colour",
    "cosines_figure",
    "covered_figure",
    "examples_figure",
    "held_out_figure",
    "hero_figure",
    "lay_out",
    "length_figure",
    "likeness_figure",
    "norm_figure",
    "overlap_figure",
    "ranks_figure",
    "residual_figure",
    "rounds_figure",
    "sample_checkpoints_figure",
    "source_figure",
    "sources_figure",
    "styles",
    "subtasks_figure",
    "timeline_figure",
    "upset_figure",
    "waterfall_figure",
    "word",
]
