# SPDX-License-Identifier: BSD-3-Clause
"""Texts that the docstrings of several scores share."""

from __future__ import annotations

from psmlearn._docstrings import add_snippets, fill_docstring

__all__ = ["fill_docstring"]

add_snippets(
    objects_match="""
    A true and a predicted object match if their intersection over union (IoU) is
    above `iou_threshold`.
    """,
    points_match="""
    True and predicted points are matched one to one, only if they are at most
    `radius` apart, and so that there are as many matches as there can be.
    """,
    y_true_masks="""
    y_true : list of arrays or paths, array or path
        True label images, each (height, width), or (height, width, 2) with the
        classes in the second plane. Integers: 0 is background, each id above 0 an
        object, -1 unknown. A list of masks, which may differ in size; a stack of
        shape (n_images, height, width) or (n_images, height, width, 2); or one mask
        alone of shape (height, width). Files are label images in TIFF or PNG.
    """,
    y_true_foreground="""
    y_true : list of arrays or paths, array or path
        True label images, each (height, width), or (height, width, 2) with the
        classes in the second plane. Integers: 0 is background, each id above 0 an
        object, -1 unknown; boolean and 0/255 masks will do. A list of masks, which
        may differ in size; a stack of shape (n_images, height, width) or (n_images,
        height, width, 2); or one mask alone of shape (height, width). Files are label
        images or masks in TIFF or PNG.
    """,
    y_pred_masks="""
    y_pred : list of arrays or paths, array or path
        Predicted label images, of the same number and sizes. A pixel that is -1
        in either of the two is not scored.
    """,
    labels_of_masks="""
    labels : int, sequence of int or None, default=None
        Classes to score, from 1 on, of masks with classes: other classes are
        background, pixels of class -1 in either mask are not scored. An object has
        the class of most of its pixels; scores of pixels go by each pixel. An image
        with a class in neither mask scores `zero_division`, and lifts the macro
        mean if that is 1: take NaN, or "micro". None takes all objects and does not
        look at classes.
    """,
    regions_of_masks="""
    regions : list of arrays or paths, array, path or None, default=None
        Boolean masks (height, width), one for each image: pixels outside are not
        scored, objects are cut at the edge. None in a list is a whole image.
    """,
    average="""
    average : {"macro", "micro"} or None, default="macro"
        "macro" is the mean of the images' scores, "micro" the score of the counts
        pooled over all images, None each image's score.
    """,
    zero_division_objects="""
    zero_division : {0.0, 1.0, np.nan}, default=1.0
        Score of an image with no object in either mask. With NaN such images are
        left out of the macro mean.
    """,
    zero_division_foreground="""
    zero_division : {0.0, 1.0, np.nan}, default=1.0
        Score of an image with no foreground in either mask. With NaN such images are
        left out of the macro mean.
    """,
    zero_division_points="""
    zero_division : {0.0, 1.0, np.nan}, default=1.0
        Score of an image with no point in either. With NaN such images are left out
        of the macro mean.
    """,
    iou_threshold="""
    iou_threshold : float or sequence of float, default=0.5
        IoU above which two objects match, in [0, 1). From 0.5 on no object has two
        partners; below, a one-to-one matching with as many matches as there can
        be is counted.
    """,
    iou_threshold_of_panoptic="""
    iou_threshold : float or sequence of float, default=0.5
        IoU above which two objects match, in [0.5, 1): below 0.5 an object could
        match two, for which this score is not defined.
    """,
    score="""
    float or ndarray
        Score in [0, 1]; 1 is perfect. An image where just one of the two masks is
        empty scores 0. An array of shape (n_images, n_labels) without the axes
        that do not apply: images if averaged, labels if not a sequence.
    """,
    score_at_thresholds="""
    float or ndarray
        Score in [0, 1]; 1 is perfect. An image where just one of the two masks is
        empty scores 0. An array of shape (n_images, n_thresholds, n_labels)
        without the axes that do not apply: images if averaged, thresholds and
        labels if not a sequence.
    """,
    score_of_points="""
    float or ndarray
        Score in [0, 1]; 1 is perfect. An image where just one of the two has
        points scores 0. An array of shape (n_images, n_radii, n_labels) without the
        axes that do not apply: images if averaged, radii and labels if not a
        sequence.
    """,
    raises_of_masks="""
    ValueError
        If numbers or sizes of masks or regions differ, if a mask is not of
        integers, holds values below -1, is a 0/255 mask or lacks the classes that
        `labels` asks for, if a file cannot be read, or if a parameter has no known
        value.
    FileNotFoundError
        If there is no file of a path.
    TypeError
        If the masks are no arrays or paths at all.
    """,
    raises_of_foreground="""
    ValueError
        If numbers or sizes of masks or regions differ, if a mask is not of
        integers, holds values below -1 or lacks the classes that `labels` asks for,
        if a file cannot be read, or if a parameter has no known value.
    FileNotFoundError
        If there is no file of a path.
    TypeError
        If the masks are no arrays or paths at all.
    """,
    raises_of_points="""
    ValueError
        If numbers of images or sizes of masks or regions differ, if points have not
        two or three columns, are not finite or lack the classes that `labels` asks
        for, if a mask is not one of integer ids, if a file cannot be read, or if a
        parameter has no known value.
    FileNotFoundError
        If there is no file of a path.
    TypeError
        If the points are no arrays or paths at all.
    """,
    notes_of_thresholds="""
    An IoU equal to the threshold is no match, as in the definition of panoptic
    quality and in torchmetrics; StarDist and Cellpose count it as one. They score an
    image without objects 0 and NaN.
    """,
    notes_of_panoptic="""
    An IoU equal to the threshold is no match, as in the definition and in
    torchmetrics; StarDist counts it as one. Both score an image without objects 0.
    torchmetrics averages over the classes, of which the background is one, and
    forgives unmatched objects of which more than half is unknown.
    """,
    notes_of_partners="""
    Of partners that share equally many pixels, the one with the lowest id is taken.
    "micro" takes the two averages over the objects of all images together.
    """,
    reference_of_objects="""
    .. [1] J. C. Caicedo et al., "Evaluation of Deep Learning Strategies for Nucleus
       Segmentation in Fluorescence Images", Cytometry Part A 95(9), 2019.
    """,
    reference_of_panoptic="""
    .. [1] A. Kirillov et al., "Panoptic Segmentation",
       CVPR 2019.
    """,
    reference_of_glas="""
    .. [1] K. Sirinukunwattana et al., "Gland segmentation in colon histology images:
       The GlaS challenge contest", Medical Image Analysis 35, 2017.
    """,
    references_of_points="""
    .. [1] K. Sirinukunwattana et al., "Locality Sensitive Deep Learning for Detection
       and Classification of Nuclei in Routine Colon Cancer Histology Images", IEEE
       Transactions on Medical Imaging 35(5), 2016.
    .. [2] Z. Huang et al., "BCData: A Large-Scale Dataset and Benchmark for Cell
       Detection and Counting", MICCAI 2020.
    .. [3] J. E. Hopcroft and R. M. Karp, "An n^(5/2) Algorithm for Maximum Matchings
       in Bipartite Graphs", SIAM Journal on Computing 2(4), 1973.
    """,
    y_true_points="""
    y_true : list of arrays or paths, array or path
        True points of each image: (n_points, 2) of row and column in pixels, or
        (n_points, 3) with the class. Or label images, (height, width) or (height,
        width, 2) with the classes: each object is a point at the mean of its
        pixels, of the class of most of them. A list with one entry for each image,
        or one array alone. An array with two or three columns is taken for points.
        Files are tables (.csv) as `psmlearn.io.read_points` takes them, or label
        images.
    """,
    y_pred_points="""
    y_pred : list of arrays or paths, array or path
        Predicted points or label images of the same images.
    """,
    radius="""
    radius : float or sequence of float, default=10.0
        Largest distance of two points that may be matched, in pixels; above 0.
    """,
    labels_of_points="""
    labels : int, sequence of int or None, default=None
        Classes to score, from 1 on: points of other classes are left out of both,
        so that a point given a wrong class is a miss of one class and a false alarm
        of another. An image with a class in neither scores `zero_division`, and
        lifts the macro mean if that is 1: take NaN, or "micro". None takes all
        points and does not look at classes.
    """,
    regions_of_points="""
    regions : list of arrays or paths, array, path or None, default=None
        Boolean masks (height, width), one for each image: points outside are not
        scored. None in a list is a whole image.
    """,
    see_detection="""
    detection_f1_score : Precision and recall in one; its notes go for this score
        as well.
    match_points : The matching itself.
    """,
)
