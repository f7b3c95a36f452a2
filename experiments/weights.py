# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Published weights into a file that runs here, and back. Only safetensors: nothing is ever unpickled.

python -m experiments.weights --import_from=PATH --kind=wan_autoencoder --out=wan.safetensors
python -m experiments.weights --export_to=DIR --kind=wan_autoencoder --from=wan.safetensors

What is imported is used as --config.autoencoder.path=wan.safetensors (see docs/weights.md).
"""

from absl import flags
from rich.console import Console

from dit_jax.interop.weights import KINDS, export_weights, import_weights
from experiments.cli import run

IMPORT = flags.DEFINE_string("import_from", None, "safetensors file, index of several, folder of one, or run")
KIND = flags.DEFINE_enum("kind", None, list(KINDS), "what the weights are", required=True)
OUT = flags.DEFINE_string("out", None, "file for what is imported, ending in .safetensors")
SHA256 = flags.DEFINE_list("sha256", [], "that the file of --import_from must have; of several, each by name")
EXPORT = flags.DEFINE_string("export_to", None, "folder, as the publisher of --kind lays it out")
FROM = flags.DEFINE_string("from", None, "imported file, for --export_to")


def main() -> None:
    given = [flag.name for flag in (IMPORT, OUT, EXPORT, FROM) if flag.value]
    if given == [IMPORT.name, OUT.name]:
        written = import_weights(KIND.value, IMPORT.value, OUT.value, SHA256.value)
    elif given == [EXPORT.name, FROM.name] and not SHA256.value:
        written = export_weights(KIND.value, FROM.value, EXPORT.value)
    else:
        raise ValueError("give --import_from and --out, or --export_to and --from")
    Console().print(f"written: {written}", soft_wrap=True)


if __name__ == "__main__":
    run(main)
