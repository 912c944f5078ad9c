from __future__ import annotations

import numpy as np
import pytest

from lesionlab.errors import InputError
from lesionlab.imaging.registration import CoregisterOptions, coregister, register, rotation_degrees
from lesionlab.imaging.volume import Volume, same_grid

from .conftest import grid_affine, head, rotation
