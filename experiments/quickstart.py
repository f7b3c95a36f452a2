# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The main job: a sweep, its law, a held-out budget predicted and then measured, samples, plots."""
from configs.quickstart import get_config
from dit_jax.sweep.sweep import Sweep
from dit_jax.sweep.display import trial_table
from rich.console import Console
import sys
if __name__=='__main__':
    c=get_config()
    for a in sys.argv[2:]:
        k,v=a.split('='); exec(f"c.{k}={v}")
    s=Sweep(c, sys.argv[1]); r=None
    try: r=s.run()
    finally: Console(width=150).print(trial_table(s.rows))
    print(r['scores'], r['law']['heldout'])
