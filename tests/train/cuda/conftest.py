"""Training where there is a GPU, natively: `make gpu-check` runs these, and nothing else does."""

from __future__ import annotations

import torch

collect_ignore_glob = [] if torch.cuda.is_available() else ["test_*.py"]
