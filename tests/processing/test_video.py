import gc
import tracemalloc
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from lirec.errors import LirecError
from lirec.processing.video import VideoWriter, open_video

COLOURS = np.array([[[220, 30, 30], [30, 200, 40]], [[30, 40, 220], [128, 128, 128]]], np.uint8)


def picture(index=0, width=64, height=48):
    """Four patches of colour, all different, and a bar below the middle that tells the frame's index."""
    image = COLOURS.repeat(-(-height // 2), 0).repeat(-(-width // 2), 1)[:height, :width].copy()
    image[height // 2 + 4 : height // 2 + 12] = index % 16 * 16
    return image


def index_of(image):
    middle = image.shape[0] // 2
    return round(float(image[middle + 6 : middle + 10].mean()) / 16)


def sound_frame(wave, sample=0, rate=48000):
    frame = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
    frame.rate, frame.pts, frame.time_base = rate, sample, Fraction(1, rate)
    return frame


def encode(path, times=None, sound=None, codec="libx264", pix_fmt="yuv420p", size=(64, 48), matrix=None, **tags):
    """A video of ten pictures written with PyAV alone; `sound` is (codec, first second, last second)."""
    times = [i / 25 for i in range(10)] if times is None else times
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=25, options={"crf": "8"} if codec == "libx264" else {})
        video.width, video.height, video.pix_fmt = *size, pix_fmt
        video.codec_context.time_base = Fraction(1, 1000)
        for name, value in tags.items():
            setattr(video.codec_context, name, value)
        if matrix is not None:
            video.set_display_matrix(matrix)
        packets = []
        if sound is not None:
            name, first, last = sound
            rate = 48000
            audio = container.add_stream(name, rate=rate)
            audio.codec_context.layout = "mono"
            for sample in range(round(first * rate), round(last * rate), 960):
                wave = np.sin(np.arange(sample, sample + 960) * 0.05).astype(np.float32)
                packets += audio.encode(sound_frame(wave[None], sample))
            packets += audio.encode(None)
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(index, *size), format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            packets += video.encode(frame)
        packets += video.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def sound_of(path):
    """Codec name and (time, bytes) of a file's sound packets, in seconds; None without sound."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return None
        stream = container.streams.audio[0]
        packets = [(float(p.pts * p.time_base), bytes(p)) for p in container.demux(stream) if p.size]
        return stream.codec_context.codec.canonical_name, packets


def write(path, count=10, size=(64, 48), **options):
    with VideoWriter(path, size, **options) as writer:
        for index in range(count):
            writer.write(picture(index, *size))
    return path


# Reading


def test_frames_times_and_head(tmp_path):
    video = open_video(encode(tmp_path / "a.mp4", sound=("aac", 0, 0.4)))
    assert video.size == (64, 48) and video.frame_rate == 25 and video.frame_count == 10
    assert video.duration == pytest.approx(0.4) and video.has_audio
    for _ in range(2):  # every iteration begins at the beginning
        frames = list(video)
        assert [index_of(frame.image) for frame in frames] == list(range(10))
        assert [frame.time for frame in frames] == pytest.approx([i / 25 for i in range(10)])
    assert frames[0].image.dtype == np.uint8 and frames[0].image.shape == (48, 64, 3)
    assert np.abs(frames[0].image[10, 10].astype(int) - COLOURS[0, 0]).max() < 12
    assert not video.truncated
    assert not open_video(encode(tmp_path / "b.mp4")).has_audio


def test_a_variable_frame_rate_keeps_its_times(tmp_path):
    times = [0, 0.04, 0.05, 0.3, 0.31, 1.0, 1.04]
    for name in ("a.mp4", "a.webm"):
        codec = "libx264" if name == "a.mp4" else "libvpx"
        frames = list(open_video(encode(tmp_path / name, times, codec=codec)))
        assert [frame.time for frame in frames] == pytest.approx(times, abs=2e-3)


def test_times_begin_at_the_first_picture(tmp_path):
    video = open_video(encode(tmp_path / "a.ts", [2 + i / 25 for i in range(20)]))
    assert [frame.time for frame in video] == pytest.approx([i / 25 for i in range(20)], abs=1e-4)
    assert video.start >= 2


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((0, -1, 1, 0), lambda a: np.rot90(a, 1)),  # a quarter turn counter-clockwise
        ((0, 1, -1, 0), lambda a: np.rot90(a, -1)),
        ((-1, 0, 0, -1), lambda a: np.rot90(a, 2)),
        ((-1, 0, 0, 1), np.fliplr),
        ((0, 1, 1, 0), lambda a: a.transpose(1, 0, 2)),
    ],
)
def test_rotation_and_mirroring_are_applied(tmp_path, matrix, turn):
    a, b, c, d = (value << 16 for value in matrix)
    video = open_video(encode(tmp_path / "a.mp4", matrix=(a, b, 0, c, d, 0, 0, 0, 1 << 30)))
    image = next(iter(video)).image
    expected = turn(picture())
    assert image.shape == expected.shape and video.size == (image.shape[1], image.shape[0])
    assert np.abs(image.astype(int) - expected).mean() < 8


def test_ten_bits_and_other_formats(tmp_path):
    for tags in ({}, {"pix_fmt": "yuv420p10le"}, {"pix_fmt": "yuv444p"}, {"pix_fmt": "yuvj420p"}):
        image = next(iter(open_video(encode(tmp_path / "a.mp4", **tags)))).image
        assert np.abs(image.astype(int) - picture()).mean() < 8, tags


@pytest.mark.parametrize(("transfer", "signal", "expected"), [(18, 0.5, 137), (18, 0.75, 237), (16, 0.5, 180)])
def test_hdr_is_brought_to_the_usual_range(tmp_path, transfer, signal, expected):
    # Diffuse white is 203 cd/m², 75 % of HLG; the expected values follow from BT.2100 and the bend of highlights.
    tags = {"color_trc": transfer, "color_primaries": 9, "colorspace": 9, "color_range": 1}
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        frame = av.VideoFrame(64, 48, "yuv420p10le")
        for plane, value in zip(frame.planes, (64 + 876 * signal, 512, 512), strict=True):
            plane.update(np.full(plane.buffer_size // 2, round(value), np.uint16).tobytes())
        container.mux(stream.encode(frame) + stream.encode(None))
    image = next(iter(open_video(tmp_path / "a.mp4"))).image
    assert np.abs(image.astype(int) - expected).max() <= 3


def test_odd_sizes_wide_pixels_and_large_pictures(tmp_path):
    assert open_video(encode(tmp_path / "a.mp4", pix_fmt="yuv444p", size=(63, 49))).size == (63, 49)
    wide = open_video(encode(tmp_path / "a.mp4", sample_aspect_ratio=Fraction(3, 2)))
    assert wide.size == (96, 48) and next(iter(wide)).image.shape == (48, 96, 3)
    large = open_video(encode(tmp_path / "a.mp4", [0], size=(4800, 96)))
    assert large.size == (4096, 82) and next(iter(large)).image.shape == (82, 4096, 3)


def test_a_cut_file_gives_what_it_has(tmp_path):
    path = write(tmp_path / "a.mp4", 250)
    data = path.read_bytes()
    for part in (0.5, 0.9):
        path.write_bytes(data[: int(len(data) * part)])
        video = open_video(path)
        indices = [index_of(frame.image) for frame in video]
        assert 10 < len(indices) < 250 and video.truncated
        assert indices[:10] == list(range(10))
    transport = encode(tmp_path / "a.ts", [i / 25 for i in range(100)])
    transport.write_bytes(transport.read_bytes()[:-3000])
    assert 5 < len(list(open_video(transport))) < 100


def test_damage_in_the_middle_is_passed_over(tmp_path):
    path = encode(tmp_path / "a.mp4", [i / 25 for i in range(100)], codec="mjpeg", pix_fmt="yuvj420p")
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packet = next(p for i, p in enumerate(container.demux(video=0)) if i == 50)
        data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(data)
    video = open_video(path)
    times = [frame.time for frame in video]
    assert len(times) == 99 and times[-1] == pytest.approx(3.96) and video.truncated


def test_animations_and_pictures(tmp_path):
    images = [Image.fromarray(picture(index)) for index in range(3)]
    durations = [100, 50, 200]
    for name, options in {"a.gif": {}, "a.webp": {"lossless": True}, "a.png": {}}.items():
        images[0].save(tmp_path / name, save_all=True, append_images=images[1:], duration=durations, **options)
        video = open_video(tmp_path / name)
        frames = list(video)
        assert [frame.time for frame in frames] == pytest.approx([0, 0.1, 0.15]), name
        assert [index_of(frame.image) for frame in frames] == [0, 1, 2]
        assert video.duration == pytest.approx(0.35) and video.frame_count == 3 and not video.has_audio
        assert float(video.frame_rate) == pytest.approx(3 / 0.35, rel=1e-3)
    exif = Image.Exif()
    exif[0x0112] = 6
    images[0].save(tmp_path / "a.jpg", exif=exif)
    still = open_video(tmp_path / "a.jpg")
    assert still.size == (48, 64) and [frame.time for frame in still] == [0] and still.frame_count == 1


def test_a_cut_animation_gives_what_it_has(tmp_path):
    images = [Image.fromarray(picture(index)) for index in range(3)]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=100)
    data = (tmp_path / "a.gif").read_bytes()
    last = data.rindex(b"!\xf9\x04")  # the control block of the last picture
    for length in range(last + 1, len(data) - 2, 3):
        (tmp_path / "a.gif").write_bytes(data[:length])
        video = open_video(tmp_path / "a.gif")
        assert [frame.time for frame in video] == pytest.approx([0, 0.1]), length
        assert video.frame_count in (2, 3) and video.truncated == (video.frame_count == 3)


def test_bad_files_give_a_sentence(tmp_path):
    (tmp_path / "text.mp4").write_text("this is no video\n" * 200)
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    headless = encode(tmp_path / "headless.mp4")
    headless.write_bytes(headless.read_bytes()[:1000])  # an index at the end is lost
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        audio = container.add_stream("aac", rate=48000)
        container.mux(audio.encode(sound_frame(np.zeros((1, 4800), np.float32))))
        container.mux(audio.encode(None))
    encode(tmp_path / "none.mp4", [])
    for name, message in {
        "absent.mp4": "no video at",
        "": "no video at",
        "text.mp4": "no video",
        "empty.mp4": "no video",
        "list.mp4": "no video",
        "headless.mp4": "no video",
        "sound.mp4": "no pictures",
        "none.mp4": "no pictures|no video|no picture that",
    }.items():
        with pytest.raises(LirecError, match=message):
            open_video(tmp_path / name)


def test_the_cover_of_a_song_is_no_video(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "cover.jpg")
    with av.open(str(tmp_path / "song.m4a"), "w", format="mp4") as container:
        audio = container.add_stream("aac", rate=48000)
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.start_encoding()
        packet = av.Packet((tmp_path / "cover.jpg").read_bytes())
        packet.stream, packet.pts, packet.dts, packet.time_base = cover, 0, 0, Fraction(1, 90000)
        packet.is_keyframe = True
        container.mux(packet)
        container.mux(audio.encode(sound_frame(np.zeros((1, 4800), np.float32))))
        container.mux(audio.encode(None))
    with pytest.raises(LirecError, match="no pictures"):
        open_video(tmp_path / "song.m4a")


def test_leaving_closes_what_is_under_way(tmp_path):
    with open_video(encode(tmp_path / "a.mp4")) as video:
        frames = iter(video)
        next(frames)
    assert list(frames) == []


# Writing


def test_what_is_written_plays_in_browsers(tmp_path):
    path = write(tmp_path / "a.mp4", frame_rate=Fraction(30000, 1001))
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, context.colorspace, context.color_range) == ("h264", "yuv420p", 1, 1)
    video = open_video(path)
    frames = list(video)
    assert [index_of(frame.image) for frame in frames] == list(range(10))
    assert [frame.time for frame in frames] == pytest.approx([i * 1001 / 30000 for i in range(10)], abs=1e-4)
    assert video.duration == pytest.approx(10 * 1001 / 30000, abs=1e-3)
    assert video.frame_rate == pytest.approx(30000 / 1001, rel=1e-3)
    assert np.abs(frames[3].image.astype(int) - picture(3)).mean() < 6


def test_given_times_are_kept(tmp_path):
    times = [0, 0.04, 0.05, 0.3, 0.3, 1.0]
    with VideoWriter(tmp_path / "a.mp4", (64, 48), 25) as writer:
        for index, time in enumerate(times):
            writer.write(picture(index), time)
        writer.write(picture(6))
        assert writer.frame_count == 7
    video = open_video(tmp_path / "a.mp4")
    assert [frame.time for frame in video] == pytest.approx([*times, 1.04], abs=1e-4)
    assert video.duration == pytest.approx(1.08, abs=1e-3)


def test_odd_sizes_are_made_even_by_repeating_the_edge(tmp_path):
    y, x = np.mgrid[0:25, 0:33]
    ramp = np.stack([x * 4 + y * 4] * 3, -1).astype(np.uint8)
    with VideoWriter(tmp_path / "a.mp4", (33, 25), 25) as writer:
        writer.write(ramp)
    image = next(iter(open_video(tmp_path / "a.mp4"))).image
    assert image.shape == (26, 34, 3)
    assert np.abs(image - np.pad(ramp, ((0, 1), (0, 1), (0, 0)), mode="edge").astype(int)).max() < 8
    assert write(tmp_path / "b.mp4", 1, (1, 1)).stat().st_size > 0


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "aac"), ("a.ts", "aac"), ("a.mkv", "libmp3lame")])
def test_sound_is_copied_as_it_is(tmp_path, name, codec):
    source = encode(tmp_path / name, [i / 25 for i in range(25)], sound=(codec, 0, 1))
    out = write(tmp_path / "out.mp4", 25, frame_rate=25, audio_from=source)
    (kind, before), (result, after) = sound_of(source), sound_of(out)
    assert result == kind
    if name != "a.ts":  # there every packet carries a head of its own
        assert [data for _, data in after] == [data for _, data in before][: len(after)]
    assert len(before) - 2 <= len(after) <= len(before)
    assert after[-1][0] == pytest.approx(0.97, abs=0.04)


@pytest.mark.parametrize(("name", "codec"), [("a.mov", "pcm_s16le"), ("a.webm", "libopus"), ("a.mkv", "flac")])
def test_other_sound_becomes_aac(tmp_path, name, codec):
    video = "libvpx" if name == "a.webm" else "libx264"
    source = encode(tmp_path / name, [i / 25 for i in range(25)], codec=video, sound=(codec, 0, 1))
    kind, packets = sound_of(write(tmp_path / "out.mp4", 25, frame_rate=25, audio_from=source))
    assert kind == "aac" and packets[-1][0] == pytest.approx(0.98, abs=0.04)
    with av.open(str(tmp_path / "out.mp4")) as container:
        wave = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], 1)
    assert np.abs(wave[0, 8000:40000]).mean() == pytest.approx(0.64, abs=0.05)  # of a full sine wave


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_sound_keeps_its_distance_to_the_pictures_and_ends_with_them(tmp_path, codec):
    late = encode(tmp_path / "late.mov", [i / 25 for i in range(25)], sound=(codec, 0.4, 3))
    _, packets = sound_of(write(tmp_path / "out.mp4", 20, frame_rate=25, audio_from=late))
    assert packets[0][0] == pytest.approx(0.4, abs=0.03) and packets[-1][0] < 0.8 < packets[-1][0] + 0.06

    early = encode(tmp_path / "early.mkv", [0.5 + i / 25 for i in range(25)], sound=(codec, 0, 3))
    _, packets = sound_of(write(tmp_path / "out.mp4", 25, frame_rate=25, audio_from=early))
    assert -0.06 < packets[0][0] <= 0.01 and packets[-1][0] == pytest.approx(0.98, abs=0.04)


def test_a_source_without_sound_gives_none(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.gif")
    for source in (encode(tmp_path / "silent.mp4"), tmp_path / "a.gif"):
        assert sound_of(write(tmp_path / "out.mp4", audio_from=source)) is None


def test_sound_of_a_cut_file_goes_as_far_as_it_can(tmp_path):
    source = encode(tmp_path / "a.ts", [i / 25 for i in range(100)], sound=("aac", 0, 4))
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    out = write(tmp_path / "out.mp4", 100, frame_rate=25, audio_from=source)
    assert len(list(open_video(out))) == 100 and len(sound_of(out)[1]) > 20


def test_sound_that_jumps_back_in_time_is_no_obstacle(tmp_path):
    source = encode(tmp_path / "a.ts", [i / 25 for i in range(50)], sound=("aac", 0, 2))
    source.write_bytes(source.read_bytes() * 2)  # as when recordings are put together
    out = write(tmp_path / "out.mp4", 100, frame_rate=25, audio_from=source)
    assert len(list(open_video(out))) == 100
    times = [frame.time for frame in open_video(source)]
    assert len(times) >= 98 and np.diff(times).min() > 0


def test_leaving_early_keeps_what_was_written(tmp_path):
    source = encode(tmp_path / "a.mp4", [i / 25 for i in range(50)], sound=("aac", 0, 2))

    def frames():
        with VideoWriter(tmp_path / "out.mp4", (64, 48), 25, audio_from=source) as writer:
            for index in range(50):
                writer.write(picture(index % 10))
                yield index

    running = frames()
    for _ in range(20):
        next(running)
    running.close()
    assert len(list(open_video(tmp_path / "out.mp4"))) == 20
    assert sound_of(tmp_path / "out.mp4")[1][-1][0] == pytest.approx(0.79, abs=0.03)

    with pytest.raises(KeyError), VideoWriter(tmp_path / "error.mp4", (64, 48), 25) as writer:
        writer.write(picture())
        raise KeyError
    assert len(list(open_video(tmp_path / "error.mp4"))) == 1
    with VideoWriter(tmp_path / "nothing.mp4", (64, 48), 25, audio_from=source):
        pass
    assert not (tmp_path / "nothing.mp4").exists()


def test_what_cannot_be_written_gives_a_sentence(tmp_path):
    source = encode(tmp_path / "a.mp4")
    before = source.read_bytes()
    for path, options, message in [
        (tmp_path / "a.avi", {}, "MP4"),
        (tmp_path / "absent" / "a.mp4", {}, "cannot be written"),
        (source, {"audio_from": source}, "another name"),
        (tmp_path / "b.mp4", {"audio_from": tmp_path / "absent.mp4"}, "no video at"),
    ]:
        with pytest.raises(LirecError, match=message):
            VideoWriter(path, (64, 48), 25, **options)
    assert source.read_bytes() == before and not (tmp_path / "b.mp4").exists()
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(LirecError, match="no video"):
        VideoWriter(tmp_path / "b.mp4", (64, 48), 25, audio_from=tmp_path / "text.mp4")
    assert not (tmp_path / "b.mp4").exists()
    with VideoWriter(tmp_path / "b.mp4", (64, 48), 25) as writer:
        for image in (picture(0, 48, 64), picture().astype(np.float32)):
            with pytest.raises(LirecError, match="takes pictures"):
                writer.write(image)


def test_a_size_that_cannot_be_encoded_gives_a_sentence(tmp_path):
    with pytest.raises(LirecError, match="25600 x 2 px cannot be encoded: make it smaller"):
        write(tmp_path / "a.mp4", 1, (25600, 2))
    assert not (tmp_path / "a.mp4").exists()


def test_memory_does_not_grow_with_length(tmp_path):
    def peak(count):
        gc.collect()
        tracemalloc.start()
        path = write(tmp_path / "a.mp4", count, (320, 240), audio_from=sound)
        assert sum(1 for _ in open_video(path)) == count
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    sound = encode(tmp_path / "sound.mkv", sound=("aac", 0, 8))
    peak(5)  # what is loaded once
    assert peak(150) < 1.2 * peak(30)
