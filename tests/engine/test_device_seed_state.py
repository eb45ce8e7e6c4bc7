# SPDX-License-Identifier: BSD-3-Clause
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from psmlearn._engine._device import resolve_device, resolve_device_or_cpu
from psmlearn._engine._seed import draw_seed, isolated_torch
from psmlearn._engine._state import load_numpy_state, load_weights, state_to_numpy
from psmlearn.networks import build_network

CPU = torch.device("cpu")


def test_absent_device_is_an_error_that_names_what_there_is():
    with pytest.raises(ValueError, match="cuda:77.*it has .*cpu"):
        resolve_device("cuda:77")
    assert resolve_device("cpu") == CPU


def test_absent_device_falls_back_with_a_warning_in_prediction():
    with pytest.warns(UserWarning, match="Predicting on the CPU"):
        assert resolve_device_or_cpu("cuda:77") == CPU


def test_isolated_torch_seeds_and_restores_the_stream():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with isolated_torch(1, CPU):
        first = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with isolated_torch(1, CPU):
        assert torch.equal(torch.rand(3), first)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_isolated_torch_enables_gradients_inside_other_modes(mode):
    with mode():
        with isolated_torch(0, CPU):
            weight = torch.ones(2, requires_grad=True)
            (weight * 3).sum().backward()
            assert weight.grad.tolist() == [3, 3]
        assert not torch.is_grad_enabled()


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
