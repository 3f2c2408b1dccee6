"""Scores of matting: pencil cases first, then SciPy's filters and scikit-image's components."""

import math

import numpy as np
import pytest
from scipy.ndimage import convolve, gaussian_filter
from skimage.measure import label

from fade_deploy.contract import UNKNOWN
from fade_deploy.verification.matting_scores import Convention, MattingScores, matting_scores

MATLAB, PYTHON = Convention.MATLAB, Convention.PYTHON
both_conventions = pytest.mark.parametrize("convention", list(Convention))


def all_unknown(shape: tuple[int, ...]) -> np.ndarray:
    return np.full(shape, UNKNOWN, np.uint8)


def score(alpha, truth, *, convention: Convention, trimap=None) -> MattingScores:
    """Of pictures drawn as lists or given as arrays; all unknown unless told."""
    alpha, truth = np.asarray(alpha), np.asarray(truth)
    trimap = all_unknown(alpha.shape) if trimap is None else np.asarray(trimap, np.uint8)
    return matting_scores(alpha, truth, trimap, convention=convention)


def soft_pictures(seed: int, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two similar alphas with flat and soft parts, 8 bit, each from 0 to 255, and a trimap with all its values."""
    rng = np.random.default_rng(seed)
    truth = gaussian_filter(rng.standard_normal(shape), 2) * 6 + 0.5
    alpha = truth + gaussian_filter(rng.standard_normal(shape), 1) * 0.5
    trimap = rng.choice(np.array([0, UNKNOWN, 255], np.uint8), shape, p=[0.2, 0.6, 0.2])
    quantised = [np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8) for picture in (alpha, truth)]
    assert all(picture.min() == 0 and picture.max() == 255 for picture in quantised)
    return quantised[0], quantised[1], trimap


def test_sad_and_mse_are_the_hand_counted_sums_over_unknown_pixels():
    alpha = np.array([[0, 51, 102], [255, 0, 255]], np.uint8)
    truth = np.array([[0, 102, 255], [255, 255, 0]], np.uint8)
    trimap = [[UNKNOWN, UNKNOWN, UNKNOWN], [UNKNOWN, 0, 255]]
    # Errors of the four unknown pixels: 0, 51/255 = 0.2, 153/255 = 0.6, 0. Both span 0..255: nothing to stretch.
    for convention in Convention:
        scores = score(alpha, truth, convention=convention, trimap=trimap)
        assert scores.sad == pytest.approx(0.8 / 1000)
        assert scores.mse == pytest.approx((0.04 + 0.36) / 4)


def test_only_python_stretches_before_it_sums():
    alpha = np.array([[0, 51, 102]], np.uint8)
    truth = np.array([[0, 51, 255]], np.uint8)
    # As they are they differ in the last pixel, by 0.6. Stretched, alpha is 0, 0.5, 1 and truth 0, 0.2, 1.
    matlab = score(alpha, truth, convention=MATLAB)
    python = score(alpha, truth, convention=PYTHON)
    assert (matlab.sad, matlab.mse) == pytest.approx((0.6 / 1000, 0.36 / 3))
    assert (python.sad, python.mse) == pytest.approx((0.3 / 1000, 0.09 / 3))


def test_stretch_starts_at_the_smallest_value():
    # Stretched, alpha is 0, 0.5, 1 and truth 0, 0.25, 1.
    scores = score([[0.2, 0.4, 0.6]], [[0.5, 0.6, 0.9]], convention=PYTHON)
    assert scores.sad == pytest.approx(0.25 / 1000)


def test_gradient_beside_a_step_is_the_sum_of_the_taps_beyond_it():
    truth = np.zeros((31, 32))
    truth[:, 16:] = 1
    trimap = np.zeros((31, 32), np.uint8)
    trimap[15, 15] = UNKNOWN  # the last pixel before the step: taps 1, 2 .. lie on it
    g = [math.exp(-(k**2) / (2 * 1.4**2)) for k in range(7)]
    # Python: 6 taps on either side. The smoothing down the step changes nothing, its taps have the sum 1.
    python = sum(k * g[k] for k in range(1, 7)) / (g[0] + 2 * sum(g[1:])) / 1.4**2
    # MATLAB: 4 taps on either side. Smoothing multiplies by its sum, and the 9x9 products g_i * j g_j have L2 norm 1.
    products = [g[abs(i)] * j * g[abs(j)] for i in range(-4, 5) for j in range(-4, 5)]
    smoothing = g[0] + 2 * sum(g[1:5])
    matlab = smoothing * sum(k * g[k] for k in range(1, 5)) / math.sqrt(sum(product**2 for product in products))
    nothing = np.zeros_like(truth)  # has no gradient, so the truth's is the error
    assert score(nothing, truth, convention=PYTHON, trimap=trimap).grad == pytest.approx(python**2 / 10)
    assert score(nothing, truth, convention=MATLAB, trimap=trimap).grad == pytest.approx(matlab**2 / 1000)
    # The same in digits, from a pocket calculator.
    assert round(python**2 / 10, 5) == 0.00743
    assert round(matlab**2 / 1000, 5) == 0.00709


def test_gradient_of_either_convention_stretches():
    alpha, truth, trimap = soft_pictures(0, (40, 30))
    dim = 0.1 + 0.5 * truth / 255
    for convention in Convention:
        expected = score(alpha, truth, convention=convention, trimap=trimap).grad
        assert score(alpha / 255, dim, convention=convention, trimap=trimap).grad == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(40, 33), (5, 3)], ids=["40x33", "smaller than the kernel"])
def test_python_gradient_is_scipys(shape):
    rng = np.random.default_rng(1)
    alpha, truth = rng.random((2, *shape))
    magnitudes = []
    for picture in (alpha, truth):
        stretched = (picture - picture.min()) / np.ptp(picture)
        x, y = (gaussian_filter(stretched, sigma=1.4, order=order) for order in ([0, 1], [1, 0]))
        magnitudes.append(np.sqrt(x**2 + y**2))
    expected = np.square(magnitudes[0] - magnitudes[1]).sum() / 10
    assert score(alpha, truth, convention=PYTHON).grad == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(40, 33), (5, 3)], ids=["40x33", "smaller than the kernel"])
def test_matlab_gradient_is_a_normalised_9x9_kernel_over_replicated_borders(shape):
    rng = np.random.default_rng(2)
    alpha, truth = rng.random((2, *shape))
    kernel = np.array(
        [[math.exp(-(i**2 + j**2) / (2 * 1.4**2)) * -j for j in range(-4, 5)] for i in range(-4, 5)], np.float64
    )
    kernel /= math.sqrt((kernel**2).sum())
    magnitudes = []
    for picture in (alpha, truth):
        stretched = (picture - picture.min()) / np.ptp(picture)
        x, y = (convolve(stretched, k, mode="nearest") for k in (kernel, kernel.T))
        magnitudes.append(np.sqrt(x**2 + y**2))
    expected = np.square(magnitudes[0] - magnitudes[1]).sum() / 1000
    assert score(alpha, truth, convention=MATLAB).grad == pytest.approx(expected)


def test_matlab_gradient_is_a_little_below_pythons():
    alpha, truth, trimap = soft_pictures(3, (200, 180))
    grad = {c: score(alpha, truth, convention=c, trimap=trimap).grad for c in Convention}
    # Of a continuous Gaussian's derivative the squared L2 norm is 1 / (8 pi sigma^4), so the ratio is 0.9655;
    # the cut at 4 and 6 pixels moves it by up to 3 %, with the pictures' sharpness.
    assert grad[MATLAB] / grad[PYTHON] == pytest.approx(8 * math.pi * 1.4**4 / 100, rel=0.03)


@both_conventions
def test_connectivity_is_the_hand_worked_sum(convention):
    alpha = [[1.0, 1.0, 0.55, 1.0, 0.3, 0.0]]
    truth = [[1.0, 1.0, 1.00, 1.0, 1.0, 0.0]]
    # 0.1, 0.2, 0.3: pixels 0..4 are one component. 0.4, 0.5: pixels 0..3. From 0.6: pixels 0, 1; pixel 3 is cut off.
    # Levels: 1, 1, 0.5, 0.5, 0.3, 0. Alpha above its level: 0, 0, 0.05, 0.5, 0, 0; truth: 0, 0, 0.5, 0.5, 0.7, 0.
    # What is below 0.15 counts as connected: differences 0, 0, 0.5, 0, 0.7, 0.
    assert score(alpha, truth, convention=convention).conn == pytest.approx(1.2 / 1000)


@pytest.mark.parametrize(("value", "difference"), [(0.62, 0.5), (0.66, 0.34)], ids=["below theta", "above theta"])
def test_less_than_015_above_the_level_counts_as_connected(value, difference):
    # The last pixel's level is 0.5 as above; truth is 0.5 above it, alpha 0.12 or 0.16.
    scores = score([[1.0, 1.0, 0.5, value, 0.0]], [[1.0, 1.0, 0.5, 1.0, 0.0]], convention=MATLAB)
    assert scores.conn == pytest.approx(difference / 1000)


@both_conventions
def test_corners_do_not_connect(convention):
    alpha = [[1.0, 1.0, 0.0], [0.0, 0.0, 0.8], [0.0, 0.0, 0.0]]
    truth = [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    # Pixel (1, 2) touches the component by its corner alone: level 0, 0.8 against 1.
    assert score(alpha, truth, convention=convention).conn == pytest.approx(0.2 / 1000)


def test_of_equal_components_matlab_takes_the_leftmost_and_python_the_topmost():
    alpha = np.array([[0, 0, 1.0], [0, 0.0, 0], [1.0, 0, 0]])
    truth = np.array([[0, 0, 0.6], [0, 1.0, 0], [0.6, 0, 0]])
    left, top = (2, 0), (0, 2)
    # The component taken stays to the last threshold: level 1, nothing above it. The other has level 0: 1 against 0.6.
    for convention, taken, other in ((MATLAB, left, top), (PYTHON, top, left)):
        for pixel, expected in ((taken, 0), (other, 0.4 / 1000)):
            trimap = np.zeros((3, 3), np.uint8)
            trimap[pixel] = UNKNOWN
            assert score(alpha, truth, convention=convention, trimap=trimap).conn == pytest.approx(expected)


def test_alpha_that_is_dim_everywhere_is_connected_as_published():
    # No component from 0.8 on: those thresholds are passed over, the level is 1.
    alpha, truth = np.full((4, 4), 0.75), np.ones((4, 4))
    scores = score(alpha, truth, convention=MATLAB)
    assert scores.conn == 0
    assert scores.sad == pytest.approx(16 * 0.25 / 1000)


def connectivity_by_scikit_image(alpha, truth, trimap, *, column_major: bool) -> float:
    """From the published description, in float64 and with one labelling per threshold."""
    alpha, truth = alpha / 255, truth / 255
    level = np.full(alpha.shape, np.nan)
    for step in range(1, 11):
        reached = (alpha >= step / 10) & (truth >= step / 10)
        labels = label(reached.T, connectivity=1).T if column_major else label(reached, connectivity=1)
        sizes = [np.count_nonzero(labels == number) for number in range(1, labels.max() + 1)]
        if sizes:
            component = labels == 1 + sizes.index(max(sizes))
            level[np.isnan(level) & ~component] = (step - 1) / 10
    level[np.isnan(level)] = 1
    phi = [1 - (picture - level) * (picture - level >= 0.15) for picture in (alpha, truth)]
    return float(np.abs(phi[0] - phi[1])[trimap == UNKNOWN].sum() / 1000)


@both_conventions
@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (37, 52), (90, 71)], ids=lambda shape: f"{shape[0]}x{shape[1]}")
def test_connectivity_agrees_with_components_of_scikit_image(shape, convention):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        # Multiples of 51 lie on the thresholds 0.2, 0.4 ..; the noise makes small components, of equal size often.
        truth = rng.choice(np.array([0, 51, 102, 153, 204, 255], np.uint8), shape, p=[0.1, 0.1, 0.1, 0.1, 0.1, 0.5])
        alpha = np.where(rng.random(shape) < 0.8, truth, rng.integers(0, 256, shape, np.uint8))
        alpha[0, 0], truth[0, 0], alpha[-1, -1], truth[-1, -1] = 0, 0, 255, 255  # both span 0..255
        trimap = rng.choice(np.array([0, UNKNOWN, 255], np.uint8), shape)
        expected = connectivity_by_scikit_image(alpha, truth, trimap, column_major=convention is MATLAB)
        assert score(alpha, truth, convention=convention, trimap=trimap).conn == pytest.approx(expected)


@both_conventions
def test_winding_component_is_one(convention):
    # A spiral: from the outside in, so that runs of one row meet only many rows later.
    size = 41
    truth = np.zeros((size, size))
    y, x, (dy, dx) = 0, 0, (0, 1)
    truth[0, 0] = 1
    for length in [size - 1, *[n for n in range(size - 1, 1, -2) for _ in (0, 1)]]:
        for _ in range(length):
            y, x = y + dy, x + dx
            truth[y, x] = 1
        dy, dx = dx, -dy
    alpha = truth.copy()
    alpha[y, x] = 0.55  # the inner end
    # One component to 0.5; the end drops out at 0.6: level 0.5, 0.05 above it against 0.5.
    assert score(alpha, truth, convention=convention).conn == pytest.approx(0.5 / 1000)


def test_conventions_agree_but_for_the_gradient_where_both_span_the_whole_range():
    alpha, truth, trimap = soft_pictures(4, (80, 70))
    matlab, python = (score(alpha, truth, convention=c, trimap=trimap) for c in (MATLAB, PYTHON))
    assert (matlab.sad, matlab.mse, matlab.conn) == pytest.approx((python.sad, python.mse, python.conn))
    assert matlab.grad != pytest.approx(python.grad)


def test_conventions_differ_where_a_picture_does_not_span_the_range():
    alpha, truth, trimap = soft_pictures(5, (80, 70))
    alpha = alpha // 2
    matlab, python = (score(alpha, truth, convention=c, trimap=trimap) for c in (MATLAB, PYTHON))
    assert matlab.sad > 2 * python.sad
    assert matlab.mse > 2 * python.mse
    assert matlab.conn > 2 * python.conn


@both_conventions
def test_equal_pictures_score_zero(convention):
    _, truth, trimap = soft_pictures(6, (40, 30))
    assert score(truth, truth, convention=convention, trimap=trimap) == MattingScores(sad=0, mse=0, grad=0, conn=0)


@both_conventions
def test_scores_grow_with_the_error(convention):
    alpha, truth, trimap = soft_pictures(7, (60, 50))
    alpha, truth = alpha / 255, truth / 255
    scores = [
        score(truth + share * (alpha - truth), truth, convention=convention, trimap=trimap) for share in (0.25, 0.5, 1)
    ]
    for name in ("sad", "mse", "grad", "conn"):
        few, some, many = (getattr(each, name) for each in scores)
        assert 0 < few < some < many, name


@both_conventions
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtypes_score_alike(dtype, convention):
    alpha, truth, trimap = soft_pictures(8, (40, 30))
    floating = score((alpha / 255).astype(dtype), (truth / 255).astype(dtype), convention=convention, trimap=trimap)
    eight_bit = score(alpha, truth, convention=convention, trimap=trimap)
    for name in ("sad", "mse", "grad", "conn"):
        assert getattr(floating, name) == pytest.approx(getattr(eight_bit, name)), name


@pytest.mark.parametrize("threshold", [step / 10 for step in range(1, 11)])
def test_float32_value_on_a_threshold_reaches_it(threshold):
    # The last pixel stays in the component up to its own value, which is its level: 0 above it, and truth the rest.
    alpha = np.array([[1, 1, threshold]], np.float32)
    rest = 1 - threshold if 1 - threshold >= 0.15 else 0
    assert score(alpha, np.ones((1, 3)), convention=MATLAB).conn == pytest.approx(rest / 1000)


@both_conventions
def test_known_pixels_do_not_count(convention):
    alpha, truth, trimap = soft_pictures(9, (40, 30))
    left = np.where(np.arange(30) < 10, trimap, 0).astype(np.uint8)
    wrong = alpha.copy()
    wrong[:, 20:] = truth[:, 20:]  # further from the unknown region than the gradient's kernel reaches
    wrong[0, 29], wrong[1, 29] = 0, 255  # still spans the range
    for name in ("sad", "mse", "grad"):
        there = getattr(score(alpha, truth, convention=convention, trimap=left), name)
        assert getattr(score(wrong, truth, convention=convention, trimap=left), name) == pytest.approx(there), name


@both_conventions
def test_inputs_are_left_as_they_are(convention):
    given = tuple(picture // 2 + 20 for picture in soft_pictures(10, (20, 20))[:2])
    floats = tuple((picture / 255).astype(np.float32) for picture in given)
    for alpha, truth in (given, floats):
        trimap = all_unknown(alpha.shape)
        copies = alpha.copy(), truth.copy(), trimap.copy()
        for picture in (alpha, truth, trimap):
            picture.flags.writeable = False
        matting_scores(alpha, truth, trimap, convention=convention)
        for picture, copy in zip((alpha, truth, trimap), copies, strict=True):
            np.testing.assert_array_equal(picture, copy)


@both_conventions
@pytest.mark.filterwarnings("error")
def test_without_an_unknown_pixel_mse_is_nan_and_the_sums_are_zero(convention):
    alpha, truth, _ = soft_pictures(11, (20, 20))
    scores = score(alpha, truth, convention=convention, trimap=np.zeros((20, 20)))
    assert math.isnan(scores.mse)
    assert (scores.sad, scores.grad, scores.conn) == (0, 0, 0)


def test_constant_picture_has_no_gradient_and_stretches_to_zero():
    alpha, truth = np.full((20, 20), 0.25), np.ones((20, 20))
    matlab, python = (score(alpha, truth, convention=c) for c in (MATLAB, PYTHON))
    assert (matlab.sad, matlab.mse, matlab.grad) == pytest.approx((400 * 0.75 / 1000, 0.75**2, 0))
    assert python == MattingScores(sad=0, mse=0, grad=0, conn=0)


@both_conventions
def test_pictures_without_a_common_component_are_fully_connected(convention):
    scores = score([[0.0, 1.0]], [[1.0, 0.0]], convention=convention)
    assert scores.conn == 0
    assert scores.sad == pytest.approx(2 / 1000)


PICTURE = np.zeros((2, 3), np.uint8)


@pytest.mark.parametrize(
    ("alpha", "truth", "trimap", "message"),
    [
        (np.zeros((3, 2), np.uint8), PICTURE, PICTURE, r"\(3, 2\), \(2, 3\) and \(2, 3\), expected one \[H, W\]"),
        (PICTURE, PICTURE, np.zeros((1, 2, 3), np.uint8), r"\(1, 2, 3\), expected one \[H, W\]"),
        (PICTURE[None], PICTURE[None], PICTURE[None], r"\(1, 2, 3\), expected one \[H, W\]"),
        (PICTURE[:0], PICTURE[:0], PICTURE[:0], r"\(0, 3\), expected one \[H, W\]"),
        (PICTURE.astype(int), PICTURE, PICTURE, "alpha is int64, expected uint8 in 0..255 or floating in 0..1"),
        (PICTURE, PICTURE.astype(bool), PICTURE, "truth is bool, expected uint8"),
        (PICTURE, PICTURE, PICTURE / 255, "trimap is float64, expected uint8"),
        (PICTURE, PICTURE + 255.0, PICTURE, "truth has values 255.0 to 255.0, expected 0 to 1 for float64"),
        (PICTURE - 0.5, PICTURE, PICTURE, "alpha has values -0.5 to -0.5, expected 0 to 1"),
        (PICTURE * np.nan, PICTURE, PICTURE, "alpha has values nan to nan, expected 0 to 1"),
    ],
)
def test_what_is_no_alpha_or_trimap_is_refused(alpha, truth, trimap, message):
    with pytest.raises(ValueError, match=message):
        matting_scores(alpha, truth, trimap, convention=MATLAB)


def test_convention_is_one_of_two():
    assert matting_scores(PICTURE, PICTURE, PICTURE, convention="python").sad == 0
    with pytest.raises(ValueError, match="octave"):
        matting_scores(PICTURE, PICTURE, PICTURE, convention="octave")
