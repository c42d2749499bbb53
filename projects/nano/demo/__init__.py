"""A seeded synthetic set of nameable objects in ReasonSeg's layout, with a split to pretrain on."""
