from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import PLUGIN, InstallPlugin, MakeDataset

from wsa import cli

Wsa = Callable[..., tuple[int, str, str]]


@pytest.fixture
def wsa(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Wsa:
    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["wsa", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), *capfd.readouterr()

    return call


def rows(wsa: Wsa, *arguments: str, expected: int = 0) -> dict[str, dict[str, Any]]:
    code, out, err = wsa("plugins", "--json", *arguments)
    assert code == expected, err
    return {row["name"]: row for row in json.loads(out)}


HOSTILE = {
    "cannot_import": "import no_such_module",
    "leaves": "import sys; sys.exit(0)",
    "does_not_parse": "def broken(:",
    "offers_nothing": "x = 1",
    "talks": "print('noise'); raise ValueError('after talking')",
    "dated": "wsa_api_version = 99",
}


def test_listing_imports_neither_torch_nor_a_plugin(tmp_path: Path) -> None:
    code = "import sys; sys.argv = ['wsa', 'plugins', '--json']\nfrom wsa import cli\n"
    code += "try: cli.main()\nexcept SystemExit: pass\n"
    code += "print([n for n in sys.modules if n.split('.')[0] in ('torch', 'wsa_plugins')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
    assert '"status": "installed"' in done.stdout


def test_a_loaded_plugin_tells_its_representations_parameters_views_and_columns(wsa: Wsa) -> None:
    found = rows(wsa, "--load")
    assert found["spectral"]["status"] == "ok"
    (spectral,) = found["spectral"]["representations"]
    assert spectral["parameters"] == {"top": "int = 10"}
    assert spectral["columns"] == {"factors": 40, "delta": 40}
    (ensemble,) = found["ensemble"]["representations"]
    assert ensemble["columns"] == {"factors": 115, "delta": 139}


def test_every_hostile_plugin_is_named_with_its_cause_in_one_line(
    wsa: Wsa, install_plugin: InstallPlugin
) -> None:
    for name, source in HOSTILE.items():
        install_plugin(name, source=source)
    install_plugin("odd_columns", source=PLUGIN.format(name="odd_columns", version=1, body="pass"))
    install_plugin("twice", distribution="one")
    install_plugin("twice", distribution="two")
    found = rows(wsa, "--load", expected=1)
    assert found["twice"]["distribution"] in ("one and two", "two and one")
    for name in [*HOSTILE, "twice"]:
        assert name in found[name]["status"]
        assert "\n" not in found[name]["status"]
    assert "No module named 'no_such_module'" in found["cannot_import"]["status"]
    assert "SystemExit: 0" in found["leaves"]["status"]
    assert found["stats"]["status"] == found["odd_columns"]["status"] == "ok"


def test_columns_that_raise_are_the_status_of_their_plugin(
    wsa: Wsa, install_plugin: InstallPlugin
) -> None:
    source = PLUGIN.format(name="odd", version=1, body="pass")
    install_plugin("odd", source=source.replace("columns_of(layers, [", "nobody([") + "\n")
    found = rows(wsa, "--load", expected=1)
    assert "plugin 'odd': its columns(layers) raised NameError" in found["odd"]["status"]


def test_a_broken_plugin_makes_the_exit_code_1_and_strict_plugins_name_it(
    wsa: Wsa, install_plugin: InstallPlugin
) -> None:
    install_plugin("leaves", source=HOSTILE["leaves"])
    assert wsa("plugins")[0] == 0
    code, out, err = wsa("plugins", "--load")
    assert (code, err) == (1, "")
    assert "SystemExit" in out
    assert "spectral v2" in out
    code, out, err = wsa("plugins", "--load", "--strict-plugins")
    assert code == 1
    assert "leaves" in out
    assert err == "wsa: plugin 'leaves' failed to load: SystemExit: 0\n"


def test_a_plugin_the_allow_list_leaves_out_is_listed_and_not_imported(
    wsa: Wsa, install_plugin: InstallPlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_plugin("leaves", source=HOSTILE["leaves"])
    monkeypatch.setenv("WSA_PLUGINS", "stats")
    found = rows(wsa, "--load", "--strict-plugins")
    assert found["leaves"]["status"] == "left out by WSA_PLUGINS"
    assert found["stats"]["status"] == "ok"


def test_the_table_names_what_json_names(wsa: Wsa) -> None:
    code, out, _ = wsa("plugins", "--load")
    assert code == 0
    assert "spectral v2 (top: int = 10), factors 40, delta 40 columns a layer" in out
    assert os.linesep in out


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process that makes the checks find no compiler."""
    monkeypatch.setenv("CXX", "no-such-compiler")


@pytest.mark.usefixtures("no_compiler")
def test_check_tells_every_promise_and_fails_with_the_exit_code(
    wsa: Wsa, install_plugin: InstallPlugin
) -> None:
    install_plugin("drifting", body="return torch.rand(len(batch), len(batch.layers))")
    code, out, _ = wsa("plugins", "check", "drifting", "--view", "factors")
    assert code == 1
    assert "drifting factors columns-are-unique: ok 24 columns" in out
    assert "second-call-gives-the-same-bytes: failed expected" in out
    assert "compiled-equals-eager: skipped nothing can be compiled here" in out


@pytest.mark.usefixtures("no_compiler")
def test_check_takes_adapters_of_a_data_set(wsa: Wsa, make_dataset: MakeDataset) -> None:
    arguments = ["--dataset", make_dataset(n=5), "--view", "delta", "--json"]
    code, out, _ = wsa("plugins", "check", "profile(groups=4)", *arguments)
    found = {each["check"]: each for each in json.loads(out)}
    assert code == 0, out
    assert found["output-matches-columns"]["detail"] == "5 x 64 float32"
    assert found["output-matches-columns"]["representation"] == "profile(groups=4)"


# by name: the source or the body of `extract`, and what is said
ENDING = {
    "ends": ("import os; os._exit(0)", "SystemExit: os._exit(0)"),
    "dies": (
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "dies factors output-matches-columns: failed expected an answer, got the end of its "
        "process: SIGSEGV; the checks after it were not made",
    ),
    "hangs": (
        "import time; time.sleep(600)",
        "failed expected all checks of a view within 4 s (--timeout), got no answer",
    ),
    "interrupts": ("raise KeyboardInterrupt", "it raised KeyboardInterrupt"),
}


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize("name", ENDING)
def test_check_fails_who_ends_or_hangs_its_process(
    wsa: Wsa, install_plugin: InstallPlugin, name: str
) -> None:
    body, told = ENDING[name]
    install_plugin(name, body=body)
    timeout = 4 if name == "hangs" else 200
    code, out, err = wsa("plugins", "check", name, "--view", "factors", "--timeout", timeout)
    assert code == 1, err
    assert told in out


def test_check_names_who_dies_while_it_is_imported(wsa: Wsa, install_plugin: InstallPlugin) -> None:
    install_plugin("dies", source="import os; os.kill(os.getpid(), 9)")
    code, _, err = wsa("plugins", "check", "dies")
    assert code == 1
    assert err == (
        "wsa: plugin 'dies' failed to load: expected an answer, got the end of its process: "
        "SIGKILL\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "needed"),
    [
        (["stats", "--timeout", "inf"], 2, "timeout needs a number of seconds above 0; got inf"),
        (["nobody"], 2, "no plugin called 'nobody'"),
        (["stats", "--view", "sideways"], 2, "no view called 'sideways'"),
        (["stats", "--device", "cuda"], 3, "--device cuda needs a CUDA device"),
        (["stats", "--dataset", "nothing"], 2, "no data set 'nothing'"),
    ],
)
def test_a_check_that_cannot_be_made_is_one_line(
    wsa: Wsa, arguments: list[str], code: int, needed: str
) -> None:
    found, _, err = wsa("plugins", "check", *arguments)
    assert found == code
    assert needed in err
    assert err.count("\n") == 1
