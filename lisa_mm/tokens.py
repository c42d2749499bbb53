"""Tokens and numbers that mean the same in the whole package."""

SEG_TOKEN = '[SEG]'
MASK_TOKENS = (SEG_TOKEN,)
IMAGE_START, IMAGE_END = '<im_start>', '<im_end>'
IMAGE_PLACEHOLDER = '<image>'
IMAGE_TOKEN_ID = -200  # one image token in input_ids; never an embedding row (LLaVA's number)
IGNORE_INDEX = -100  # a label that carries no loss
IGNORED = 255  # a mask pixel that is ignored
