"""Brevitas' CNV of one-bit weights and activations for 32x32 colour images, untrained but not trivial."""

import torch
from brevitas_examples.bnn_pynq.models import cnv_1w1a
from torch import nn


def model(seed: int = 0) -> nn.Module:
    """CNV-1W1A in evaluation mode: float [N, 3, 32, 32] in [0, 1] -> [N, 10].

    Weights and BatchNorm are random: fresh statistics (mean 0, variance 1, slope 1) would leave signs of either slope and
    thresholds other than 0 untested. They are drawn around what a trained network shows: a mean within one standard
    deviation of a sum of K random signs, a variance near K, slopes of both signs.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = cnv_1w1a(pretrained=False)
        terms = 1
        for layer in [*net.conv_features, *net.linear_features]:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                terms = layer.weight[0].numel()
            elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                layer.running_mean.normal_(0, terms**0.5 / 2)
                layer.running_var.uniform_(terms / 2, 2 * terms)
                nn.init.normal_(layer.weight)
                nn.init.normal_(layer.bias, std=0.25)
    return net.eval()
