"""The published recipe in the LLM, and small adapters in the vision tower and in the image encoder of the mask decoder."""

lora = dict(
    r=8,
    lora_alpha=16,
    lora_dropout=0.05,
    target_modules=['q_proj', 'v_proj'],
    vision_tower=dict(r=4, lora_alpha=8, target_modules='all-linear'),
    image_encoder=dict(r=4, lora_alpha=8, target_modules='all-linear'),
)
