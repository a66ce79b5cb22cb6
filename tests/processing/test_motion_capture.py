import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lirec.errors import LirecError
from lirec.geometry import euler_to_matrix
from lirec.processing.motion_capture import LIVE_LINK_NAMES, MotionCapture, eye_angles, read_live_link_csv


@pytest.fixture(scope="module")
def names():
    config = Path(__file__).parents[2] / "hub" / "rec-aug-net" / "morphable_model" / "config.json"
    return tuple(json.loads(config.read_text())["expression_names"])


def timecode(second, frame):
    minutes, seconds = divmod(second, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}:{frame:06.3f}"


def steady(count, step=2.0, rate=60, first=(47_528, 19.96)):
    """Time codes of rows `step` frames apart, at `rate` frames a second."""
    codes = []
    for index in range(count):
        seconds, frame = divmod(first[1] + index * step, rate)
        codes.append(timecode((first[0] + int(seconds)) % 86_400, frame))
    return codes


def record(path, names, codes, head=None, **values):
    """A file as the app writes it: names with a capital, their order reversed, eyes and tongue as well."""
    columns = [name[0].upper() + name[1:] for name in reversed(names)] + ["TongueOut"]
    lines = [["Timecode", "BlendshapeCount", *columns, *(head or {}), "LeftEyeYaw"]]
    for index, code in enumerate(codes):
        row = [values.get(name[0].lower() + name[1:], [0.0] * len(codes))[index] for name in columns]
        row += [series[index] for series in (head or {}).values()] + [0.3]
        lines.append([code, "61", *(f"{value:.10f}" for value in row)])
    path.write_text("\n".join(",".join(line) for line in lines) + "\n", encoding="utf-8")
    return path


def test_coefficients_come_in_our_order_and_range(tmp_path, names):
    jaw = np.linspace(0, 1.2, 70)
    path = record(tmp_path / "a.csv", names, steady(70), jawOpen=jaw, eyeBlinkLeft=[-0.1] * 70, tongueOut=[1] * 70)
    motion = read_live_link_csv(path, names)
    assert len(motion) == 70 and motion.expression.shape == (70, 51) and motion.expression.dtype == np.float32
    np.testing.assert_allclose(motion.expression[:, names.index("jawOpen")], jaw.clip(0, 1), atol=1e-6)
    assert motion.expression.sum() == pytest.approx(jaw.clip(0, 1).sum(), rel=1e-5)  # nothing else moves
    assert motion.angles is None


@pytest.mark.parametrize(("rate", "step"), [(60, 2.0), (60, 1.0), (30, 1.0), (24, 1.0), (60, 1.998)])
def test_the_rate_of_the_time_code_is_found(tmp_path, names, rate, step):
    codes = steady(150, step, rate, first=(86_390, 3.5))  # midnight falls into it
    motion = read_live_link_csv(record(tmp_path / "a.csv", names, codes), names)
    np.testing.assert_allclose(motion.times, np.arange(150) * step / rate, atol=2e-3)
    assert motion.frame_rate == pytest.approx(rate / step, rel=0.01)


def test_a_short_take_counts_in_sixtieths(tmp_path, names):
    motion = read_live_link_csv(record(tmp_path / "a.csv", names, steady(10, first=(5, 0))), names)
    np.testing.assert_allclose(motion.times, np.arange(10) / 30, atol=1e-6)
    single = read_live_link_csv(record(tmp_path / "a.csv", names, steady(1)), names)
    assert single.times.tolist() == [0] and single.frame_rate == 60


def test_lost_and_repeated_rows_are_left_out(tmp_path, names):
    codes = steady(100)
    codes[40] = codes[39]
    path = record(tmp_path / "a.csv", names, codes, jawOpen=np.linspace(0, 1, 100))
    lines = path.read_text().splitlines()
    lines[51] = codes[50] + ",0" + "," * 53
    lines[52] = codes[51] + ",0"
    path.write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    motion = read_live_link_csv(path, names)
    expected = np.delete(np.arange(100), [40, 50, 51])
    np.testing.assert_allclose(motion.times, expected / 30, atol=2e-3)
    np.testing.assert_allclose(motion.expression[:, names.index("jawOpen")], expected / 99, atol=1e-6)


def test_each_head_angle_turns_our_way(tmp_path, names):
    head = {"HeadYaw": [0.4, 0, 0], "HeadPitch": [0, 0.3, 0], "HeadRoll": [0, 0, 0.2]}
    motion = read_live_link_csv(record(tmp_path / "a.csv", names, steady(3), head), names)
    # The person's own right is the picture's left, down stays down, clockwise is against our roll.
    np.testing.assert_allclose(motion.angles, [[0, -0.4, 0], [0.3, 0, 0], [0, 0, -0.2]], atol=1e-6)
    nose = euler_to_matrix(torch.from_numpy(motion.angles)) @ torch.tensor([0.0, 0.0, 1.0])
    assert nose[0, 0] < -0.3 and nose[1, 1] > 0.2  # camera frame: x right, y down
    degrees = {name: np.degrees(values) for name, values in head.items()}
    again = read_live_link_csv(record(tmp_path / "b.csv", names, steady(3), degrees), names)
    np.testing.assert_allclose(again.angles, motion.angles, atol=1e-6)


