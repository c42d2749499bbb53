"""Parts: edge cases of heads, losses and loading."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from lisa_mm.errors import CheckpointError, ConfigError
from lisa_mm.models.losses import CrossEntropyLoss, MaskBCELoss, MaskDiceLoss
from lisa_mm.models.projectors import LinearProjector, MLPProjector
from lisa_mm.models.seg_heads import SegTokenHead
from lisa_mm.registry import PROJECTORS

SEG = 9


def test_seg_head_takes_the_state_before_seg():
    head = SegTokenHead(1, 1)
    head.projection = torch.nn.Identity()
    hidden = torch.arange(4.0).reshape(1, 4, 1)  # the state's value is its position
    ids = torch.tensor([[1, 5, SEG, 2]])
    assert head(hidden, ids, SEG)[0].tolist() == [[1.0]]
    head.state = 'at'
    assert head(hidden, ids, SEG)[0].tolist() == [[2.0]]


def test_seg_head_without_seg_and_with_a_first_one():
    head = SegTokenHead(4, 3)
    prompts = head(torch.zeros(2, 3, 4), torch.tensor([[1, 2, 3], [1, SEG, SEG]]), SEG)
    assert [tuple(p.shape) for p in prompts] == [(0, 3), (2, 3)]
    with pytest.raises(ValueError, match=r'begins with \[SEG\]'):
        head(torch.zeros(1, 1, 4), torch.tensor([[SEG]]), SEG)
    with pytest.raises(ConfigError, match="allowed: 'predicting'"):
        SegTokenHead(4, 3, state='after')


def test_losses_by_hand():
    logits = torch.zeros(1, 1, 2)
    target = torch.tensor([[[1.0, 0.0]]])
    assert MaskBCELoss().mask_loss(logits, target).item() == pytest.approx(0.693147, abs=1e-5)
    # 1 - (2 * 0.5 / 1000 + 1e-6) / (1 / 1000 + 1 / 1000 + 1e-6)
    assert MaskDiceLoss().mask_loss(logits, target).item() == pytest.approx(1 - 0.001001 / 0.002001, abs=1e-6)
    assert MaskDiceLoss().mask_loss(torch.full((1, 2, 2), -100.0), torch.zeros(1, 2, 2)).item() == pytest.approx(0.0, abs=1e-6)
    empty = CrossEntropyLoss()(
        {'word_logits': torch.zeros(0, 5, requires_grad=True), 'word_targets': torch.zeros(0, dtype=torch.long)}, []
    )
    assert empty.item() == 0
    empty.backward()


def test_mlp_projector_shapes():
    assert MLPProjector(3, 5)(torch.zeros(2, 7, 3)).shape == (2, 7, 5)


@pytest.mark.parametrize(
    ('state', 'message'),
    [
        ({'linear.weight': torch.zeros(2, 3)}, '1 missing: linear.bias'),
        (
            {'linear.weight': torch.zeros(2, 4), 'linear.bias': torch.zeros(2)},
            r'of another shape: linear.weight \(2, 4\) instead of \(2, 3\)',
        ),
        ({'linear.weight': torch.zeros(2, 3), 'linear.bias': torch.zeros(2), 'x': torch.zeros(1)}, '1 left over: x'),
    ],
)
def test_weights_that_do_not_fit(tmp_path, state, message):
    path = tmp_path / 'p.safetensors'
    save_file(state, path)
    with pytest.raises(CheckpointError, match=message):
        LinearProjector(3, 2, pretrained=str(path))


def test_weights_that_cannot_be_read(tmp_path):
    with pytest.raises(CheckpointError, match='no such file'):
        LinearProjector(3, 2, pretrained=str(tmp_path / 'none.safetensors'))
    path = tmp_path / 'cut.safetensors'
    path.write_bytes(b'\x10\x00')
    with pytest.raises(CheckpointError, match='cut off'):
        LinearProjector(3, 2, pretrained=str(path))
    evil = tmp_path / 'evil.pth'
    torch.save({'a': LinearProjector(1, 1)}, evil)
    with pytest.raises(CheckpointError, match='more than tensors'):
        LinearProjector(3, 2, pretrained=str(evil))


def test_a_part_in_the_wrong_place():
    with pytest.raises(ConfigError, match=r"'MaskDiceLoss' is no registered projector\. 'MaskDiceLoss' is a loss"):
        PROJECTORS.build({'type': 'MaskDiceLoss'})
    with pytest.raises(ConfigError, match="needs the argument 'in_channels'"):
        PROJECTORS.build({'type': 'LinearProjector', 'out_channels': 2})
