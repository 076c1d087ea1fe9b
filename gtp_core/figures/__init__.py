"""Tables in, plotly figures out; each with its one-sentence alternative and its numbers."""

from gtp_core.figures.budget import held_out_figure, residual_figure, rounds_figure
from gtp_core.figures.mix import (
    checkpoint_figure,
    length_figure,
    norm_figure,
    overlap_figure,
    source_figure,
)
from gtp_core.figures.theme import COLOURS, Picture, Theme, colour, lay_out, word

__all__ = [
    "COLOURS",
    "Picture",
    "Theme",
    "checkpoint_figure",
    "colour",
    "held_out_figure",
    "lay_out",
    "length_figure",
    "norm_figure",
    "overlap_figure",
    "residual_figure",
    "rounds_figure",
    "source_figure",
    "word",
]