def test_joint_angles_are_unreals_order_of_turns(tmp_path, names):
    yaw, pitch, roll = 0.7, -0.4, 0.5
    head = {"HeadYaw": [yaw], "HeadPitch": [pitch], "HeadRoll": [roll]}
    motion = read_live_link_csv(record(tmp_path / "a.csv", names, steady(1), head), names)
    # Unreal's matrix (rows are axes) of a rotator, carried from its axes (back of the head, own left, up) to ours.
    sp, cp, sy, cy, sr, cr = (f(a) for a in (pitch, yaw, roll) for f in (np.sin, np.cos))
    unreal = np.array(
        [
            [cp * cy, cp * sy, sp],
            [sr * sp * cy - cr * sy, sr * sp * sy + cr * cy, -sr * cp],
            [-(cr * sp * cy + sr * sy), cy * sr - cr * sp * sy, cr * cp],
        ]
    ).T
    to_ours = np.array([[0, 1, 0], [0, 0, 1], [-1, 0, 0]])
    expected = np.diag([1, -1, -1]) @ to_ours @ unreal @ to_ours.T
    rotation = euler_to_matrix(torch.from_numpy(motion.angles[0]).double())
    np.testing.assert_allclose(rotation, expected, atol=1e-6)


def test_a_head_that_was_not_recorded_has_no_angles(tmp_path, names):
    zero = {"HeadYaw": [0] * 3, "HeadPitch": [0] * 3, "HeadRoll": [0] * 3}
    for head in (zero, {"HeadYaw": [0.1] * 3}, None):
        assert read_live_link_csv(record(tmp_path / "a.csv", names, steady(3), head), names).angles is None


def test_bad_files_give_a_sentence(tmp_path, names):
    good = record(tmp_path / "good.csv", names, steady(5))
    text = good.read_text()
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "one.csv").write_text(text.replace("JawOpen", "Jaw"))
    (tmp_path / "other.csv").write_text("frame, face_id, timestamp, AU01_r\n1, 0, 0.0, 0.2\n")  # OpenFace
    few = [name for name in names if not name.startswith(("jawOpen", "mouthS"))]
    record(tmp_path / "few.csv", few, steady(5))
    record(tmp_path / "percent.csv", names, steady(5), jawOpen=[0, 20, 80, 40, 0])
    head = {"HeadYaw": [4000] * 5, "HeadPitch": [0] * 5, "HeadRoll": [0] * 5}
    record(tmp_path / "angles.csv", names, steady(5), head)
    (tmp_path / "time.csv").write_text(text.replace("Timecode", "Time"))
    (tmp_path / "number.csv").write_text(text.replace("0.0000000000", "zero", 1))
    (tmp_path / "nan.csv").write_text(text.replace("0.0000000000", "nan", 1))
    (tmp_path / "code.csv").write_text(text.replace(steady(5)[2], "noon"))
    (tmp_path / "head.csv").write_text(text.splitlines()[0] + "\n")
    for name, message in {
        "absent.csv": "no recording at",
        "binary.csv": "no CSV",
        "empty.csv": "is empty",
        "other.csv": "another tool, whose columns begin with frame, face_id, timestamp",
        "few.csv": "no column jawOpen, .* and 2 more",
        "percent.csv": "weights up to 80.*divide percentages by 100",
        "angles.csv": "angles up to 4000",
        "one.csv": "no column jawOpen",
        "time.csv": "no column Timecode",
        "number.csv": "at line 2",
        "nan.csv": "at line 2",
        "code.csv": "at line 4",
        "head.csv": "no motion",
    }.items():
        with pytest.raises(LirecError, match=message):
            read_live_link_csv(tmp_path / name, names)


def test_motion_from_arrays():
    motion = MotionCapture.from_arrays(torch.rand(5, 51) * 2 - 0.5, np.zeros((5, 3)), frame_rate=25)
    np.testing.assert_allclose(motion.times, [0, 0.04, 0.08, 0.12, 0.16])
    assert motion.expression.min() == 0 and motion.expression.max() == 1
    assert motion.expression.dtype == motion.angles.dtype == np.float32
    assert MotionCapture.from_arrays([[0.5] * 51]).angles is None
    for message, arguments in {
        "Coefficients are": (np.zeros(51),),
        "not \\(0, 51\\)": (np.zeros((0, 51)),),
        "angles are": (np.zeros((5, 51)), np.zeros((4, 3))),
        "not finite": (np.full((2, 51), np.nan),),
        "rate": (np.zeros((2, 51)), None, 0),
    }.items():
        with pytest.raises(LirecError, match=message):
            MotionCapture.from_arrays(*arguments)


