"""A linear projector with a sigmoid gate: --swap projector=gated."""

projector = dict(type='GatedProjector')
