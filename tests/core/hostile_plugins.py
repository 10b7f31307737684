"""Plugins that harm: what each one does, and what must be said of it."""

from __future__ import annotations

GOOD = "return batch.flat[:, :16].float().clone()"

# by name: the body of `extract`, and the cause
EXTRACTS = {
    "sets_dtype": (f"torch.set_default_dtype(torch.float64); {GOOD}", "default dtype from torch.f"),
    "sets_device": (f"torch.set_default_device('meta'); {GOOD}", "default device from cpu to meta"),
    "sets_threads": (f"torch.set_num_threads(3); {GOOD}", "number of threads from 1 to 3"),
    "sets_seed": (f"torch.manual_seed(3); {GOOD}", "it changed torch's random state, which others"),
    "draws_in_numpy": (f"import numpy; numpy.random.rand(); {GOOD}", "numpy's random state"),
    "draws_in_python": (f"import random; random.random(); {GOOD}", "Python's random state"),
    "wants_no_gradients": (
        f"torch.set_grad_enabled(False); {GOOD}",
        "gradient mode from",
    ),
    "is_deterministic": (
        f"torch.use_deterministic_algorithms(False); {GOOD}",
        "deterministic",
    ),
    "flushes": (f"torch.set_flush_denormal(True); {GOOD}", "denormal numbers from True to False"),
    "is_imprecise": (
        f"torch.set_float32_matmul_precision('medium'); {GOOD}",
        "precision of",
    ),
    "walks_away": (f"import os; os.chdir('/'); {GOOD}", "the working directory from"),
    "takes_signals": (
        f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); {GOOD}",
        "the handler of SIGINT",
    ),
    "patches_torch": (f"torch.linalg.svdvals = None; {GOOD}", "the function torch.linalg.svdvals"),
    "patches_tensors": (f"torch.Tensor.mean = len; {GOOD}", "the function Tensor.mean"),
    "patches_wsa": (
        f"import wsa.registry as r; r.load = len; {GOOD}",
        "the function wsa.registry.load",
    ),
    "writes": (f"batch.flat.add_(1); {GOOD}", "it wrote to the batch"),
    "writes_unseen": (f"batch.flat.data.mul_(2); {GOOD}", "it wrote to the batch"),
    "writes_by_numpy": (f"batch.flat.numpy()[0, 0] += 1; {GOOD}", "it wrote to the batch"),
    "sorts_unseen": (
        f"batch.flat.data.copy_(batch.flat.sort(1).values); {GOOD}",
        "it wrote to the batch",
    ),
    "writes_what_is_shared": (
        "from wsa_kernels.moments import moments; batch.once(moments).mean.data.mul_(9); " + GOOD,
        "it wrote to the batch",
    ),
    "deletes": (
        "del batch.flat; batch.layout = batch.layers = None; return torch.ones(len(batch), 16)",
        "it raised AttributeError",
    ),
    "is_exact": (f"{GOOD}.double()", "got float64"),
    "is_elsewhere": (f"{GOOD}.to('meta')", "on meta"),
    "is_not_a_number": (f"{GOOD} / 0", "needed finite features"),
    "is_sparse": (f"{GOOD}.to_sparse()", "torch.sparse_coo tensor"),
    "is_another_class": (
        "class Odd(torch.Tensor): pass\n        " + GOOD + ".as_subclass(Odd)",
        "got Odd",
    ),
    "gives_up": ("raise GeneratorExit('enough')", "it raised GeneratorExit: enough"),
    "is_cancelled": ("import asyncio; raise asyncio.CancelledError", "it raised CancelledError"),
    "leaves": ("raise SystemExit(0)", "it raised SystemExit: 0"),
    "ends": ("import os; os._exit(0)", r"it raised SystemExit: os._exit\(0\)"),
    "has_no_words": (
        "class Odd(Exception):\n            def __str__(self): raise SystemExit(3)\n"
        "        raise Odd",
        r"Odd: its message cannot be read \(SystemExit\)",
    ),
    "has_odd_words": (r"raise ValueError('\x1b[31m\ud800\n' * 9999)", r"ValueError: \?\[31m\?"),
    "is_greedy": ("return torch.empty(1 << 60)", "it raised RuntimeError"),
}

NAMED = "return columns_of(layers, ['feature'])"
# by name: the body of `columns`, and the cause
COLUMNS = {
    "changes_its_mind": (
        "self.asked = getattr(self, 'asked', 0) + 1; return columns_of(layers, [str(self.asked)])",
        "needs to name the same 16 columns whenever it is asked, got '.*/2' in the place of '.*/1'",
    ),
    "has_columns_without_end": (
        "import itertools; return (Column(layers[0].name, str(i)) for i in itertools.count())",
        "needs at most 1000 columns, got more",
    ),
    "has_paths": (r"return columns_of(layers, ['../x\n'])", "needs a feature name, one line of"),
    "has_half_characters": (r"return columns_of(layers, ['\ud800'])", r"got '\\ud800'"),
    "has_no_names": ("return columns_of(layers, [None])", "needs a feature name.*, got None"),
    "has_lists": ("return columns_of(layers, [['x']])", r"needs a feature name.*, got \['x'\]"),
    "has_odd_layers": ("return [Column(['x'], 'x')]", "needs a Column of a known layer"),
    "has_odd_columns": (
        "class Odd(Column):\n            def __repr__(self): raise KeyError\n"
        "        return [Odd(each.name, 'x') for each in layers]",
        "needs a Column of a known layer, got an unreadable Odd",
    ),
    "seeds": (f"torch.manual_seed(3); {NAMED}", r"its columns\(layers\) changed torch's random"),
}

OFFERED = """
import torch
from wsa import Column, Composite, columns_of, hookimpl

class Given:
    name = "given"
    version = 1
    def columns(self, layers):
        return columns_of(layers, ["feature"])
    def extract(self, batch):
        return batch.flat[:, :16].float().clone()

@hookimpl
def wsa_representations():
    return [Given()]
"""
MET = 'name = "given"'
# by name: the source, and the cause
SOURCES = {
    "is_a_path": (OFFERED.replace(MET, 'name = "../../given"'), "a name of at most 60 letters"),
    "is_two_lines": (OFFERED.replace(MET, r'name = "a\nb"'), "a name of at most 60 letters"),
    "is_long": (OFFERED.replace(MET, 'name = "a" * 300'), "a name of at most 60 letters"),
    "is_no_text": (OFFERED.replace(MET, "name = 3"), "a name of at most 60 letters"),
    "is_huge": (OFFERED.replace("version = 1", "version = 10**40"), "a version from 0 to 2"),
    "is_new": (OFFERED.replace("version = 1", "version = '1'"), "a version from 0 to 2"),
    "has_sets": (OFFERED.replace(MET, MET + "; parameters = {'x': {1}}"), "needs JSON values"),
    "has_no_dict": (OFFERED.replace(MET, MET + "; parameters = 3"), "failed to load: TypeError"),
    "has_no_parts": (
        OFFERED.replace("[Given()]", "[Composite('given', 1, (3,))]"),
        "parts needs names of representations",
    ),
    "interrupts": ("raise KeyboardInterrupt", "failed to load: KeyboardInterrupt"),
    "ends": ("import os; os._exit(0)", r"failed to load: SystemExit: os._exit\(0\)"),
    "stops": ("raise StopIteration", "failed to load: StopIteration"),
    "hook_leaves": (OFFERED.replace("return [Given()]", "raise SystemExit(7)"), "SystemExit: 7"),
}
