"""Videos to and from pictures: any file that FFmpeg reads, one picture at a time, and H.264 that browsers play."""

from __future__ import annotations

import itertools
import os
import struct
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from PIL import Image, UnidentifiedImageError

from lirec.errors import LirecError
from lirec.processing.image import MAX_PIXELS, load_image, shrink

MAX_SIDE = 4096  # px; larger videos are scaled down as they are read
DEFAULT_RATE = Fraction(25)  # for files that name none, or an absurd one
TICKS = 90_000  # time stamps a second in what is written: every common frame rate divides it
COPIED_SOUND = ("aac", "mp3")  # what every browser plays in an MP4; other sound is encoded anew

PICTURE_FORMATS = ("GIF", "WEBP", "PNG", "JPEG", "BMP", "TIFF")
PICTURE_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error)  # as Pillow reports it
# Playlists and scripts, which can name other files and addresses, are not among them.
CONTAINERS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,asf,ogg,mxf,dv,rm,nut,ivf,h264,hevc,av1,obu,"
    "wav,mp3,aac,flac"
)

# Numbers of ITU-T H.273 that pictures are tagged with.
BT709, LIMITED_RANGE, UNSPECIFIED, PQ, HLG = 1, 1, 2, 16, 18

HDR_PEAK = 1000 / 203  # a 1000 cd/m² display over the white of diffuse objects (ITU-R BT.2408)
BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)


@dataclass(frozen=True)
class Frame:
    """One picture of a video.

    Args:
        image: (H, W, 3) uint8, RGB.
        time: seconds since the video's first picture.
    """

    image: np.ndarray
    time: float


class Video(ABC):
    """A video file, read one picture at a time. Made by `open_video`.

    Every iteration goes through the file from its beginning, and holds one picture and the decoder's few
    reference pictures, whatever the length. As a context manager it closes what iterations hold open.

    Attributes:
        path: the file.
        frame_rate: pictures a second, on average (Fraction).
        size: (width, height) px of the pictures, upright.
        duration: seconds, or None where the file does not say.
        frame_count: number of pictures by the file's head, an estimate, or None.
        has_audio: whether there is sound.
        truncated: an iteration met damage or a missing end; it gave what could be decoded.
        start: the first picture's time by the file's own clock, seconds; sound is placed by it.
    """

    path: Path
    frame_rate: Fraction
    size: tuple[int, int]
    duration: float | None
    frame_count: int | None
    has_audio: bool = False
    truncated: bool = False
    start: float = 0.0

    def __init__(self, path: Path):
        self.path = path
        self._running = weakref.WeakSet()

    @abstractmethod
    def _read(self) -> Iterator[Frame]: ...

    def __iter__(self) -> Iterator[Frame]:
        frames = self._read()
        self._running.add(frames)
        return frames

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """End iterations that are under way."""
        for frames in list(self._running):
            frames.close()


def open_video(path: str | os.PathLike) -> Video:
    """Open a video, an animation (GIF, WebP, PNG) or a single picture, which is a video of one frame.

    Pictures come upright by the file's rotation and mirroring, with square pixels, and as 8-bit RGB: deeper
    ones are reduced, HDR (HLG and PQ) is brought to the usual range. The longer side is at most 4096 px. Time
    stamps stay as they are, so a variable frame rate is kept.

    Raises:
        LirecError: there is no file, it is no video, it has no pictures, none can be decoded, or they are
            above 64 megapixels.
    """
    path = _existing(path)
    return _Animation(path) if _is_picture(path) else _Film(path)


def check_unread(output: str | os.PathLike, *read: str | os.PathLike) -> None:
    """
    Raises:
        LirecError: the output is one of the files that are read.
    """
    if os.path.exists(output) and any(os.path.exists(path) and os.path.samefile(output, path) for path in read):
        raise LirecError(f"{output} is read and written at once: give the output another name.")


