"""Scores of reconstruction: pencil cases first, then scikit-image."""

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from fade_deploy.verification.reconstruction_scores import ReconstructionScores, reconstruction_scores


def noisy_pictures(shape: tuple[int, ...], *, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.random(shape)
    return np.clip(truth + noise * rng.standard_normal(shape), 0, 1), truth


def test_scores_of_flat_pictures_are_worked_by_hand():
    scores = reconstruction_scores(np.full((12, 13), 0.5), np.full((12, 13), 0.75))
    assert (scores.mae, scores.mse, scores.rmse) == (0.25, 0.0625, 0.25)
    assert scores.psnr == pytest.approx(10 * math.log10(16))
    # No contrast, so its factor is c2/c2; the means' factor is (2 * 0.5 * 0.75 + c1) / (0.5^2 + 0.75^2 + c1).
    assert scores.ssim == pytest.approx(0.7501 / 0.8126)


def test_mae_and_mse_weigh_errors_as_worked_by_hand():
    output = np.zeros((11, 11, 2))
    output[0, :, 0] = 0.5  # 11 of 242 values
    output[0, 0, 1] = -1.0  # and one
    scores = reconstruction_scores(output, np.zeros((11, 11, 2)))
    assert scores.mae == pytest.approx((11 * 0.5 + 1) / 242)
    assert scores.mse == pytest.approx((11 * 0.25 + 1) / 242)


def test_ssim_of_a_point_in_one_window_is_worked_by_hand():
    output = np.zeros((11, 11))
    output[5, 5] = 1
    # The only window lies on the picture. The point's weight w is its mean and its mean square; the truth has neither.
    w = 1 / sum(math.exp(-(k**2) / (2 * 1.5**2)) for k in range(-5, 6)) ** 2
    c1, c2 = 0.01**2, 0.03**2
    expected = c1 * c2 / ((w**2 + c1) * (w - w**2 + c2))
    assert reconstruction_scores(output, np.zeros((11, 11))).ssim == pytest.approx(expected)


@pytest.mark.parametrize("data_range", [1.0, 255.0])
@pytest.mark.parametrize("shape", [(11, 11), (28, 28), (40, 31), (33, 20, 3)], ids=str)
def test_psnr_and_ssim_are_those_of_scikit_image(shape, data_range):
    output, truth = (picture * data_range for picture in noisy_pictures(shape))
    scores = reconstruction_scores(output, truth, data_range=data_range)
    assert scores.psnr == pytest.approx(peak_signal_noise_ratio(truth, output, data_range=data_range))
    expected = structural_similarity(
        output,
        truth,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=data_range,
        channel_axis=-1 if len(shape) == 3 else None,
    )
    assert scores.ssim == pytest.approx(expected)


def test_rmse_is_the_psnr_on_another_scale():
    scores = reconstruction_scores(*noisy_pictures((28, 28)))
    assert scores.rmse == pytest.approx(10 ** (-scores.psnr / 20))
    assert scores.rmse == pytest.approx(math.sqrt(scores.mse))


def test_equal_pictures_score_best():
    truth = noisy_pictures((20, 20))[1]
    scores = reconstruction_scores(truth, truth.copy())
    assert scores == ReconstructionScores(psnr=math.inf, ssim=pytest.approx(1), mae=0, mse=0, rmse=0)


def test_scores_worsen_with_the_error():
    few, some, many = (reconstruction_scores(*noisy_pictures((40, 40), noise=noise)) for noise in (0.02, 0.1, 0.4))
    for name in ("mae", "mse", "rmse"):
        assert 0 < getattr(few, name) < getattr(some, name) < getattr(many, name), name
    for name in ("psnr", "ssim"):
        assert getattr(few, name) > getattr(some, name) > getattr(many, name), name


def test_one_channel_scores_like_none():
    output, truth = noisy_pictures((20, 24))
    assert reconstruction_scores(output[..., None], truth[..., None]) == reconstruction_scores(output, truth)


def test_float32_is_summed_in_float64():
    output, truth = (picture.astype(np.float32) for picture in noisy_pictures((200, 200)))
    scores = reconstruction_scores(output, truth)
    assert scores == reconstruction_scores(output.astype(np.float64), truth.astype(np.float64))


@pytest.mark.parametrize(
    ("output", "truth", "message"),
    [
        (np.zeros((20, 20)), np.zeros((20, 21)), r"\(20, 20\) and \(20, 21\), expected one \[H, W\] or \[H, W, C\]"),
        (np.zeros((1, 20, 20, 3)), np.zeros((1, 20, 20, 3)), r"\(1, 20, 20, 3\), expected one \[H, W\]"),
        (np.zeros((20, 20, 0)), np.zeros((20, 20, 0)), r"\(20, 20, 0\), expected one \[H, W\]"),
        (np.zeros((10, 20)), np.zeros((10, 20)), r"\(10, 20\), expected H and W of at least 11"),
        (np.zeros((3, 20, 20)), np.zeros((3, 20, 20)), r"\(3, 20, 20\), expected H and W of at least 11"),
        (np.zeros((20, 20), np.uint8), np.zeros((20, 20)), "output is uint8, expected floating"),
        (np.zeros((20, 20)), np.zeros((20, 20), int), "truth is int64, expected floating"),
    ],
)
def test_what_is_no_pair_of_pictures_is_refused(output, truth, message):
    with pytest.raises(ValueError, match=message):
        reconstruction_scores(output, truth)


@pytest.mark.parametrize("data_range", [0.0, -1.0, math.nan])
def test_data_range_is_positive(data_range):
    with pytest.raises(ValueError, match=f"data_range is {data_range}, expected more than 0"):
        reconstruction_scores(np.zeros((11, 11)), np.zeros((11, 11)), data_range=data_range)
