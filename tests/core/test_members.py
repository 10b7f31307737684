from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.core.adapter_files import SITES, write_diffusers
from tests.core.test_files import names, opened

from wsa.errors import WsaError
from wsa.population.assembly import RefusedFiles
from wsa.population.reading import Reading


def test_one_base_model_among_others_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(3):
        write_diffusers(tmp_path / f"{n}.safetensors", seed=n)
    write_diffusers(tmp_path / "x.safetensors", width=20)
    with pytest.raises(RefusedFiles, match="1 of 4 files are refused"):
        opened(tmp_path)
    assert "refused x.safetensors: base model" in capsys.readouterr().err
    kept = opened(tmp_path, Reading(skip_bad=True))
    assert kept.count == 3
    assert [each.name for each in kept.refused] == ["x.safetensors"]


def test_a_lacking_module_is_refused_or_left_out_for_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(2):
        write_diffusers(tmp_path / f"{n}.safetensors", seed=n)
    write_diffusers(tmp_path / "x.safetensors", sites=SITES[1:])
    with pytest.raises(RefusedFiles):
        opened(tmp_path)
    assert f"it lacks 1 ('unet.{SITES[0]}') of the modules" in capsys.readouterr().err
    found = opened(tmp_path, Reading(common_modules=True))
    assert names(found) == ["0.safetensors", "1.safetensors", "x.safetensors"]
    assert found.catalogue.layers("delta").names == [f"unet.{site}" for site in SITES[1:]]
    note = f"modules that not all adapters have are left out: 1 ('unet.{SITES[0]}')"
    assert found.notes == ("alpha=assumed 1 x in 3 of 3 files: they state none", note)


def test_adapters_without_a_common_module_are_not_one_population(tmp_path: Path) -> None:
    write_diffusers(tmp_path / "a.safetensors", sites=SITES[:2])
    write_diffusers(tmp_path / "b.safetensors", sites=SITES[2:])
    with pytest.raises(RefusedFiles, match="1 of 2"):
        opened(tmp_path, Reading(common_modules=True))


def test_who_shares_no_module_with_the_largest_group_that_shares_one_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # every two have a module in common, all of them none
    for name, lacking in (("a", 0), ("b", 0), ("c", 1), ("d", 1), ("e", 2), ("f", 1)):
        sites = [site for n, site in enumerate(SITES[:3]) if n != lacking]
        write_diffusers(tmp_path / f"{name}.safetensors", sites=sites)
    reading = Reading(common_modules=True)
    with pytest.raises(RefusedFiles, match="1 of 6 files are refused"):
        opened(tmp_path, reading)
    told = f"no module is in all 6 adapters: 5 have 'unet.{SITES[2]}', this one does not"
    assert f"refused e.safetensors: {told}" in capsys.readouterr().err
    kept = opened(tmp_path, replace(reading, skip_bad=True))
    assert kept.catalogue.layers("delta").names == [f"unet.{SITES[2]}"]
    assert [each.name for each in kept.refused] == ["e.safetensors"]


def test_keys_that_are_left_out_are_told_of_a_population(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for n in range(3):
        path = write_diffusers(tmp_path / f"{n}.safetensors", seed=n)
        if n:
            extra = {"more": torch.ones(1), f"unet.{SITES[0]}.dora_scale": torch.ones(1)}
            save_file(load_file(path) | extra, path)
    found = opened(tmp_path, Reading(allow_partial=True, common_modules=True))
    told = [note for note in found.notes if "keys that are left out" in note]
    assert told[0].startswith("2 of 3 files hold keys that are left out: 4 ('more', 'unet.")


def test_a_network_is_no_adapter_of_the_same_shape(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    write_diffusers(tmp_path / "a.safetensors", sites=SITES[:1])
    save_file({f"unet.{SITES[0]}.weight": torch.ones(12, 12)}, tmp_path / "b.safetensors")
    with pytest.raises(RefusedFiles, match="1 of 2"):
        opened(tmp_path)


def test_a_folder_in_which_nothing_can_be_read_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"no")
    with pytest.raises(WsaError, match="holds no adapter that can be read; 1 are refused"):
        opened(tmp_path)
    assert "it has 2 bytes; a safetensors file needs 8 and a header" in capsys.readouterr().err


def test_the_limit_takes_the_first_names_and_describes_no_other(tmp_path: Path) -> None:
    write_diffusers(tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes(b"no")
    assert names(opened(tmp_path, Reading(limit=1))) == ["a.safetensors"]