class _Film(Video):
    """A file read by FFmpeg."""

    def __init__(self, path: Path):
        super().__init__(path)
        with _open_container(path) as container:
            stream = _picture_stream(container)
            if stream is None:
                raise LirecError(f"{path} has no pictures, only sound or data: give a video.")
            if stream.codec_context is None:
                raise LirecError(f"{path} is coded in a way that cannot be read: convert it to H.264 (MP4).")
            if stream.codec_context.width * stream.codec_context.height > MAX_PIXELS:
                raise LirecError(f"{path} is too large: scale it down to at most {MAX_SIDE} px.")
            rates = (stream.average_rate, stream.guessed_rate, stream.base_rate)
            self.frame_rate = next((rate for rate in rates if rate and 1 <= rate <= 240), DEFAULT_RATE)
            self.has_audio = bool(container.streams.audio)
            self._stream_duration = stream.duration and float(stream.duration * stream.time_base)
            self.duration = self._stream_duration or (container.duration and container.duration / av.time_base)
            self.frame_count = stream.frames or (self.duration and max(round(self.duration * self.frame_rate), 1))
            first = next(self._decode(container, stream), None)
            self.truncated = False  # what an iteration meets, not this look at the beginning
            ratio = float(stream.sample_aspect_ratio or 1)
        if first is None:
            raise LirecError(f"{path} has no picture that can be decoded: it is empty, damaged or cut short.")
        self.start = first.time or 0.0
        self._matrix = _display_matrix(first)
        width, height = first.width * (ratio if 0.1 < ratio < 10 else 1), first.height
        scale = min(MAX_SIDE / max(width, height), 1.0)
        self._stored_size = max(round(width * scale), 1), max(round(height * scale), 1)
        self.size = self._stored_size[::-1] if _swaps_axes(self._matrix) else self._stored_size

    def _decode(self, container, stream) -> Iterator[av.VideoFrame]:
        """Every picture that can be decoded, with `truncated` set where one cannot."""
        stream.thread_type = "AUTO"
        for packet in self._packets(container, stream):
            try:
                frames = stream.decode(packet)
            except (av.FFmpegError, OSError):
                self.truncated = True
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self.truncated = True
                else:
                    yield frame

    def _packets(self, container, stream) -> Iterator[av.Packet | None]:
        try:
            yield from container.demux(stream)  # the last one is empty, and brings out the decoder's last pictures
        except (av.FFmpegError, OSError):
            self.truncated = True
            yield None

    def _read(self) -> Iterator[Frame]:
        reformatter, time, count = VideoReformatter(), None, 0
        with _open_container(self.path) as container:
            stream = _picture_stream(container)
            for count, picture in enumerate(self._decode(container, stream), start=1):  # noqa: B007
                last, time = time, picture.time
                if time is not None:
                    time -= self.start
                if last is not None and (time is None or time <= last):
                    time = last + float(1 / self.frame_rate)  # no time stamp, or one that does not go on
                time = time or 0.0
                yield Frame(_upright(self._to_rgb(reformatter, picture), self._matrix), time)
            if count < 0.98 * stream.frames:  # 0 where the file does not say
                self.truncated = True
        if time is not None and self._stream_duration and time + 1 < 0.98 * self._stream_duration:
            self.truncated = True

    def _to_rgb(self, reformatter: VideoReformatter, picture: av.VideoFrame) -> np.ndarray:
        width, height = self._stored_size
        untagged_hd = picture.colorspace == UNSPECIFIED and min(picture.width, picture.height) >= 720
        shrinks = width < picture.width or height < picture.height
        options = {
            "src_colorspace": Colorspace.ITU709 if untagged_hd else None,
            "interpolation": Interpolation.AREA if shrinks else Interpolation.BILINEAR,
        }
        if picture.color_trc in (HLG, PQ):
            deep = reformatter.reformat(picture, width, height, "rgb48le", **options).to_ndarray()
            return _from_hdr(deep, picture.color_trc)
        return reformatter.reformat(picture, width, height, "rgb24", **options).to_ndarray()


