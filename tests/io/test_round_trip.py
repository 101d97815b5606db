"""What is written is what is read, on the same grid to the bit."""

from __future__ import annotations

import pickle
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from volseg.errors import GridMismatch, UsageError, VolumeError
from volseg.geometry import Grid, orientations
from volseg.io import read_frames, read_labels, read_volume, write_labels, write_volume
from volseg.labels import Labels

SPACINGS = ((1.0, 1.0, 1.0), (0.7, 0.7, 2.5), (1.5625, 0.3333, 10.0))


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_all_48_orientations_come_back(
    tmp_path: Path, ending: str, spacing: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A volume in any orientation is read back with identical voxels and its affine to a millionth."""
    monkeypatch.setattr("os.fsync", lambda _: None)  # a thousand flushes of the disk show nothing here
    rng = np.random.default_rng(0)
    base = Grid((5, 4, 3), np.array([[*row, t] for row, t in zip(np.diag(spacing), (-91.3, 12.7, 33.1), strict=True)]
                                    + [[0, 0, 0, 1.0]]))  # fmt: skip
    voxels = rng.integers(-1000, 1000, base.shape).astype(np.int16)
    for axcodes in orientations():
        turn = base.reoriented(axcodes)
        array = turn.apply(voxels)
        write_volume(tmp_path / f"v{ending}", array, turn.target)
        back = read_volume(tmp_path / f"v{ending}")
        assert back.array.dtype == np.int16
        assert np.array_equal(back.array, array)
        assert np.allclose(back.grid.affine, turn.target.affine, rtol=1e-6, atol=1e-6)
        write_labels(tmp_path / f"m{ending}", array > 0, back.grid, like=back)
        mask = read_labels(tmp_path / f"m{ending}")
        assert mask.grid == back.grid or ending in (".nrrd", ".mha")
        assert mask.grid.same_as(back.grid, 1e-6)
        assert np.array_equal(mask.array, array > 0)


def nifti(path: Path, array: np.ndarray, **fields: object) -> Path:
    header = nib.Nifti1Header()
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header["vox_offset"], header["scl_slope"], header["scl_inter"] = 352, 1, 0
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(bytes(header.binaryblock) + bytes(4) + array.tobytes(order="F"))
    return path


def test_a_qform_is_followed_to_the_bit(tmp_path: Path) -> None:
    """Where a file has a qform alone, its mask has the same numbers, and so the same affine, to the last bit."""
    array = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    header = nib.Nifti1Header()
    turn = np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]]) * [0.7, 0.7, 2.2]
    affine = np.eye(4)
    affine[:3] = np.column_stack([turn, [11.1, -22.2, 33.3]])
    header.set_qform(affine, code=1)
    fields = {name: header[name] for name in ("pixdim", "qform_code", "quatern_b", "quatern_c", "quatern_d")}
    fields |= {name: header[name] for name in ("qoffset_x", "qoffset_y", "qoffset_z")}
    volume = read_volume(nifti(tmp_path / "scan.nii", array, **fields))
    write_labels(tmp_path / "mask.nii.gz", array > 9, volume.grid, like=volume)
    assert read_labels(tmp_path / "mask.nii.gz").grid == volume.grid
    peer, mask = nib.load(tmp_path / "scan.nii"), nib.load(tmp_path / "mask.nii.gz")
    assert peer.affine.tobytes() == mask.affine.tobytes()
    assert int(mask.header["sform_code"]) == 0


def test_an_assumed_orientation_is_written_down(tmp_path: Path) -> None:
    """What was assumed while reading is stated in the mask, which needs no assumption any more."""
    array = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    path = nifti(tmp_path / "scan.nii", array, pixdim=[1, 0.7, 0.7, 2.2, 0, 0, 0, 0])
    volume = read_volume(path, assume_ras=True)
    write_labels(tmp_path / "mask.nii.gz", array > 9, volume.grid, like=volume)
    assert read_labels(tmp_path / "mask.nii.gz").grid == volume.grid


def test_nifti2_stays_nifti2(tmp_path: Path) -> None:
    """Its affine is of doubles: only its own kind holds them to the bit."""
    affine = np.array([[0.1, 0, 0, 1 / 3], [0, 0.3, 0, 2 / 3], [0, 0, 0.7, 1e-9], [0, 0, 0, 1]])
    nib.save(nib.Nifti2Image(np.ones((4, 3, 2), np.int16), affine), tmp_path / "scan.nii")
    volume = read_volume(tmp_path / "scan.nii")
    assert volume.grid.affine.tobytes() == affine.tobytes()
    write_labels(tmp_path / "mask.nii.gz", volume.array, volume.grid, like=volume)
    assert read_labels(tmp_path / "mask.nii.gz").grid == volume.grid


def test_both_statements_of_space_where_both_can_make_it(tmp_path: Path) -> None:
    """A qform holds no shear: then the sform stands alone, and else both say the same."""
    array = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    turn = np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]]) * [0.7, 0.7, 2.2]
    for shear, code in ((0.0, 1), (0.2, 0)):
        affine = np.eye(4)
        affine[:3] = np.column_stack([turn, [11.1, -22.2, 33.3]])
        affine[0, 2] = shear
        write_volume(tmp_path / "v.nii", array, Grid(array.shape, affine))
        header = nib.load(tmp_path / "v.nii").header
        assert (int(header["sform_code"]), int(header["qform_code"])) == (1, code)
        assert np.allclose(header.get_sform(), affine, atol=1e-5)
        assert code == 0 or np.allclose(header.get_qform(), affine, atol=1e-5)
        assert header.get_xyzt_units()[0] == "mm"
        assert np.allclose(header.get_zooms(), np.linalg.norm(affine[:3, :3], axis=0))


def test_labels_of_a_frame(tmp_path: Path) -> None:
    """Label maps of a cine lie in one file too."""
    frames = np.stack([np.full((4, 3, 2), value, np.uint8) for value in (1, 2, 3)], axis=-1)
    nib.save(nib.Nifti1Image(frames, np.diag([1, 1, 2, 1])), tmp_path / "labels.nii")
    assert [int(read_labels(tmp_path / "labels.nii", frame=k).array.max()) for k in range(3)] == [1, 2, 3]
    assert [int(volume.array.max()) for volume in read_frames(tmp_path / "labels.nii")] == [1, 2, 3]


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_two_dimensions(tmp_path: Path, ending: str) -> None:
    """A 2-D image has a 2-D grid in every format."""
    grid = Grid((5, 4), np.array([[-0.7, 0, 3], [0, 0.9, -4], [0, 0, 1]]))
    array = np.arange(20, dtype=np.uint16).reshape(5, 4)
    write_volume(tmp_path / f"a{ending}", array, grid)
    volume = read_volume(tmp_path / f"a{ending}")
    assert np.array_equal(volume.array, array)
    assert np.allclose(volume.grid.affine, grid.affine)


def test_a_sagittal_plane_keeps_its_spacing(tmp_path: Path) -> None:
    """A 2-D NIfTI outside the axial plane has no 2-D place in space: that is said, and its mask has its header."""
    array = np.arange(20, dtype=np.uint8).reshape(5, 4)
    path = nifti(
        tmp_path / "a.nii", array, sform_code=1, pixdim=[1, 0.7, 0.9, 1, 0, 0, 0, 0],
        srow_x=[0, 0, 1, 8], srow_y=[0.7, 0, 0, 0], srow_z=[0, 0.9, 0, 0],
    )  # fmt: skip
    volume = read_volume(path)
    assert volume.grid.spacing == pytest.approx((0.7, 0.9))
    assert volume.notes == ("a 2-D image outside the axial plane: its spacing is kept, its place in space is not",)
    write_labels(tmp_path / "m.nii", array, volume.grid, like=volume)
    assert nib.load(tmp_path / "m.nii").affine.tobytes() == nib.load(path).affine.tobytes()


def test_pairs_of_header_and_image(tmp_path: Path) -> None:
    """The two files of a pair are read by either name; one without the other is refused."""
    array = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    nib.save(nib.Nifti1Pair(array, np.diag([0.7, 0.7, 2, 1])), tmp_path / "a.img")
    for name in ("a.hdr", "a.img"):
        assert np.array_equal(read_volume(tmp_path / name).array, array)
    (tmp_path / "a.img").unlink()
    with pytest.raises(VolumeError, match=r"its other half a\.img is missing"):
        read_volume(tmp_path / "a.hdr")


def test_volumes_travel(tmp_path: Path) -> None:
    """A volume survives the way to another process, and nobody changes it on the way."""
    array = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    write_volume(tmp_path / "a.nii.gz", array, Grid.from_spacing(array.shape, (1, 1, 1)))
    volume = read_volume(tmp_path / "a.nii.gz")
    there = pickle.loads(pickle.dumps(volume))
    assert np.array_equal(there.array, volume.array)
    assert there.grid == volume.grid
    assert dict(there.header) == dict(volume.header)
    with pytest.raises(ValueError, match="read-only"):
        there.array[0, 0, 0] = 1
    with pytest.raises(TypeError):
        there.header["form"] = "qform"  # type: ignore[index]


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A shape that is not the grid's, an unknown ending, a type of no format."""
    grid = Grid.from_spacing((5, 4, 3), (1, 1, 1))
    with pytest.raises(GridMismatch, match="do not fill the grid"):
        write_volume(tmp_path / "a.nii", np.zeros((5, 4, 4)), grid)
    with pytest.raises(UsageError, match=r"known are \.nii\.gz"):
        write_volume(tmp_path / "a.npy", np.zeros((5, 4, 3)), grid)
    with pytest.raises(UsageError, match="voxels of type complex128 cannot be written"):
        write_volume(tmp_path / "a.nii", np.zeros((5, 4, 3), complex), grid)


def test_labels_are_written_in_the_smallest_type(tmp_path: Path) -> None:
    """The declared labels decide, present or not; without them the values do."""
    grid = Grid.from_spacing((5, 4, 3), (1, 1, 1))
    mask = np.ones(grid.shape, np.int64)
    for labels, value, dtype in (
        (None, 255, np.uint8),
        (None, 256, np.uint16),
        (Labels.of({"a": 1, "b": 300}), 1, np.uint16),
        (Labels.of({"a": 1}, ignore=255), 255, np.uint8),
    ):
        for ending in (".nii.gz", ".nrrd", ".mha"):
            write_labels(tmp_path / f"m{ending}", mask * value, grid, labels)
            assert read_volume(tmp_path / f"m{ending}").array.dtype == dtype
