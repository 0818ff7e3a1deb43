"""Codecs at scene cuts, and over many pictures without a refresh.

python tools/scene_cuts.py --clips A.mkv B.mkv --model rt_small:reset=64 rt_small ui2c_small --output cuts.json
"""

from nvc_jax.evaluation.scene_cuts_command import main

if __name__ == "__main__":
    raise SystemExit(main(prog="scene_cuts.py"))
