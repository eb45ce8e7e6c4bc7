# SPDX-License-Identifier: BSD-3-Clause
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from psmlearn import NucleiSegmenter
from psmlearn._engine import _device
from psmlearn._engine._device import (
    resolve_device,
    resolve_device_or_cpu,
    warn_of_slow_bfloat16,
)
from psmlearn._engine._modes import plain_torch
from psmlearn._engine._seed import OwnDraws, draw_seed, may_draw
from psmlearn._engine._state import load_numpy_state, load_weights, state_to_numpy
from psmlearn.datasets import make_nuclei
from psmlearn.exceptions import DeviceWarning
from psmlearn.networks import build_network

CPU = torch.device("cpu")


def test_bfloat16_is_warned_of_where_it_is_slow(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(_device, "_time_of_bfloat16", lambda: 2.5)
    with pytest.warns(DeviceWarning, match="takes 2.5 times as long as 'float32'"):
        warn_of_slow_bfloat16(cpu, "bfloat16")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_slow_bfloat16(cpu, "float32")
        warn_of_slow_bfloat16(torch.device("cuda"), "bfloat16")
        monkeypatch.setattr(_device, "_time_of_bfloat16", lambda: 1.1)
        warn_of_slow_bfloat16(cpu, "bfloat16")


def test_bfloat16_is_timed_once(monkeypatch):
    asked = []
    conv2d = _device.functional.conv2d

    def watched(inputs, *args, **options):
        asked.append(inputs.dtype)
        return conv2d(inputs, *args, **options)

    monkeypatch.setattr(_device.functional, "conv2d", watched)
    _device._time_of_bfloat16.cache_clear()
    assert 0.01 < _device._time_of_bfloat16() == _device._time_of_bfloat16() < 100
    assert len(asked) == 2 * _device._N_TIMES
    assert set(asked) == {torch.float32, torch.bfloat16}


def test_estimators_warn_of_slow_bfloat16(monkeypatch):
    monkeypatch.setattr(_device, "_time_of_bfloat16", lambda: 3.0)
    data = make_nuclei(1, (64, 64), n_nuclei=8, random_state=0)
    segmenter = NucleiSegmenter(
        max_epochs=1,
        steps_per_epoch=1,
        batch_size=1,
        patch_size=32,
        precision="bfloat16",
        device="cpu",
        random_state=0,
    )
    with pytest.warns(DeviceWarning, match="3.0 times"):
        segmenter.fit(data.images, data.masks)
    with pytest.warns(DeviceWarning, match="3.0 times"):
        segmenter.predict(data.images)


def test_absent_device_is_an_error_that_names_what_there_is():
    with pytest.raises(ValueError, match="cuda:77.*it has .*cpu"):
        resolve_device("cuda:77")
    assert resolve_device("cpu") == CPU


def test_absent_device_falls_back_with_a_warning_in_prediction():
    with pytest.warns(UserWarning, match="Predicting on the CPU"):
        assert resolve_device_or_cpu("cuda:77") == CPU


def _draw_all() -> list[torch.Tensor]:
    """Draw in all the ways that modules, networks and losses of others may."""
    functional = torch.nn.functional
    ones = torch.ones(3, 8)
    network = build_network("resunet34", 3, 2)
    answer = network(torch.rand(2, 3, 32, 32))
    answer.mean().backward()
    recurrent = torch.nn.LSTM(8, 4, 2, dropout=0.5)
    attentive = torch.nn.TransformerEncoderLayer(8, 2, 16)
    drawn = [
        answer,
        network.conv1.weight.grad,
        recurrent(ones)[0],
        attentive(ones),
        torch.randn(4),
        torch.randint(5, (3,)),
        torch.randint(2, 5, (3,)),
        torch.randperm(7),
        torch.rand_like(ones),
        torch.randn_like(ones),
        torch.randint_like(ones, 4),
        torch.randint_like(ones, 2, 9),
        torch.bernoulli(ones / 2),
        torch.multinomial(ones, 2),
        torch.normal(0.0, 1.0, (3,)),
        torch.empty(3).exponential_(),
        torch.poisson(ones),
        torch.distributions.Beta(1.0, 2.0).sample((3,)),
        functional.dropout(ones),
        functional.alpha_dropout(ones, training=True),
        functional.rrelu(-ones, training=True),
        functional.gumbel_softmax(ones),
    ]
    with torch.inference_mode():
        drawn += [torch.rand(3), functional.dropout(ones), torch.rand_like(ones)]
    return drawn


def _assert_alike(first, second) -> None:
    for one, other in zip(first, second, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


@pytest.fixture
def as_seeded():
    """What torch's global stream gives after a seed; it is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        yield _draw_all()


def test_own_draws_are_those_of_a_seeded_global_stream_and_leave_it(as_seeded):
    before = torch.get_rng_state()
    with OwnDraws(11):
        drawn = _draw_all()
    assert torch.equal(before, torch.get_rng_state())
    _assert_alike(drawn, as_seeded)


def test_own_draws_go_on_from_block_to_block():
    draws = OwnDraws(3)
    with draws:
        first = torch.rand(5)
    torch.rand(2)
    with draws:
        second = torch.rand(5)
    with OwnDraws(3):
        assert torch.equal(torch.rand(10), torch.cat([first, second]))


def test_a_generator_that_is_given_is_taken():
    given = torch.Generator().manual_seed(8)
    with OwnDraws(3):
        drawn = torch.rand(5, generator=given)
    assert torch.equal(drawn, torch.rand(5, generator=given.manual_seed(8)))


def test_own_draws_of_threads_do_not_meet():
    with OwnDraws(4):
        alone = _draw_all()
    before = torch.get_rng_state()

    def draw(_):
        with OwnDraws(4):
            return _draw_all()

    with ThreadPoolExecutor(4) as pool:
        for drawn in pool.map(draw, range(4)):
            _assert_alike(drawn, alone)
    assert torch.equal(before, torch.get_rng_state())


def test_checkpointed_dropout_is_refused_rather_than_wrong():
    from torch.utils.checkpoint import checkpoint

    layer = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout())
    draws = OwnDraws(0)
    with draws:
        loss = checkpoint(layer, torch.ones(2, 4), use_reentrant=False).sum()
    with pytest.raises(RuntimeError, match="activation checkpointing"):
        with draws.refused():
            loss.backward()


class _Foreign(torch.nn.Conv2d):
    pass


@pytest.mark.parametrize(
    ("network", "draws"),
    [
        (build_network("unet", 3, 2, base_channels=2), False),
        (build_network("unet_in", 3, 2, base_channels=2), False),
        (build_network("resnet18", 3, 2), False),
        (build_network("resunet34", 3, 2), True),
        (torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.ReLU()), False),
        (torch.nn.Sequential(torch.nn.Dropout2d()), True),
        (torch.nn.GRU(2, 2), True),
        (torch.nn.RReLU(), True),
        (torch.nn.MultiheadAttention(2, 1), True),
        (torch.nn.FractionalMaxPool2d(2, 3), True),
        (_Foreign(1, 1, 1), True),
    ],
    ids=lambda value: getattr(type(value), "__name__", None),
)
def test_networks_that_may_draw_are_known(network, draws):
    assert may_draw(network) is draws


# -- modes and defaults of the caller ----------------------------------------------


def _make() -> list[torch.Tensor]:
    """Make tensors in the ways whose dtype, device or precision a default decides."""
    counts = torch.arange(1, 4)
    weight = torch.ones(4, 4, requires_grad=True)
    (weight @ torch.full((4, 4), 0.1)).sum().backward()
    return [
        weight.grad,
        torch.zeros(2),
        torch.tensor([0.1, 0.2]),
        torch.tensor(3),
        torch.arange(0.0, 1.0, 0.3),
        torch.linspace(0, 1, 7),
        torch.full((2,), 0.1),
        torch.full((2,), 1),
        torch.eye(2),
        counts / 3,
        counts * 0.1,
        counts.sqrt(),
        torch.where(counts > 1, 0.1, 0.2),
        torch.from_numpy(np.full(3, 0.1)),
        torch.tensor(np.float64(0.1)),
        torch.ones(2).double() / 3,
        torch.ones(2).to(torch.float16),
        torch.nn.Linear(2, 2).bias.detach() * 0,
    ]


@contextmanager
def _default_dtype(dtype):
    found = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(found)


@contextmanager
def _default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


MODES = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "float64": lambda: _default_dtype(torch.float64),
    "meta device": lambda: torch.device("meta"),
    "meta by default": lambda: _default_device("meta"),
}


@pytest.mark.parametrize("mode", MODES)
def test_plain_torch_is_as_without_modes_and_defaults(mode):
    expected = _make()
    with MODES[mode]():
        before = (torch.get_default_dtype(), torch.get_default_device())
        with plain_torch():
            assert torch.is_grad_enabled()
            made = _make()
        assert before == (torch.get_default_dtype(), torch.get_default_device())
        assert torch.is_grad_enabled() is (mode not in ("no_grad", "inference_mode"))
    _assert_alike(made, expected)


def test_draw_seed_is_the_int_stream_of_sklearn():
    assert draw_seed(3) == draw_seed(3) != draw_seed(4)
    stream = np.random.RandomState(0)
    assert draw_seed(stream) != draw_seed(stream)


def test_numpy_state_round_trip():
    network, other = (build_network("unet", 3, 2, base_channels=4) for _ in range(2))
    load_numpy_state(other, pickle.loads(pickle.dumps(state_to_numpy(network))))
    for a, b in zip(
        network.state_dict().values(), other.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_weight_files_fill_all_but_the_head(tmp_path, kind):
    source = build_network("resnet18", 3, 1000)
    path = tmp_path / f"weights.{kind}"
    if kind == "pth":
        torch.save(source.state_dict(), path)
    else:
        save_file(source.state_dict(), path)
    target = build_network("resnet18", 3, 1)
    assert load_weights(target, path) == ["fc.weight", "fc.bias"]
    assert torch.equal(target.conv1.weight, source.conv1.weight)


def test_encoder_weights_fill_a_resunet(tmp_path):
    source = build_network("resnet34", 3, 1000)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    target = build_network("resunet34", 3, 2)
    missing = load_weights(target, tmp_path / "w.pth")
    assert missing and not any(key.startswith("layer") for key in missing)
    assert torch.equal(target.layer3[0].conv1.weight, source.layer3[0].conv1.weight)


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(build_network("resnet34", 3, 5).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match="does not fit ResNet"):
        load_weights(build_network("resnet18", 3, 5), tmp_path / "w.pth")
    state = build_network("resnet18", 3, 5).state_dict()
    del state["layer4.1.conv2.weight"]
    torch.save(state, tmp_path / "torn.pth")
    with pytest.raises(ValueError, match="layer4.1.conv2.weight"):
        load_weights(build_network("resnet18", 3, 5), tmp_path / "torn.pth")


class _Evil:
    def __reduce__(self):
        return eval, ("1/0",)


def test_weight_files_never_run_code(tmp_path):
    path = tmp_path / "evil.pth"
    torch.save({"conv1.weight": _Evil()}, path)
    with pytest.raises(ValueError, match="could not be read as plain weights"):
        load_weights(build_network("resnet18", 3, 1), path)
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        load_weights(build_network("resnet18", 3, 1), tmp_path / "none.pth")
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(ValueError, match="no safetensors file"):
        load_weights(build_network("resnet18", 3, 1), tmp_path / "text.safetensors")