class _Animation(Video):
    """A file read by Pillow, which knows how an animation's frames lie on each other."""

    def __init__(self, path: Path):
        super().__init__(path)
        first = shrink(load_image(path), MAX_SIDE)
        self.size = first.shape[1], first.shape[0]
        self._times = [0.0]
        with Image.open(path, formats=PICTURE_FORMATS) as image:
            try:
                # The pages of a TIFF and the views of an MPO are no animation.
                self.frame_count = image.n_frames if image.format in ("GIF", "WEBP", "PNG") else 1
            except PICTURE_DAMAGE:
                self.frame_count = None
            try:
                for index in itertools.count() if self.frame_count is None else range(self.frame_count):
                    image.seek(index)
                    image.load()
                    milliseconds = image.info.get("duration", 0)
                    # Browsers show frames without a duration for a tenth of a second too.
                    self._times.append(self._times[-1] + (milliseconds / 1000 if milliseconds > 10 else 0.1))
            except PICTURE_DAMAGE:
                self.frame_count = self.frame_count or len(self._times)  # with the damaged one
        if self.frame_count == 1:
            self.frame_rate, self.duration = DEFAULT_RATE, float(1 / DEFAULT_RATE)
        else:
            self.duration = self._times[-1]
            self.frame_rate = Fraction((len(self._times) - 1) / self.duration).limit_denominator(1000)

    def _read(self) -> Iterator[Frame]:
        with Image.open(self.path, formats=PICTURE_FORMATS) as image:
            for index, time in enumerate(self._times[:-1]):
                image.seek(index)
                yield Frame(shrink(load_image(image), MAX_SIDE), time)
        self.truncated = len(self._times) - 1 < self.frame_count


