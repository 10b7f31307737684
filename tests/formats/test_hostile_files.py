from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from tests.formats import writers
from tests.formats.writers import Tensors, entry, lora, write_peft

from wsa.errors import WsaError
from wsa.formats import adapter
from wsa.formats.adapter import AdapterReader
from wsa.formats.config import LONGEST_CONFIG, Configs
from wsa.formats.inspection import inspect
from wsa.formats.refusal import BadFile
from wsa.population.source import open_population

STEM = "base_model.model.blocks.0.q_proj"
KOHYA = "lora_unet_mid_block_resnets_0_conv1"


def kohya(stem: str = KOHYA, **more: Any) -> Tensors:
    up, down = lora(4, 3, 2)
    return {f"{stem}.lora_up.weight": up, f"{stem}.lora_down.weight": down} | {
        f"{stem}.{name}": value for name, value in more.items()
    }


def peft(**more: Any) -> Tensors:
    up, down = lora(4, 3, 2)
    return {f"{STEM}.lora_B.weight": up, f"{STEM}.lora_A.weight": down} | more


def refusal(path: Path, allow_partial: bool = False) -> str:
    with pytest.raises(BadFile) as refused:
        AdapterReader(allow_partial).describe(path)
    assert str(refused.value).isprintable()
    return str(refused.value)


