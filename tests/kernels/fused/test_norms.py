from __future__ import annotations

import pytest
import torch

from wsa_kernels.fused.norms import FIELDS, axes, describe


@pytest.mark.parametrize("shape", [(1, 31), (32, 33), (40, 320)], ids=str)
def test_norms_are_described_from_their_energies(shape: tuple[int, int], device: str) -> None:
    places = axes([1, 0], [shape, (5, 2)], torch.device(device))
    energies = torch.rand(3, places.width, generator=torch.Generator().manual_seed(0)).double()
    out = torch.full((3, 2, FIELDS), torch.nan, device=device)
    describe(energies.to(device), places, out)
    assert out.isfinite().all()
    for axis in (0, 1):
        start = int(places.starts[axis, 0])
        norms = energies[:, start : start + shape[axis]].sqrt()
        std = norms.std(1) if shape[axis] > 1 else torch.zeros(3)
        wanted = torch.stack([norms.mean(1), std, norms.amax(1)], 1).float()
        torch.testing.assert_close(out[:, 1, 3 * axis : 3 * axis + 3].cpu(), wanted)


def test_a_profile_is_the_root_mean_energy_of_each_group(device: str) -> None:
    places = axes([0], [(80, 7)], torch.device(device))
    energies = torch.rand(2, places.width, generator=torch.Generator().manual_seed(0)).double()
    out = torch.full((2, 1, FIELDS), torch.nan, device=device)
    describe(energies.to(device), places, out)
    groups = energies[:, :80].tensor_split([i * 80 // 32 for i in range(1, 32)], 1)
    rows = torch.stack([each.mean(1) for each in groups], 1).sqrt()
    cols = torch.nn.functional.pad(energies[:, 80:].sqrt(), (0, 25))
    torch.testing.assert_close(out[:, 0, 6:].cpu(), torch.cat([rows, cols], 1).float())