def test_coefficients_are_put_in_order_by_their_names(names):
    values = np.random.default_rng(0).uniform(0, 1, (3, 52)).astype(np.float32)
    given = [name[0].upper() + name[1:] for name in LIVE_LINK_NAMES]
    motion = MotionCapture.from_arrays(values, names=given).ordered(names)
    assert motion.names == names and motion.expression.shape == (3, 51)
    np.testing.assert_array_equal(motion.expression[:, names.index("jawOpen")], values[:, given.index("JawOpen")])
    unnamed = MotionCapture.from_arrays(values[:, :51])
    assert unnamed.ordered(names) is unnamed
    for message, wrong in {
        "52 coefficients a frame, not 51: give their names": MotionCapture.from_arrays(values),
        "52 coefficients but 51 names": MotionCapture.from_arrays(values, names=names),
        "has no browDownLeft": MotionCapture.from_arrays(values[:, :2], names=given[:2]),
    }.items():
        with pytest.raises(LirecError, match=message):
            wrong.ordered(names)


def take(names, count=75, rate=25.0):
    """A motion of everything."""
    random = np.random.default_rng(0)
    angles = random.uniform(-0.6, 0.6, (count, 3)).astype(np.float32)
    return MotionCapture.from_arrays(random.uniform(0, 1, (count, 51)), angles, rate, names)


@pytest.mark.parametrize("rate", [24, 25, 29.97, 60])
def test_a_csv_comes_back(tmp_path, names, rate):
    motion = take(names, rate=rate)
    again = read_live_link_csv(motion.save(tmp_path / "a.csv"), names)
    np.testing.assert_allclose(again.times, motion.times, atol=2e-5)
    np.testing.assert_allclose(again.expression, motion.expression, atol=1e-6)
    np.testing.assert_allclose(again.angles, motion.angles, atol=1e-5)
    np.testing.assert_allclose(again.gaze, eye_angles(motion.expression, names), atol=1e-6)
    assert again.frame_rate == pytest.approx(rate, rel=1e-3) and again.names == names
    shuffled = read_live_link_csv(tmp_path / "a.csv", names[::-1])
    np.testing.assert_allclose(shuffled.expression, motion.expression[:, ::-1], atol=1e-6)


def test_a_csv_is_laid_out_as_the_app_does(tmp_path, names):
    values = dict.fromkeys(names, 0.0) | {"jawOpen": 0.5, "eyeLookOutLeft": 1.0, "eyeLookDownRight": 0.5}
    motion = MotionCapture.from_arrays([list(values.values())] * 2, [[0.1, 0.2, 0.3]] * 2, 30, names)
    header, first, second = motion.save(tmp_path / "a.csv").read_text().splitlines()
    assert header.startswith("Timecode,BlendshapeCount,EyeBlinkLeft,EyeLookDownLeft,EyeLookInLeft")
    assert header.endswith("TongueOut,HeadYaw,HeadPitch,HeadRoll,LeftEyeYaw,LeftEyePitch,LeftEyeRoll,"
                           "RightEyeYaw,RightEyePitch,RightEyeRoll")  # fmt: skip
    row = dict(zip(header.split(","), first.split(","), strict=True))
    assert len(row) == 63 and row["BlendshapeCount"] == "61" and row["Timecode"] == "00:00:00:00.000"
    assert second.startswith("00:00:00:02.000,")  # in sixtieths
    assert float(row["JawOpen"]) == 0.5 and float(row["TongueOut"]) == 0
    # The left eye looks to the person's own left, the picture's right; the right eye down.
    assert float(row["LeftEyeYaw"]) == pytest.approx(-np.radians(25)) and float(row["LeftEyePitch"]) == 0
    assert float(row["RightEyePitch"]) == pytest.approx(np.radians(10)) and float(row["RightEyeYaw"]) == 0
    assert float(row["HeadYaw"]) < 0 < float(row["HeadPitch"]) and float(row["HeadRoll"]) < 0


def test_without_a_head_the_csv_has_none(tmp_path, names):
    motion = MotionCapture.from_arrays(np.full((4, 51), 0.25), None, 30, names)
    again = read_live_link_csv(motion.save(tmp_path / "a.csv"), names)
    assert again.angles is None and again.gaze is not None


def test_json(tmp_path, names):
    motion = take(names, 3)
    values = json.loads(motion.save(tmp_path / "a.json").read_text())
    assert values["frame_rate"] == 25 and values["times"] == [0, 0.04, 0.08] and values["names"] == list(names)
    np.testing.assert_allclose(values["weights"], motion.expression, atol=1e-5)
    np.testing.assert_allclose(values["angles"], motion.angles, atol=1e-5)
    assert np.shape(values["gaze"]) == (3, 2, 2) and values["translation"] is None


def test_what_cannot_be_written_gives_a_sentence(tmp_path, names):
    motion = take(names, 2)
    for path, message in [("a.bvh", "not .bvh"), ("a", "without an ending"), ("absent/a.csv", "no folder")]:
        with pytest.raises(LirecError, match=message):
            motion.save(tmp_path / path)
    with pytest.raises(LirecError, match="give as many names"):
        MotionCapture.from_arrays(np.zeros((2, 51))).save(tmp_path / "a.csv")
    with pytest.raises(LirecError, match="has no smirk"):
        MotionCapture.from_arrays(np.zeros((2, 1)), names=["smirk"]).save(tmp_path / "a.csv")
