"""Several streams at once."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from nvc_jax.bitstream import LostPicture, Packet
from nvc_jax.codec.decoder import DecodedFrame, Decoder


def decode_many(
    streams: Sequence[tuple[Decoder, Iterable[Packet | LostPicture]]],
) -> Iterator[tuple[int, DecodedFrame]]:
    """Decode several streams, each in a thread and with the programs that it would have alone.

    While the host reads the symbols of one stream, the device works on the others. A batch of streams in one program
    would do that too, but floating point may round differently in it than in the program of the encoder (D2).

    Args:
        streams: a decoder of its own for each, and its packets.

    Yields:
        The number of a stream and its next frame; frames of one stream come in their order. One frame of every stream
        is decoded ahead.

    Raises:
        BitstreamError: at the first damaged frame of any stream, after all frames before it in that stream.
    """
    decoded = [decoder.frames(units) for decoder, units in streams]
    with ThreadPoolExecutor(max(1, len(decoded)), "decode") as threads:

        def start(number: int) -> "Future[DecodedFrame | None]":
            return threads.submit(next, decoded[number], None)

        pending = {start(number): number for number in range(len(decoded))}
        while pending:
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                number = pending.pop(future)
                frame = future.result()
                if frame is not None:
                    pending[start(number)] = number
                    yield number, frame