HALF = torch.ones(2, 3)
FILES: dict[str, tuple[Tensors, str]] = {
    "families mixed": (
        kohya() | peft(),
        "it mixes families of adapters: 2 peft, 2 kohya keys; needed one family in a file",
    ),
    "up without down": (
        {f"{STEM}.lora_B.weight": torch.ones(4, 2)},
        f"module '{STEM}' has up alone; needed both up and down",
    ),
    "alpha alone": (
        peft() | {"base_model.model.blocks.1.q_proj.alpha": torch.tensor(1.0)},
        "module 'base_model.model.blocks.1.q_proj' has an alpha and no matrices",
    ),
    "core without halves": (
        kohya() | {"lora_unet_conv_in.lora_mid.weight": torch.ones(2, 2, 3, 3)},
        "module 'lora_unet_conv_in' has mid alone; needed both up and down",
    ),
    "ranks that differ": (
        {f"{STEM}.lora_B.weight": torch.ones(4, 3), f"{STEM}.lora_A.weight": HALF},
        "shapes do not chain: down [2, 3], up [4, 3]; needed up [out, r], down [r, in]",
    ),
    "a vector": (
        {f"{STEM}.lora_B.weight": torch.ones(4), f"{STEM}.lora_A.weight": HALF},
        "shapes do not chain: down [2, 3], up [4]; needed up [out, r], down [r, in]",
    ),
    "loha lacks a part": (
        {f"{KOHYA}.hada_w1_a": torch.ones(4, 2), f"{KOHYA}.hada_w1_b": HALF},
        f"module '{KOHYA}' has w1_a, w1_b: not all that loha needs",
    ),
    "loha of two shapes": (
        {f"{KOHYA}.hada_w{i}_a": torch.ones(3 + i, 2) for i in (1, 2)}
        | {f"{KOHYA}.hada_w{i}_b": HALF.clone() for i in (1, 2)},
        "needed two products of one shape",
    ),
    "lokr of one half": ({f"{KOHYA}.lokr_w1": HALF}, "needed w2 or both its factors"),
    "lokr whole and factored": (
        {f"{KOHYA}.lokr_{name}": torch.ones(2, 2) for name in ("w1", "w1_a", "w1_b", "w2")},
        "needed w1 or both its factors",
    ),
    "two adapters": (
        {f"{STEM}.lora_{h}.{name}.weight": torch.ones(2, 2) for h in "AB" for name in ("a", "b")},
        f"two matrices claim one place: 2 ('{STEM}.lora_A.a.weight', '{STEM}.lora_A.b.weight')",
    ),
    "two names of one module": (
        kohya("lora_unet_middle_block_0_in_layers_2") | kohya(),
        "two updates of module 'unet.mid_block.resnets.0.conv1': 2 (",
    ),
    "rank 0": (
        {f"{STEM}.lora_B.weight": torch.ones(4, 0), f"{STEM}.lora_A.weight": torch.ones(0, 3)},
        "no element at all",
    ),
    "alpha of two": (
        kohya(alpha=torch.ones(2)),
        f"'{KOHYA}.alpha' needs one number, got shape [2]",
    ),
    "alpha no number": (
        kohya(alpha=torch.tensor(True)),
        f"'{KOHYA}.alpha' needs a number, got BOOL",
    ),
    "weights that are counted": (
        {
            f"{STEM}.lora_B.weight": torch.ones(4, 2, dtype=torch.int8),
            f"{STEM}.lora_A.weight": HALF,
        },
        "holds I8; needed floats",
    ),
    "keys of nobody": (
        peft(**{f"{STEM}.{i}": HALF.clone() for i in range(5)}),
        f"5 ('{STEM}.0', '{STEM}.1', '{STEM}.2', ...) of 7 keys match no known format; "
        f"--allow-partial leaves them out",
    ),
    "modules of nobody": (
        kohya("lora_unet_my_own_block"),
        "1 ('lora_unet_my_own_block') modules have names that no rule knows",
    ),
    "nothing": ({}, "it holds no matrix that wsa can read"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_is_no_whole_adapter_is_refused_with_the_reason(
    case: str, tmp_path: Path
) -> None:
    tensors, reason = FILES[case]
    save_file(tensors, tmp_path / "one.safetensors")
    assert reason in refusal(tmp_path / "one.safetensors")


PARTIAL = {
    "up without down": {f"{STEM}.lora_B.weight"},
    "alpha alone": {"base_model.model.blocks.1.q_proj.alpha"},
    "core without halves": {"lora_unet_conv_in.lora_mid.weight"},
    "weights that are counted": {f"{STEM}.lora_A.weight", f"{STEM}.lora_B.weight"},
    "modules of nobody": {f"lora_unet_my_own_block.lora_{half}.weight" for half in ("up", "down")},
}


@pytest.mark.parametrize("case", PARTIAL)
def test_what_is_whole_is_kept_where_parts_may_be_left_out(case: str, tmp_path: Path) -> None:
    tensors, path = FILES[case][0], tmp_path / "one.safetensors"
    whole = kohya() if "lora_unet" in min(PARTIAL[case]) else peft()
    more = {key.replace("blocks.0", "blocks.7"): value for key, value in whole.items()}
    save_file(tensors | more, path)
    row = inspect(path, AdapterReader(allow_partial=True))
    assert row.refused is None
    assert set(row.skipped) == PARTIAL[case]


@pytest.mark.parametrize("alpha", [0.0, float("nan"), float("inf"), -0.0])
def test_an_alpha_that_says_nothing_is_refused(alpha: float, tmp_path: Path) -> None:
    save_file(kohya(alpha=torch.tensor(alpha)), tmp_path / "one.safetensors")
    with pytest.raises(WsaError, match="no adapter that can be read"):
        open_population(str(tmp_path))


def test_a_name_of_any_length_and_any_digits_is_only_a_name(tmp_path: Path) -> None:
    for name in ("9" * 5000, "1\u00b2", "\u0661", "a" * 100_000, "a\nb", "\0"):
        up, down = lora(4, 3, 2)
        stem = f"base_model.model.b.{name}.q"
        tensors = {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}
        save_file(tensors, tmp_path / "one.safetensors")
        row = inspect(tmp_path / "one.safetensors", AdapterReader())
        assert row.refused is None or len(row.refused) < 500


@pytest.mark.parametrize("kind", ["lokr", "locon"])
def test_a_small_file_that_asks_for_terabytes_is_refused(kind: str, tmp_path: Path) -> None:
    whole = {f"{KOHYA}.lokr_w{i}": torch.ones(1000, 1000) for i in (1, 2)}
    core = {
        f"{KOHYA}.lora_up.weight": torch.ones(4, 1),
        f"{KOHYA}.lora_down.weight": torch.ones(1, 100_000),
        f"{KOHYA}.lora_mid.weight": torch.ones(1, 1, 300, 300),
    }
    save_file(whole if kind == "lokr" else core, tmp_path / "one.safetensors")
    assert f"most {adapter.MOST_FORMED} are formed" in refusal(tmp_path / "one.safetensors")


CONFIGS: dict[str, tuple[Any, str]] = {
    "a list": ([], "adapter_config.json needs a JSON object, got list"),
    "rank a text": ({"r": "8"}, "r needs a number other than 0, got \"'8'\""),
    "rank true": ({"r": True}, "r needs a number other than 0, got 'True'"),
    "rank 0": ({"r": 0}, "r needs a number other than 0, got '0'"),
    "rank of another file": ({"r": 8}, "says rank 8 for 'blocks.0.q_proj', its tensors 2"),
    "alpha 0": ({"lora_alpha": 0}, "lora_alpha needs a number other than 0"),
    "alpha NaN": ({"lora_alpha": float("nan")}, "lora_alpha needs a number other than 0"),
    "alpha infinite": ({"lora_alpha": float("inf")}, "lora_alpha needs a number other than 0"),
    "alpha of 400 digits": ({"lora_alpha": 10**400}, "lora_alpha needs a number other than 0"),
    "alpha a list": ({"lora_alpha": [1]}, "lora_alpha needs a number other than 0, got '[1]'"),
    "rslora a text": ({"use_rslora": "yes"}, "use_rslora needs true or false"),
    "dora a number": ({"use_dora": 1}, "unsupported: DoRA"),
    "kind a number": ({"peft_type": 3}, "unsupported: '3'"),
    "pattern a list": ({"alpha_pattern": ["a"]}, "alpha_pattern needs numbers by pattern"),
    "pattern to a text": ({"rank_pattern": {"q": "2"}}, "rank_pattern of 'q' needs a number"),
    "pattern broken": ({"alpha_pattern": {"(": 2}}, "has a pattern wsa cannot run: '('"),
    "pattern that looks back": (
        {"alpha_pattern": {"(?<=a)b": 2}},
        "has a pattern wsa cannot run: '(?<=a)b'",
    ),
    "pattern of two dialects": (
        {"alpha_pattern": {"a{,3}": 2}},
        "has a pattern that can be read in two ways: 'a{,3}'",
    ),
    "pattern of half a character": ({"alpha_pattern": {"\ud800": 2}}, "a pattern wsa cannot run"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_configuration_that_cannot_be_is_refused_with_the_reason(
    case: str, tmp_path: Path
) -> None:
    settings, reason = CONFIGS[case]
    path = write_peft(tmp_path / writers.ADAPTER)
    (tmp_path / writers.CONFIG).write_text(json.dumps(settings))
    assert reason in refusal(path)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff", b"[" * 10**6, b'{"a":' * 10**5, b'{"a":"' + b"x" * LONGEST_CONFIG]
)
def test_a_configuration_that_is_no_json_is_refused(text: bytes, tmp_path: Path) -> None:
    path = write_peft(tmp_path / writers.ADAPTER)
    (tmp_path / writers.CONFIG).write_bytes(text)
    assert re_read(refusal(path))


def re_read(told: str) -> bool:
    return told.startswith(("its configuration cannot be read:", "adapter_config.json has more"))


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+$",
        r"(.*.*)*x",
        "a?" * 200 + "a" * 200,
        "(a|a)" * 100 + "b",
        r".*.*.*.*.*.*.*x",
        r"(\w+\.)+(\w+\.)+(\w+\.)+x",
        "(a{1,100}){1,9}x",
    ],
)
def test_a_pattern_that_would_take_for_ever_takes_no_time(pattern: str, tmp_path: Path) -> None:
    up, down = lora(4, 3, 2)
    stem = f"base_model.model.{'a' * 3000}.{'a.' * 50}q_proj"
    path = tmp_path / writers.ADAPTER
    save_file({f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}, path)
    (tmp_path / writers.CONFIG).write_text(json.dumps({"alpha_pattern": {pattern: 2}}))
    started = time.perf_counter()
    row = inspect(path, AdapterReader())
    assert time.perf_counter() - started < 5
    assert row.refused is None or "a pattern wsa cannot run" in row.refused


def test_a_rank_of_its_own_for_each_of_2000_modules_is_read_in_seconds(tmp_path: Path) -> None:
    stems = [f"model.layers.{i}.self_attn.q_proj" for i in range(2000)]
    tensors = {
        f"base_model.model.{stem}.lora_{half}.weight": torch.ones(1, 1)
        for stem in stems
        for half in "AB"
    }
    save_file(tensors, tmp_path / writers.ADAPTER)
    settings = {"lora_alpha": 4, "r": 2, "rank_pattern": {f"^{s}": 1 for s in stems}}
    (tmp_path / writers.CONFIG).write_text(json.dumps(settings))
    started = time.perf_counter()
    form = AdapterReader().describe(tmp_path / writers.ADAPTER).form
    assert time.perf_counter() - started < 10
    assert {module.scale.value for module in form.modules} == {4.0}


# names that rules know, in places where they make sense and where they do not
suffixes = st.sampled_from(
    [
        *(f"lora_{half}.weight" for half in ("A", "B", "down", "up", "mid")),
        *("hada_w1_a", "hada_w1_b", "lokr_w1", "lokr_w2_a", "lora_embedding_A"),
        *("alpha", "diff", "lora_magnitude_vector", "lora_E", "oft_blocks", "a1.weight"),
        *("weight", "bias", "scale"),
    ]
)
stems = st.sampled_from(
    [
        *("x", "a..b", "base_model.model.a.0", "lora_unet_conv_in", "unet.conv_in"),
        *("lycoris_conv_in", "lora_te_text_model_encoder_layers_0_mlp_fc1"),
        *("transformer.x.processor.to_q_lora", "lora_unet_double_blocks_0_img_attn_qkv"),
        "double_blocks.0.processor.qkv_lora1",
    ]
)
shapes = st.lists(st.integers(1, 4), max_size=5)
stored = st.dictionaries(st.builds("{}.{}".format, stems, suffixes), shapes, min_size=1, max_size=6)


@settings(deadline=None, max_examples=400)
@given(stored, st.booleans())
def test_any_keys_and_shapes_are_an_adapter_or_refused(
    shapes: dict[str, list[int]], allow_partial: bool
) -> None:
    start, described = 0, {}
    for name, shape in shapes.items():
        described[name] = entry(shape, start)
        start = described[name]["data_offsets"][1]
    reader = AdapterReader(allow_partial)
    structure = reader.headers.parse(json.dumps(described).encode()).structure
    try:
        form = reader._form(structure, Configs({}))
    except BadFile as problem:
        assert len(str(problem)) < 1000 and str(problem).isprintable()
    else:
        assert form.modules and all(each.extent.rows for each in form.modules)