class VideoWriter:
    """Writes an MP4 that browsers play: H.264, 8-bit 4:2:0, its index at the front.

    A context manager. However the block is left, by an exception too, the file is finished and plays with
    what was written; where nothing was written, no file is left.

    Args:
        path: the file to write, ending in .mp4.
        size: (width, height) px of the pictures. An odd edge is made even by repeating its last row or column.
        frame_rate: pictures a second: the distance of pictures without a time, and how long the last one stays.
        audio_from: a video or sound file whose first sound stream goes along, from the time of that file's first
            picture to the end of the pictures written. AAC and MP3 are copied as they are, all else becomes AAC.
            A file without sound gives none.
        crf: quality of H.264, lower is better; 18 is hard to tell from the original.

    Attributes:
        path, size: as given.
        frame_count: pictures written so far.

    Raises:
        LirecError: the file is no .mp4, cannot be written, or is `audio_from` itself.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        size: tuple[int, int],
        frame_rate: float | Fraction = DEFAULT_RATE,
        audio_from: str | os.PathLike | None = None,
        crf: int = 18,
    ):
        self.path, self.size, self.frame_count = Path(path), tuple(size), 0
        if self.path.suffix.lower() != ".mp4":
            raise LirecError(f"Videos are written as MP4: end the name {self.path.name} in .mp4.")
        if min(self.size) < 1 or frame_rate <= 0:
            raise LirecError(f"A video needs a size and a frame rate above 0, not {self.size} at {frame_rate}.")
        if audio_from is not None:
            audio_from = _existing(audio_from)
            check_unread(self.path, audio_from)
        self._frame_rate = Fraction(frame_rate).limit_denominator(100_000)
        self._tick, self._sound, self._reformatter = -1, None, VideoReformatter()
        try:
            self.path.open("wb").close()
        except OSError as error:
            raise LirecError(f"{self.path} cannot be written: check the folder and its rights.") from error
        self._container = av.open(str(self.path.absolute()), "w", format="mp4", options={"movflags": "+faststart"})
        try:
            self._stream = self._video_stream(crf)
            if audio_from is not None:
                self._sound = _Sound.open(audio_from, self._container)
        except BaseException:
            self.close()
            raise

    def _video_stream(self, crf: int):
        # Without B-frames pictures are stored in the order of their times, which keeps uneven times exact.
        options = {"crf": str(crf), "preset": "veryfast", "bf": "0"}
        stream = self._container.add_stream("libx264", rate=self._frame_rate, options=options)
        stream.width, stream.height = (edge + edge % 2 for edge in self.size)
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = Fraction(1, TICKS)
        context.color_range = LIMITED_RANGE
        context.colorspace = context.color_primaries = context.color_trc = BT709
        return stream

    def write(self, image: np.ndarray, time: float | None = None) -> None:
        """Add a picture.

        Args:
            image: (height, width, 3) uint8, RGB.
            time: seconds since the beginning, later than the last; None: one picture's time after the last.
        """
        width, height = self.size
        if image.shape != (height, width, 3) or image.dtype != np.uint8:
            shape = (height, width, 3)
            raise LirecError(f"The video takes pictures {shape} uint8, not {image.shape} {image.dtype}.")
        step = round(TICKS / self._frame_rate)
        if time is not None:
            tick = max(round(time * TICKS), self._tick + 1)
        else:
            tick = self._tick + step if self.frame_count else 0
        if width % 2 or height % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = self._reformatter.reformat(frame, format="yuv420p", dst_colorspace=Colorspace.ITU709)
        frame.pts, frame.time_base, frame.duration = tick, Fraction(1, TICKS), step
        self._mux(self._encode(frame))
        self._tick = tick
        self.frame_count += 1
        self._mux_sound(tick / TICKS)

    def close(self) -> None:
        """Finish the file. More calls do nothing."""
        if self._container is None:
            return
        try:
            if self.frame_count:
                self._mux(self._encode(None))
                self._mux_sound(self._tick / TICKS + float(1 / self._frame_rate))
        finally:
            container, self._container = self._container, None
            if self._sound is not None:
                self._sound.close()
            try:
                container.close()
            except (av.FFmpegError, OSError) as error:
                raise self._failure(error) from error
            finally:
                if not self.frame_count:
                    self.path.unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _mux_sound(self, until: float) -> None:
        if self._sound is not None:
            self._mux(self._sound.packets(until))

    def _encode(self, frame: av.VideoFrame | None) -> list[av.Packet]:
        try:
            return self._stream.encode(frame)
        except (av.FFmpegError, OSError) as error:
            width, height = self.size
            raise LirecError(f"A video of {width} x {height} px cannot be encoded: make it smaller.") from error

    def _mux(self, packets) -> None:
        try:
            for packet in packets:
                self._container.mux_one(packet)
        except (av.FFmpegError, OSError) as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> LirecError:
        return LirecError(f"{self.path} could not be written ({error}): is the disk full?")


class _Sound:
    """The sound of one file, brought packet by packet to where a video's pictures have come to."""

    def __init__(self, container, source, output, start: float):
        self._container, self._source, self._output, self._start = container, source, output, start
        self._copies = source.codec_context.codec.canonical_name in COPIED_SOUND
        if self._copies:
            self._target = output.add_stream_from_template(source)
        else:
            context = source.codec_context
            self._target = output.add_stream("aac", rate=min(context.sample_rate, 48_000))
            self._target.codec_context.layout = "mono" if context.layout.nb_channels == 1 else "stereo"
        self._waiting = self._convert()
        self._next, self._last = None, None  # the packet that is next in time, the last time stamp given

    @classmethod
    def open(cls, path: Path, output) -> _Sound | None:
        """None where the file has no sound that can be read."""
        if _is_picture(path):
            return None
        container = _open_container(path)
        try:
            source = next((stream for stream in container.streams.audio if stream.codec_context is not None), None)
            if source is not None:
                start = open_video(path).start if _picture_stream(container) is not None else 0.0
                return cls(container, source, output, start)
        except BaseException:
            container.close()
            raise
        container.close()
        return None

    def packets(self, until: float) -> Iterator[av.Packet]:
        """The packets, not given before, that begin before `until` seconds."""
        while True:
            if self._next is None:
                self._next = next(self._waiting, None)
            if self._next is None or self._next.pts * self._next.time_base >= until:
                return
            packet, self._next = self._next, None
            # Damaged files jump back in time, which an MP4 cannot.
            if self._last is None or packet.dts > self._last:
                self._last = packet.dts
                yield packet

    def close(self) -> None:
        self._waiting.close()
        self._container.close()

    def _convert(self) -> Iterator[av.Packet]:
        convert = self._copy if self._copies else self._encode
        try:
            for packet in self._container.demux(self._source):
                yield from convert(packet)
        except (av.FFmpegError, OSError):
            pass  # the rest of a damaged file: the pictures go on without
        if not self._copies:
            yield from self._target.encode(None)

    def _copy(self, packet: av.Packet) -> Iterator[av.Packet]:
        if packet.pts is None or packet.dts is None:
            return
        shift = round(self._start / packet.time_base)
        packet.pts = packet.dts = packet.pts - shift
        # The packet just before the first picture stays: decoders begin with it.
        if packet.pts + 2 * (packet.duration or 0) > 0:
            packet.stream = self._target
            yield packet

    def _encode(self, packet: av.Packet) -> Iterator[av.Packet]:
        try:
            frames = self._source.decode(packet)
        except (av.FFmpegError, OSError):
            return
        for frame in frames:
            if frame.pts is None:
                continue
            frame.pts -= round(self._start / frame.time_base)
            if frame.pts * frame.time_base + Fraction(frame.samples, frame.sample_rate) > 0:
                yield from self._target.encode(frame)


