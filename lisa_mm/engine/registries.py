"""Children of mmengine's remaining registries, so that the scope ``lisa_mm`` is known in each.

Without them, mmengine warns about an unknown scope for every optimizer and schedule it builds.
"""

from __future__ import annotations

from mmengine import registry as mmengine_registry
from mmengine.registry import Registry

_NAMES = (
    'EVALUATOR',
    'FUNCTIONS',
    'LOG_PROCESSORS',
    'MODEL_WRAPPERS',
    'OPTIMIZERS',
    'OPTIM_WRAPPERS',
    'OPTIM_WRAPPER_CONSTRUCTORS',
    'PARAM_SCHEDULERS',
    'RUNNERS',
    'VISBACKENDS',
    'VISUALIZERS',
    'WEIGHT_INITIALIZERS',
)

for _name in _NAMES:
    _parent = getattr(mmengine_registry, _name)
    if 'lisa_mm' not in _parent.children:
        Registry(_parent.name, parent=_parent, scope='lisa_mm')
