"""Speed of the official PyTorch DCVC-RT: the other side of tools/bench.py.

Started by it with an interpreter that has PyTorch: `python bench_torch.py CHECKOUT WIDTH HEIGHT [--plain] [--weights IMAGE VIDEO]`,
where CHECKOUT is the folder DCVC-family/DCVC-RT of a checkout of the official code. Says what it runs on in one line of JSON,
then answers lines: `encode` and `decode` with the seconds of the network of a P frame, `encode_sequence FILE` and
`decode_sequence` with those of every frame of a sequence by the official rules: pictures are on the device before and after,
everything is synchronised, and its entropy coder runs. It needs the extension MLCodec_extensions_cpp for that.
"""  # noqa: E501

import argparse
import contextlib
import json
import sys
import time

import numpy as np
import torch  # noqa: TID251 - this script is for an environment with PyTorch

QP = 30
SKIP_THRESHOLD = 0.12
OFFSETS = (0, 8, 0, 4, 0, 4, 0, 4)
RESET_INTERVAL = 64


class Nothing:
    """Stands in for CUDA events and streams on a machine without CUDA."""

    def __init__(self, *_, **__):
        pass

    def record(self):
        """Nothing."""

    wait = record


def without_cuda():
    """The official code uses events and streams whatever the device is."""
    torch.cuda.Event = torch.cuda.Stream = Nothing
    torch.cuda.stream = lambda _: contextlib.nullcontext()
    torch.cuda.synchronize = lambda device=None: None


