"""Predictions made elsewhere, judged like our own: docs/score_predictions.md."""

from .entries import Prediction, Predictions
from .judging import judge_predictions
from .reading import read_predictions

__all__ = ['Prediction', 'Predictions', 'judge_predictions', 'read_predictions']
