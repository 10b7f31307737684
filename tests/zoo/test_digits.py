from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest

from wsa.layers import natural
from wsa.zoo import Recipe, make