class Networks:
    """The image and the video model, and the calls of the official test."""

    def __init__(self, width, height, weights):
        from src.models.image_model import DMCI
        from src.models.video_model import DMC

        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = torch.float16 if self.device.type == "cuda" else torch.float32
        torch.manual_seed(0)
        self.image, self.video = DMCI(), DMC()
        for model, file in zip((self.image, self.video), weights or (), strict=False):
            model.load_state_dict(torch.load(file, weights_only=True)["state_dict"])
        for model in (self.image, self.video):
            model.to(self.device).eval()
            with contextlib.suppress(ImportError):
                model.update(SKIP_THRESHOLD)
            model.to(self.dtype)
        self.size = width, height
        self.padded = [(side + 15) // 16 * 16 for side in (height, width)]
        self.sps = {"height": height, "width": width, "ec_part": int(width * height > 1280 * 720)}
        self.has_coder = self.video.entropy_coder is not None
        for model in (self.image, self.video):
            if self.has_coder:
                model.set_use_two_entropy_coders(bool(self.sps["ec_part"]))

    def tensor(self, values):
        """On the device, in its precision."""
        return torch.as_tensor(values).to(self.device, self.dtype)

    def seconds(self, function, *inputs):
        """Of one call, synchronised, and its result."""
        torch.cuda.synchronize()
        start = time.perf_counter()
        result = function(*inputs)
        torch.cuda.synchronize()
        return time.perf_counter() - start, result


class Frame:
    """The network of a P frame alone: symbols come from nowhere."""

    def __init__(self, networks):
        self.model = networks.video
        height, width = networks.padded
        self.picture = networks.tensor(torch.rand(1, 3, height, width))
        self.feature = networks.tensor(0.1 * torch.randn(1, 256, height // 8, width // 8))
        self.z_hat = networks.tensor(torch.zeros(1, 128, (height + 63) // 64, (width + 63) // 64))
        banks = (self.model.q_encoder, self.model.q_decoder, self.model.q_feature, self.model.q_recon)
        self.gains = [bank[QP : QP + 1] for bank in banks]

    @contextlib.contextmanager
    def no_coder(self):
        """The entropy coder does nothing inside."""
        coder = self.model.gaussian_encoder
        coder.decode_y = lambda indexes: None
        coder.get_y = lambda shape, numel, dtype, device, skip, indexes: torch.zeros(shape, dtype=dtype, device=device)
        try:
            yield
        finally:
            del coder.decode_y, coder.get_y

    def encode(self):
        """All of encoding but the entropy coder."""
        from src.layers.cuda_inference import round_and_to_int8

        model = self.model
        model.add_ref_frame(self.feature, None)
        context, temporal = model.feature_extractor(model.apply_feature_adaptor(), self.gains[2])
        y = model.encoder(self.picture, context, self.gains[0])
        z, _ = round_and_to_int8(model.hyper_encoder(model.pad_for_y(y)))
        prior = model.res_prior_param_decoder(z, temporal)
        *_, y_hat = model.compress_prior_2x(y, prior, model.y_spatial_prior)
        return model.decoder(y_hat, context, self.gains[1])

    def decode(self):
        """All of decoding but the entropy coder."""
        model = self.model
        model.add_ref_frame(self.feature, None)
        features, temporal = model.feature_extractor.forward_part1(model.apply_feature_adaptor(), self.gains[2])
        prior = model.res_prior_param_decoder(self.z_hat, temporal)
        steps = model.decompress_prior_2x_part1(prior)
        context = model.feature_extractor.forward_part2(features)
        y_hat = model.decompress_prior_2x_part2(prior, model.y_spatial_prior, steps)
        return model.get_recon_and_feature(y_hat, context, self.gains[1], self.gains[3])


class Sequence:
    """Frames through both models as in the official test."""

    def __init__(self, networks):
        self.networks, self.streams = networks, []

    def encode(self, pictures):
        """Seconds of every frame. pictures: [T, 3, H', W'] uint8 YCbCr 4:4:4, padded."""
        networks, video = self.networks, self.networks.video
        self.streams, times = [], []
        video.set_curr_poc(0)
        for number, picture in enumerate(pictures):
            seconds, stream = networks.seconds(self._encode, number, networks.tensor(picture[None] / 255))
            times.append(seconds)
            self.streams.append(stream)
        return times

    def _encode(self, number, picture):
        image, video = self.networks.image, self.networks.video
        if number == 0:
            coded = image.compress(picture, QP)
            video.clear_dpb()
            video.add_ref_frame(None, coded["x_hat"])
            return False, QP, coded["bit_stream"]
        qp, refresh = QP + OFFSETS[number % 8], number % RESET_INTERVAL == 1
        if refresh:
            video.prepare_feature_adaptor_i(QP)
        return refresh, qp, video.compress(picture, qp)["bit_stream"]

    def decode(self):
        """Seconds of every frame of what was encoded."""
        self.networks.video.set_curr_poc(0)
        return [self.networks.seconds(self._decode, n, *stream)[0] for n, stream in enumerate(self.streams)]

    def _decode(self, number, refresh, qp, stream):
        image, video = self.networks.image, self.networks.video
        if number == 0:
            decoded = image.decompress(stream, self.networks.sps, qp)
            video.clear_dpb()
            video.add_ref_frame(None, decoded["x_hat"])
            return
        if refresh:
            video.reset_ref_feature()
        video.decompress(stream, self.networks.sps, qp)


def main():
    """Serve measurements until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout")
    parser.add_argument("width", type=int)
    parser.add_argument("height", type=int)
    parser.add_argument("--plain", action="store_true", help="without the CUDA extension, though it may be built")
    parser.add_argument("--weights", nargs=2, metavar=("IMAGE", "VIDEO"), help="checkpoints; random otherwise")
    options = parser.parse_args()
    answers, sys.stdout = sys.stdout, sys.stderr  # the official code prints
    sys.path.insert(0, options.checkout)
    if options.plain:
        sys.modules["inference_extensions_cuda"] = None
    if not torch.cuda.is_available():
        without_cuda()
    from src.layers.cuda_inference import CUSTOMIZED_CUDA_INFERENCE

    networks = Networks(options.width, options.height, options.weights)
    frame, sequence = Frame(networks), Sequence(networks)
    cuda = networks.device.type == "cuda"
    about = {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "precision": str(networks.dtype).removeprefix("torch."),
        "cuda_extension": bool(CUSTOMIZED_CUDA_INFERENCE),
        "entropy_coder": networks.has_coder,
    }
    print(json.dumps(about), file=answers, flush=True)
    with torch.inference_mode():
        for line in sys.stdin:
            command, *inputs = line.split()
            if command in ("encode", "decode"):
                with frame.no_coder():
                    result = networks.seconds(getattr(frame, command))[0]
            elif command == "encode_sequence":
                times = sequence.encode(np.load(inputs[0]))
                result = {"all_s": times, "bytes": sum(len(stream) for *_, stream in sequence.streams)}
            else:
                result = {"all_s": sequence.decode()}
            print(json.dumps(result), file=answers, flush=True)


if __name__ == "__main__":
    main()
