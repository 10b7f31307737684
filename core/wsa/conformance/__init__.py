"""Conformance: what every representation promises, checked one promise at a time.

`wsa plugins check NAME` and the pytest fixture `wsa_check` run the same checks.
"""

from __future__ import annotations

from wsa.conformance.breach import Breach
from wsa.conformance.run import CHECKS, Verdict, check, check_one, checks_of

__all__ = ["CHECKS", "Breach", "Verdict", "check", "check_one", "checks_of"]
