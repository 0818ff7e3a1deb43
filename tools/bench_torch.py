"""Network time of the official PyTorch DCVC-RT, P frames on CPU: the other side of tools/bench.py.

Started by it with an interpreter that has PyTorch: `python bench_torch.py CHECKOUT WIDTH HEIGHT`, where CHECKOUT is the
folder DCVC-family/DCVC-RT of a checkout of the official code. Reads `encode` or `decode` lines, answers seconds.
"""

import sys
import time

import torch  # noqa: TID251 - this script is for an environment with PyTorch


def main() -> None:
    """Serve measurements until standard input ends."""
    checkout, width, height = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    answers, sys.stdout = sys.stdout, sys.stderr  # the official code prints
    sys.path.insert(0, checkout)
    from src.layers.cuda_inference import round_and_to_int8
    from src.models.video_model import DMC

    torch.manual_seed(0)
    model = DMC().eval()
    coder = model.gaussian_encoder
    # The network alone: symbols come from nowhere.
    coder.decode_y = lambda indexes: None
    coder.get_y = lambda shape, numel, dtype, device, skip, indexes: torch.zeros(shape)
    padded = [(side + 15) // 16 * 16 for side in (height, width)]
    picture = torch.rand(1, 3, *padded)
    model.add_ref_frame(0.1 * torch.randn(1, 256, padded[0] // 8, padded[1] // 8), None)
    z_hat = torch.zeros(1, 128, (height + 63) // 64, (width + 63) // 64)
    gains = [bank[30:31] for bank in (model.q_encoder, model.q_decoder, model.q_feature, model.q_recon)]

    def encode() -> None:
        context, temporal = model.feature_extractor(model.apply_feature_adaptor(), gains[2])
        y = model.encoder(picture, context, gains[0])
        z, _ = round_and_to_int8(model.hyper_encoder(model.pad_for_y(y)))
        prior = model.res_prior_param_decoder(z, temporal)
        *_, y_hat = model.compress_prior_2x(y, prior, model.y_spatial_prior)
        model.decoder(y_hat, context, gains[1])

    def decode() -> None:
        features, temporal = model.feature_extractor.forward_part1(model.apply_feature_adaptor(), gains[2])
        prior = model.res_prior_param_decoder(z_hat, temporal)
        steps = model.decompress_prior_2x_part1(prior)
        context = model.feature_extractor.forward_part2(features)
        y_hat = model.decompress_prior_2x_part2(prior, model.y_spatial_prior, steps)
        model.get_recon_and_feature(y_hat, context, gains[1], gains[3])

    with torch.inference_mode():
        for line in sys.stdin:
            start = time.perf_counter()
            {"encode": encode, "decode": decode}[line.strip()]()
            print(time.perf_counter() - start, file=answers, flush=True)


main()
