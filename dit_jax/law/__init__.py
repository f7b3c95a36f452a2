# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""From records of runs to a law: what loss a budget buys, with which model, and how sure that is.

Needs no JAX: it fits anybody's CSV. `dit_jax.law.plot` draws, and is imported by itself.
"""

from dit_jax.law.document import LawRefused, Questions, describe, law_json, write_law
from dit_jax.law.predict import Law, fit_law
from dit_jax.law.table import Table, read_table

__all__ = [
    "Law",
    "LawRefused",
    "Questions",
    "Table",
    "describe",
    "fit_law",
    "law_json",
    "read_table",
    "write_law",
]
