"""The configurations for comparing calculated and measured memory.

Real parts at small width: a step takes between about 100 MB and 1.5 GB, so that no constant hides an error; the
buckets are small too. Half of the configurations were drawn with a seed, within each ZeRO stage, and set aside before the first
measurement; only the others were used to correct the calculation.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

SEED = 2024
LOSSES = dict(ce=dict(type='CrossEntropyLoss'), bce=dict(type='MaskBCELoss'), dice=dict(type='MaskDiceLoss'))
TOKENIZER = 'weights://nano/tokenizer'
# elements; the larger embeddings exceed one bucket
BUCKETS = dict(reduce_bucket_size=4_000_000, allgather_bucket_size=4_000_000, stage3_prefetch_bucket_size=1_000_000)
LORA = dict(r=8, lora_alpha=16, lora_dropout=0.05, target_modules=['q_proj', 'v_proj'])


@dataclass(frozen=True)
class MemoryCase:
    """A small configuration with the shape of its batch.

    Args:
        name: A unique name.
        mllm, mask_decoder: Parts.
        images, rows, tokens: Images per forward, rows per image, tokens per row with its image tokens.
        size: Height and width of the images in pixels, which masks are resized to.
        full: Train the language model's own weights instead of LoRA.
        train_embeddings: See :class:`lisa_mm.models.LISA`.
        zero_stage: None means plain torch: one device, or DDP for several processes.
        processes, bf16, accumulation: Settings of the strategy.
        overlap: DeepSpeed's ``overlap_comm``.
    """

    name: str
    mllm: dict[str, Any]
    mask_decoder: dict[str, Any]
    images: int = 2
    rows: int = 2
    tokens: int = 256
    size: tuple[int, int] = (240, 320)
    full: bool = False
    train_embeddings: bool = True
    zero_stage: int | None = None
    processes: int = 1
    bf16: bool = False
    accumulation: int = 1
    overlap: bool = False

    def source(self) -> dict[str, Any]:
        """The config without the data set, which the measurement adds."""
        plain = 'LisaSingleDeviceStrategy' if self.processes == 1 else 'LisaDDPStrategy'
        strategy: dict[str, Any] = dict(type=plain, accumulation=self.accumulation)
        if self.zero_stage is not None:
            strategy = dict(
                type='LisaDeepSpeedStrategy',
                zero_stage=self.zero_stage,
                bf16=self.bf16,
                accumulation=self.accumulation,
                zero_options=dict(BUCKETS, overlap_comm=self.overlap),
            )
        return dict(
            model=dict(
                type='LISA',
                mllm=self.mllm,
                mask_decoder=self.mask_decoder,
                seg_head=dict(type='SegTokenHead'),
                losses=LOSSES,
                lora=None if self.full else LORA,
                tuning='full' if self.full else None,
                train_embeddings=self.train_embeddings,
            ),
            strategy=strategy,
            train_cfg=dict(type='IterTrainLoop', max_iters=3),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-4)),
            train_dataloader=dict(batch_size=self.images),
        )


def _clip(width: int = 256, depth: int = 4, **more: object) -> dict[str, Any]:
    config = dict(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=depth,
        num_attention_heads=width // 64,
        image_size=112,
        patch_size=14,
    )
    return dict(type='CLIPVisionTower', config=config, **more)


def _llava(
    width: int,
    depth: int,
    *,
    family: str = 'llama',
    vocabulary: int = 8000,
    checkpointing: bool = False,
    tower: dict[str, Any] | None = None,
    share_prefix: bool | None = False,  # as in the measurements of the first cases, which were made before it was the default
    **more: object,
) -> dict[str, Any]:
    config = dict(
        model_type=family,
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=width * 11 // 4 // 64 * 64,
        num_hidden_layers=depth,
        num_attention_heads=width // 64,
        num_key_value_heads=width // 64 if family == 'llama' else width // 128,
    )
    language_model = dict(
        type='CausalLM',
        config=config,
        tokenizer=TOKENIZER,
        template='plain',
        gradient_checkpointing=checkpointing,
        share_prefix=share_prefix,
        **more,
    )
    return dict(
        type='LlavaMLLM',
        vision_tower=tower or _clip(),
        projector=dict(type='MLPProjector'),
        language_model=language_model,
    )


def _qwen(width: int, depth: int, *, checkpointing: bool = False, share_prefix: bool | None = False) -> dict[str, Any]:
    return dict(
        type='HFMLLM',
        processor=TOKENIZER,
        template='plain',
        gradient_checkpointing=checkpointing,
        share_prefix=share_prefix,
        image_options=dict(size=dict(shortest_edge=3136, longest_edge=50176)),  # at most 64 tokens of 28 x 28
        config=dict(
            model_type='qwen2_5_vl',
            image_token_id=7001,
            video_token_id=7002,
            vision_start_token_id=7003,
            vision_end_token_id=7004,
            text_config=dict(
                vocab_size=8000,
                hidden_size=width,
                intermediate_size=width * 11 // 4 // 64 * 64,
                num_hidden_layers=depth,
                num_attention_heads=width // 64,
                num_key_value_heads=width // 128,
                rope_parameters=dict(rope_type='default', rope_theta=1000000.0, mrope_section=[8, 12, 12]),
            ),
            vision_config=dict(
                depth=4, hidden_size=256, intermediate_size=688, num_heads=4, out_hidden_size=width, fullatt_block_indexes=[3]
            ),
        ),
    )


def _sam(width: int = 192, depth: int = 4, side: int = 256, **more: object) -> dict[str, Any]:
    encoder = dict(
        type='SAMImageEncoder',
        image_size=side,
        embed_dim=width,
        depth=depth,
        num_heads=width // 64,
        global_attn_indexes=(1, 3),
        **more,
    )
    return dict(type='SAMMaskDecoder', image_encoder=encoder)


def _sam2(side: int = 256) -> dict[str, Any]:
    fine = side // 4
    return dict(
        type='HFMaskDecoder',
        config=dict(
            model_type='sam2',
            vision_config=dict(
                backbone_channel_list=[384, 192, 96, 48],
                backbone_feature_sizes=[[fine, fine], [fine // 2, fine // 2], [fine // 4, fine // 4]],
                backbone_config=dict(
                    model_type='sam2_hiera_det_model',
                    image_size=[side, side],
                    hidden_size=48,
                    num_attention_heads=1,
                    blocks_per_stage=[1, 2, 4, 1],
                    embed_dim_per_stage=[48, 96, 192, 384],
                    num_attention_heads_per_stage=[1, 2, 4, 8],
                    window_size_per_stage=[8, 4, 8, 4],
                    global_attention_blocks=[5],
                ),
            ),
            prompt_encoder_config=dict(image_size=side),
        ),
    )


CASES: tuple[MemoryCase, ...] = (
    MemoryCase('llama 512x8, LoRA', _llava(512, 8), _sam(), rows=3),
    MemoryCase('llama 512x8, LoRA, checkpointing', _llava(512, 8, checkpointing=True), _sam(), rows=3),
    MemoryCase('llama 640x6, full', _llava(640, 6), _sam(), images=1, full=True),
    MemoryCase('llama 640x6, full, bf16, ZeRO-0', _llava(640, 6), _sam(), images=1, full=True, zero_stage=0, bf16=True),
    MemoryCase('llama 768x6, LoRA, ZeRO-1 x 2', _llava(768, 6), _sam(), images=1, zero_stage=1, processes=2),
    MemoryCase('llama 640x6, full, bf16, ZeRO-1 x 2', _llava(640, 6), _sam(), full=True, zero_stage=1, processes=2, bf16=True),
    MemoryCase(
        'llama 640x6, full, bf16, ZeRO-2 x 2',
        _llava(640, 6),
        _sam(),
        full=True,
        zero_stage=2,
        processes=2,
        bf16=True,
        overlap=True,
    ),
    MemoryCase(
        'llama 768x8, LoRA, checkpointing, bf16, ZeRO-2 x 2',
        _llava(768, 8, checkpointing=True),
        _sam(),
        rows=3,
        tokens=384,
        zero_stage=2,
        processes=2,
        bf16=True,
        accumulation=2,
        overlap=True,
    ),
    MemoryCase('llama 640x6, full, bf16, ZeRO-3 x 2', _llava(640, 6), _sam(), full=True, zero_stage=3, processes=2, bf16=True),
    MemoryCase('llama 768x8, LoRA, ZeRO-3 x 2', _llava(768, 8), _sam(), images=1, zero_stage=3, processes=2),
    MemoryCase(
        'qwen2 512x6, 32k words, LoRA, bf16, ZeRO-2',
        _llava(512, 6, family='qwen2', vocabulary=32000),
        _sam2(),
        zero_stage=2,
        bf16=True,
    ),
    MemoryCase(
        'qwen2 512x6, 32k words frozen, LoRA', _llava(512, 6, family='qwen2', vocabulary=32000), _sam2(), train_embeddings=False
    ),
    MemoryCase(
        'qwen2.5-vl 512x6, SAM 2, LoRA, checkpointing, bf16, ZeRO-2',
        _qwen(512, 6, checkpointing=True),
        _sam2(),
        rows=3,
        zero_stage=2,
        bf16=True,
    ),
    MemoryCase('qwen2.5-vl 512x4, SAM 2, full', _qwen(512, 4), _sam2(), images=1, full=True),
    MemoryCase('llama 256x2, SAM encoder trained', _llava(256, 2), _sam(frozen=False)),
    MemoryCase('llama 256x2, SAM encoder at 512 px', _llava(256, 2, checkpointing=True), _sam(384, 4, 512), images=3, rows=1),
    MemoryCase(
        'llama 256x2, 24 large masks, bf16, ZeRO-2',
        _llava(256, 2),
        _sam2(),
        images=3,
        rows=8,
        tokens=128,
        size=(480, 640),
        zero_stage=2,
        bf16=True,
    ),
    MemoryCase('llama 384x6, rows of 1024, eager', _llava(384, 6, attention='eager'), _sam(), images=1, rows=1, tokens=1024),
    MemoryCase('llama 384x4, vision tower trained', _llava(384, 4, tower=_clip(384, 8, frozen=False)), _sam(), images=6, rows=1),
    MemoryCase('llama 256x24, LoRA, checkpointing', _llava(256, 24, checkpointing=True), _sam(), rows=3, tokens=512),
)
# Added after half of the others had been set aside
ADDED: tuple[MemoryCase, ...] = (
    MemoryCase('llama 640x6, LoRA, DDP x 2', _llava(640, 6), _sam(), images=1, processes=2),
    MemoryCase(
        'llama 512x6, full, accumulated, DDP x 2', _llava(512, 6), _sam(), images=1, full=True, processes=2, accumulation=2
    ),
    MemoryCase('llama 512x8, LoRA, shared prefix', _llava(512, 8, share_prefix=None), _sam(), rows=3),
    MemoryCase(
        'qwen2.5-vl 512x6, SAM 2, LoRA, bf16, ZeRO-2, shared prefix',
        _qwen(512, 6, share_prefix=None),
        _sam2(),
        rows=3,
        zero_stage=2,
        bf16=True,
    ),
)
CASES_BY_NAME = {case.name: case for case in (*CASES, *ADDED)}


def _held_out() -> frozenset[str]:
    """Every second case of a seeded order, grouped by ZeRO stage and number of processes."""
    order = random.Random(SEED).sample(sorted(case.name for case in CASES), len(CASES))
    order.sort(key=lambda name: (str(CASES_BY_NAME[name].zero_stage), CASES_BY_NAME[name].processes))  # stable
    return frozenset(order[1::2])


HELD_OUT = _held_out()