def _existing(path: str | os.PathLike) -> Path:
    path = Path(path)
    if not path.is_file():
        raise LirecError(f"There is no video at {path}: check the path.")
    return path


def _is_picture(path: Path) -> bool:
    try:
        with Image.open(path, formats=PICTURE_FORMATS):
            return True
    except UnidentifiedImageError:
        return False
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return True  # a damaged or a huge one: reading it as a picture says so


def _open_container(path: Path):
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    try:
        return av.open(str(path.absolute()), container_options=options, metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise LirecError(f"{path} is no video, or is damaged beyond reading: give an MP4, MOV or WebM.") from error


def _picture_stream(container):
    """The first stream of moving pictures; the cover of a song is none."""
    cover = av.stream.Disposition.attached_pic
    return next((stream for stream in container.streams.video if not stream.disposition & cover), None)


def _display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """(a, b, c, d) by which the file wants its pictures turned: x' = a x + c y, y' = b x + d y."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d = (int(value) for value in itertools.islice(np.frombuffer(data, np.int32), 5))
    return a, b, c, d


def _swaps_axes(matrix: tuple[int, int, int, int]) -> bool:
    return abs(matrix[1]) > abs(matrix[0])


def _upright(image: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    a, b, c, d = matrix
    if _swaps_axes(matrix):
        image, x, y = image.swapaxes(0, 1), c, b
    else:
        x, y = a, d
    return np.ascontiguousarray(image[:: -1 if y < 0 else 1, :: -1 if x < 0 else 1])


def _from_hdr(image: np.ndarray, transfer: int) -> np.ndarray:
    """(H, W, 3) uint16 of HLG or PQ in BT.2020 -> (H, W, 3) uint8 sRGB."""
    to_light, to_srgb = _hdr_tables(transfer)
    light = to_light[image] @ BT2020_TO_BT709.T
    return to_srgb[(light.clip(0, HDR_PEAK) * np.float32(65535 / HDR_PEAK)).astype(np.uint16)]


@lru_cache
def _hdr_tables(transfer: int) -> tuple[np.ndarray, np.ndarray]:
    """(65536,) float32: code values to light, 1 = diffuse white; (65536,) uint8: light up to HDR_PEAK to sRGB."""
    code = np.linspace(0, 1, 65536)
    if transfer == HLG:  # ITU-R BT.2100, tables 5: inverse OETF, then the display's gamma of 1.2
        a = 0.17883277
        b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
        scene = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
        light = scene**1.2 * HDR_PEAK
    else:  # table 4: the EOTF of PQ, which reaches 10000 cd/m²
        root = code ** (32 / 2523)
        light = ((root - 0.8359375).clip(0) / (18.8515625 - 18.6875 * root)) ** (8192 / 1305) * 10_000 / 203
    bright = np.linspace(0, HDR_PEAK, 65536)
    knee = 0.6  # below it all stays; what is brighter bends towards white instead of being cut
    bright = np.where(bright < knee, bright, knee + (1 - knee) * (1 - np.exp((knee - bright) / (1 - knee))))
    srgb = np.where(bright < 0.0031308, 12.92 * bright, 1.055 * bright ** (1 / 2.4) - 0.055)
    return light.astype(np.float32), np.round(srgb * 255).astype(np.uint8)
