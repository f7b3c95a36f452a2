# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Prompts to mp4, from a run's checkpoint; with --task and --given, from parts of a video too.

python -m experiments.generate --run=runs/quickstart/trials/TRIAL --out=samples \
    --prompt="A large red circle moves steadily right from the left side of a dark background."
"""

import numpy as np
from absl import flags
from rich.console import Console

from dit_jax import build
from dit_jax.data.video_io import read_video, write_clips
from dit_jax.diffusion.sampler import SamplerConfig
from dit_jax.generate import chain, load
from dit_jax.recaption import upsample
from experiments.cli import numbers, run

RUN = flags.DEFINE_string("run", None, "folder of a run", required=True)
OUT = flags.DEFINE_string("out", "samples", "folder for 00.mp4, 01.mp4, ... and strip.png")
PROMPT = flags.DEFINE_multi_string("prompt", None, "one clip for each; repeat the flag", required=True)
SEED = flags.DEFINE_integer("seed", 0, "of the noise")
STEPS = flags.DEFINE_integer("num_steps", None, "of the sampler; the run's own by default")
GUIDANCE = flags.DEFINE_float("guidance_scale", None, "1 is none; the run's own by default")
TASK = flags.DEFINE_string("task", "none", "what of --given is kept, such as image_to_video")
GIVEN = flags.DEFINE_string("given", None, "a video file, for --task")
INTERPOLATE = flags.DEFINE_string("interpolate", None, "folder of a run that draws frames between the frames")
REFINE = flags.DEFINE_string("refine", None, "folder of a super-resolution run, which doubles the size")
MICRO = flags.DEFINE_multi_string("micro", [], "what the model is told besides, such as motion=4.0")
UPSAMPLE = flags.DEFINE_bool("upsample", False, "make prompts dense, with the run's captioner or an endpoint")
URL = flags.DEFINE_string("endpoint_url", None, "for --upsample, such as http://localhost:8000/v1")
MODEL = flags.DEFINE_string("endpoint_model", None, "for --upsample")
KEY = flags.DEFINE_string("endpoint_key_variable", None, "for --upsample: holds the endpoint's key")


def main() -> None:
    model = load(RUN.value)
    data, size = model.config.data, dict(zip(("num_frames", "height", "width"), model.size))
    chosen = {"num_steps": STEPS.value, "guidance_scale": GUIDANCE.value}
    settings = model.config.sampler.to_dict() | {k: v for k, v in chosen.items() if v is not None}
    sampler = build.construct(SamplerConfig, settings, "sampler")
    prompts, given = PROMPT.value, None
    if UPSAMPLE.value:
        endpoint = {"base_url": URL.value, "model": MODEL.value, "api_key_variable": KEY.value}
        prompts = upsample(model.config, prompts, SEED.value, {k: v for k, v in endpoint.items() if v})
        print(*prompts, sep="\n")
    if GIVEN.value:
        given = np.stack([read_video(GIVEN.value, fps=data.fps, **size)] * len(prompts))
    stages = [folder and load(folder) for folder in (INTERPOLATE.value, REFINE.value)]
    how = dict(seed=SEED.value, sampler=sampler, micro=numbers(MICRO.value))
    videos = chain(model, *stages, **how)(prompts, given, TASK.value)
    fps = (data.fps or 8.0) * (stages[0].frame_factor if stages[0] else 1)
    write_clips(OUT.value, list(videos), fps, prompts)
    Console().print(f"written: {OUT.value} ({len(videos)} clips)", soft_wrap=True)


if __name__ == "__main__":
    run(main)
