"""Benchmark the official PyTorch DCVC-RT: the worker of tools/bench.py.

Started by it with an interpreter that has PyTorch: `python bench_torch.py CHECKOUT WIDTH HEIGHT [options]`, where CHECKOUT is
the folder DCVC-family/DCVC-RT of an official checkout. The official code computes in float16 on GPUs, and in float32 on
CPUs, where arrays whose channels lie together (channels_last) and bfloat16 are faster: options ask for them. Describes itself in one line of JSON, then answers
lines: `encode` and `decode` with the seconds of the network of a P frame, `encode_sequence FILE` and `decode_sequence` with
those of every frame of a sequence by the official rules: pictures are on the device before and after, everything is
synchronised, and its entropy coder runs, which needs the extension MLCodec_extensions_cpp.
"""  # noqa: E501

import argparse
import contextlib
import json
import sys
import time

import numpy as np

QP = 30
SKIP_THRESHOLD = 0.12
OFFSETS = (0, 8, 0, 4, 0, 4, 0, 4)
RESET_INTERVAL = 64


class Nothing:
    """Stub of CUDA events and streams for a machine without CUDA."""

    def __init__(self, *_, **__):
        pass

    def record(self):
        """Do nothing."""

    wait = record


def without_cuda():
    """Stub the events and streams that the official code uses on every device."""
    torch.cuda.Event = torch.cuda.Stream = Nothing
    torch.cuda.stream = lambda _: contextlib.nullcontext()
    torch.cuda.synchronize = lambda device=None: None


class Networks:
    """The image and the video model, called as in the official test."""

    def __init__(self, width, height, weights, precision=None, channels_last=False):
        from src.models.image_model import DMCI
        from src.models.video_model import DMC

        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = getattr(torch, precision or ("float16" if self.device.type == "cuda" else "float32"))
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        torch.manual_seed(0)
        self.image, self.video = DMCI(), DMC()
        for model, file in zip((self.image, self.video), weights or (), strict=False):
            model.load_state_dict(torch.load(file, weights_only=True)["state_dict"])
        for model in (self.image, self.video):
            model.to(self.device).eval()
            with contextlib.suppress(ImportError):
                model.update(SKIP_THRESHOLD)
            model.to(dtype=self.dtype, memory_format=self.layout)
        self.size = width, height
        self.padded = [(side + 15) // 16 * 16 for side in (height, width)]
        self.sps = {"height": height, "width": width, "ec_part": int(width * height > 1280 * 720)}
        self.has_coder = self.video.entropy_coder is not None
        for model in (self.image, self.video):
            if self.has_coder:
                model.set_use_two_entropy_coders(bool(self.sps["ec_part"]))

    def tensor(self, values):
        """Move values to the device, in the precision and the layout of the models."""
        return torch.as_tensor(values).to(self.device, self.dtype, memory_format=self.layout)

    def seconds(self, function, *inputs):
        """Time one call, synchronised, and give its result."""
        torch.cuda.synchronize()
        start = time.perf_counter()
        result = function(*inputs)
        torch.cuda.synchronize()
        return time.perf_counter() - start, result


class Frame:
    """The network of a P frame alone, without symbols."""

    def __init__(self, networks):
        self.networks, self.model = networks, networks.video
        height, width = networks.padded
        self.picture = networks.tensor(torch.rand(1, 3, height, width))
        self.feature = networks.tensor(0.1 * torch.randn(1, 256, height // 8, width // 8))
        self.z_hat = networks.tensor(torch.zeros(1, 128, (height + 63) // 64, (width + 63) // 64))
        banks = (self.model.q_encoder, self.model.q_decoder, self.model.q_feature, self.model.q_recon)
        self.gains = [bank[QP : QP + 1] for bank in banks]

    @contextlib.contextmanager
    def no_coder(self):
        """Disable the entropy coder inside the block."""
        coder = self.model.gaussian_encoder
        coder.decode_y = lambda indexes: None
        coder.get_y = lambda shape, numel, dtype, device, skip, indexes: self.networks.tensor(torch.zeros(shape))
        try:
            yield
        finally:
            del coder.decode_y, coder.get_y

    def encode(self):
        """Encode without the entropy coder."""
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
        """Decode without the entropy coder."""
        model = self.model
        model.add_ref_frame(self.feature, None)
        features, temporal = model.feature_extractor.forward_part1(model.apply_feature_adaptor(), self.gains[2])
        prior = model.res_prior_param_decoder(self.z_hat, temporal)
        steps = model.decompress_prior_2x_part1(prior)
        context = model.feature_extractor.forward_part2(features)
        y_hat = model.decompress_prior_2x_part2(prior, model.y_spatial_prior, steps)
        return model.get_recon_and_feature(y_hat, context, self.gains[1], self.gains[3])


class Sequence:
    """Frames coded by both models as in the official test."""

    def __init__(self, networks):
        self.networks, self.streams = networks, []

    def encode(self, pictures):
        """Time the encoding of every frame. pictures: [T, 3, H', W'] uint8 YCbCr 4:4:4, padded."""
        networks = self.networks
        networks.video.set_curr_poc(0)
        coded = [networks.seconds(self._encode, n, networks.tensor(p[None] / 255)) for n, p in enumerate(pictures)]
        self.streams = [stream for _, stream in coded]
        return [seconds for seconds, _ in coded]

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
        """Time the decoding of every encoded frame."""
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
    global torch
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout")
    parser.add_argument("width", type=int)
    parser.add_argument("height", type=int)
    parser.add_argument("--plain", action="store_true", help="without the CUDA extension, even if it is built")
    parser.add_argument("--precision", choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--channels-last", action="store_true", help="channels lie together in memory")
    parser.add_argument("--weights", nargs=2, metavar=("IMAGE", "VIDEO"), help="checkpoints; random otherwise")
    options = parser.parse_args()
    try:
        import torch  # noqa: TID251 - this script is for an environment with PyTorch
    except ImportError:
        sys.exit("bench_torch.py: this interpreter has no PyTorch; use one that has it.")
    answers, sys.stdout = sys.stdout, sys.stderr  # the official code prints
    sys.path.insert(0, options.checkout)
    if options.plain:
        sys.modules["inference_extensions_cuda"] = None
    if not torch.cuda.is_available():
        without_cuda()
    from src.layers.cuda_inference import CUSTOMIZED_CUDA_INFERENCE

    networks = Networks(options.width, options.height, options.weights, options.precision, options.channels_last)
    frame, sequence = Frame(networks), Sequence(networks)
    about = {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "precision": str(networks.dtype).removeprefix("torch."),
        "channels_last": options.channels_last,
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
