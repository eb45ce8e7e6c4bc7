# SPDX-License-Identifier: BSD-3-Clause
"""One array at a time: what is an image, and what is a label image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from psmlearn._images._checks import as_float_image, as_label_image


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_equal_floats_divided_by_the_user_bit_for_bit(dtype):
    white = np.iinfo(dtype).max
    values = np.arange(white + 1, dtype=dtype).reshape(16, -1)
    ours = as_float_image(values, "image 0")
    np.testing.assert_array_equal(ours, as_float_image(values / white, "image 0"))
    np.testing.assert_array_equal(
        ours, as_float_image((values / np.float32(white)), "image 0")
    )
    assert ours.min() == 0 and ours.max() == 1


@pytest.mark.parametrize("dtype", [bool, "u1", "u2", ">u2", "f2", "f4", ">f4", "f8"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (1, 1), (1, 9, 3)])
def test_every_dtype_becomes_fresh_contiguous_float32(dtype, shape):
    image = np.ones(shape, dtype=dtype)
    image.flags.writeable = False
    for given_view in (image, image[::-1, ::-1], np.asfortranarray(image)):
        result = as_float_image(given_view, "image 0")
        assert result.shape == (shape + (1,))[:3]
        assert result.dtype == np.float32 and result.dtype.isnative
        assert result.flags.c_contiguous and result.flags.writeable
        assert not np.shares_memory(result, image)


@given(
    hnp.arrays(
        np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8)
    )
)
def test_scaling_is_monotonous_and_reversible(image):
    result = as_float_image(image, "image 0")[..., 0]
    np.testing.assert_array_equal(np.rint(result * 255).astype(np.uint8), image)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4), dtype=complex), "Complex data not supported"),
        (np.full((4, 4), 200, dtype=np.int64), r"astype\(numpy.uint8\)"),
        (np.full((4, 4), 2000, dtype=np.int32), r"astype\(numpy.uint16\)"),
        (np.full((4, 4), -7, dtype=np.int8), "from -7 to -7"),
        (np.zeros((4, 4), dtype=object), "list of numeric arrays"),
        (np.zeros((4, 4), dtype="U3"), "is not an image"),
        (np.zeros((4, 4), dtype="M8[s]"), "is not an image"),
        (np.zeros(4), "1 dimensions"),
        (np.zeros((1, 4, 4, 3)), "4 dimensions"),
        (np.zeros((0, 4, 3)), "is empty"),
        (np.zeros((3, 40, 50)), "channels-first.*moveaxis"),
        (np.full((4, 4), np.nan), "NaN"),
        (np.full((4, 4), np.inf), "infinity"),
        (np.full((4, 4), 200.0), "divide by 255"),
        (np.full((4, 4), 2000.0), "divide by 65535"),
        (np.full((4, 4), 1e9), "rescale"),
        (np.full((4, 4), 1.001), "clip"),
        (np.full((4, 4), -0.5), "from -0.5 to -0.5"),
    ],
)
def test_bad_images_are_named_with_the_fix(image, message):
    with pytest.raises(ValueError, match=message) as caught:
        as_float_image(image, "image 7")
    assert str(caught.value).startswith("image 7")


def test_what_is_no_array_is_a_type_error():
    with pytest.raises(TypeError, match="image 2 is a list"):
        as_float_image([[0.0]], "image 2")
    with pytest.raises(TypeError, match="mask 2 is a list"):
        as_label_image([[0]], "mask 2")


def test_other_ranges_and_label_channels():
    standardised = np.array([[[-3.0, 0.5], [4.0, 7.0]]])
    assert as_float_image(standardised, "i", value_range=None).min() == -3
    scaled = as_float_image(standardised, "i", value_range=(-5, 10))
    np.testing.assert_allclose(scaled * 15 - 5, standardised, rtol=1e-6)
    with pytest.raises(ValueError, match=r"value_range=\(-1, 1\)"):
        as_float_image(standardised, "i", value_range=(-1, 1))

    stack = np.array([[[0.5, 17.0], [1.0, -1.0]]])
    result = as_float_image(stack, "i", label_channel=-1)
    np.testing.assert_array_equal(result[..., 1], [[17, -1]])
    with pytest.raises(ValueError, match="not labels"):
        as_float_image(stack * [1, 1.1], "i", label_channel=1)
    with pytest.raises(ValueError, match="clip"):
        as_float_image(stack + 1, "i", label_channel=1)
    with pytest.raises(ValueError, match="infinity in its label"):
        as_float_image(stack * [1, np.inf], "i", label_channel=1)
    with pytest.raises(ValueError, match="no label_channel=2"):
        as_float_image(stack, "i", label_channel=2)

    small = np.array([[[255, 0, 255, 9]]], dtype=np.uint8)
    np.testing.assert_array_equal(
        as_float_image(small, "i", label_channel=3), [[[1, 0, 1, 9]]]
    )


def test_four_integer_channels_are_rgba_and_four_floats_are_kept():
    rgba = np.full((3, 3, 4), 255, dtype=np.uint8)
    assert as_float_image(rgba, "i").shape == (3, 3, 3)
    assert as_float_image(rgba / 255, "i").shape == (3, 3, 4)


@pytest.mark.parametrize("dtype", [bool, "u1", "u2", "u4", "i2", "i8", "u8", ">i4"])
def test_integer_ids_become_int32(dtype):
    labels = np.array([[0, 1], [1, 0]], dtype=dtype)
    result = as_label_image(labels, "mask 0")
    assert result.dtype == np.dtype(np.int32)
    np.testing.assert_array_equal(result, labels)


def test_classes_unknown_and_large_ids_pass():
    labels = np.stack([[[0, 70000], [-1, 2]], [[0, 1], [-1, 2]]], axis=-1)
    np.testing.assert_array_equal(as_label_image(labels, "mask 0"), labels)
    np.testing.assert_array_equal(
        as_label_image(np.array([[0, 255, 254]]), "mask 0"), [[0, 255, 254]]
    )


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([[0, 255]], dtype=np.uint8), r"0/255 mask.*label\(mask > 0\)"),
        (np.array([[255, 0, 255]]), "0/255 mask"),
        (np.array([[0, -2]]), "holds the value -2"),
        (np.array([[0.0, 1.0]]), "float64.*astype"),
        (np.array([[0, 2**31]]), "above 2147483647"),
        (np.array([[0, 2**63]], dtype=np.uint64), "above 2147483647"),
        (np.zeros((4, 4, 3), dtype=int), "drawn in colours"),
        (np.zeros(4, dtype=int), "expected"),
        (np.zeros((0, 4), dtype=int), "is empty"),
        (np.array([["a"]]), "dtype"),
    ],
)
def test_bad_labels_are_named_with_the_fix(labels, message):
    with pytest.raises(ValueError, match=message) as caught:
        as_label_image(labels, "mask 7")
    assert str(caught.value).startswith("mask 7")
