"""A seeded synthetic set of nameable objects in ReasonSeg's and refCOCO's layouts, with a split to pretrain on."""
