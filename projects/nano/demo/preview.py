"""A sheet of test scenes with their questions."""

from __future__ import annotations

from pathlib import Path

import matplotlib

from lisa_mm.errors import UserError

from .kinds import HELD_OUT
from .records import reasoning_item
from .scenes import draw_scene


def draw_preview(path: Path, seed: int, count: int = 12) -> None:
    """Draw test scenes with outlined targets and questions beneath; a star marks a held-out combination.

    Args:
        path: The picture to write, as PNG or another format of matplotlib.
        seed: Seed of the set.
        count: Number of scenes, a multiple of three.

    Raises:
        UserError: if the picture can't be written.
    """
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(3, count // 3, figsize=(4 * (count // 3), 12), layout='constrained')
    for index, axis in enumerate(axes.flat):
        # A stride coprime to the 16 kinds and the 4 cases of a target shows a mixture of both.
        scene = draw_scene(seed, 'test', index * 9)
        assert scene.target is not None, 'a test scene has a target'
        target = scene.objects[scene.target]
        question = reasoning_item(scene, seed, '')['text'][0]
        axis.imshow(scene.image, interpolation='nearest')
        axis.contour(target.mask, levels=[0.5], colors='white', linewidths=3.5)
        axis.contour(target.mask, levels=[0.5], colors='magenta', linewidths=1.8)
        star = ' *' if HELD_OUT[target.kind] == target.colour else ''
        axis.set_title(question + star, y=-0.1, fontsize=11, wrap=True)
        axis.set_axis_off()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=80)
    except (OSError, ValueError) as error:
        raise UserError(f'the preview could not be written to {path}: {error}') from error
    finally:
        plt.close(figure)
