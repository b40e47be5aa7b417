"""The ReBorn paper's toy experiment (Fig. 2a): the more hidden neurons of a small network are dormant, the worse it fits.

A network of 3 inputs, 4 ReLU neurons and 1 output learns ``Q_tot = 0.5 Q_1^5 + Q_2^3 + 1.5 Q_3`` with 0, 1, 2 or 3 of its
neurons whose output is multiplied by 0. The paper does not give optimizer, learning rate or data.
These are the settings of the check run in docs/method.md 8.2: 128 fixed samples, Adam, 500 full-batch steps, the
median of 20 seeds, for learning rates 1e-2 and 5e-2. The order reproduces, the paper's absolute values do not.

    python examples/toy_dormant_neurons.py --out toy_dormant_neurons.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

HIDDEN = 4
SAMPLES = 128


def targets(inputs: Tensor) -> Tensor:
    """[..., 3] -> [...]."""
    first, second, third = inputs.unbind(dim=-1)
    return 0.5 * first**5 + second**3 + 1.5 * third


def losses(dormant: int, *, lr: float, seeds: int, steps: int) -> Tensor:
    """[seeds, steps + 1] MSE before each step and after the last, with ``dormant`` neurons silenced.

    All seeds train side by side, as a batch of independent networks; seed i draws the same samples and the same initial
    weights whatever ``dormant`` and ``lr`` are.
    """
    drawn = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(3, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
        drawn.append((torch.randn(SAMPLES, 3), *(p.detach() for p in net.parameters())))
    inputs, w_in, b_in, w_out, b_out = (torch.stack(tensors) for tensors in zip(*drawn, strict=True))
    wanted = targets(inputs)
    parameters = [nn.Parameter(tensor) for tensor in (w_in, b_in, w_out, b_out)]
    optimizer = torch.optim.Adam(parameters, lr=lr)
    speaks = (torch.arange(HIDDEN) >= dormant).float()

    def errors() -> Tensor:
        w_in, b_in, w_out, b_out = parameters
        hidden = torch.relu(inputs @ w_in.mT + b_in.unsqueeze(1)) * speaks
        outputs = (hidden @ w_out.mT + b_out.unsqueeze(1)).squeeze(-1)
        return (outputs - wanted).square().mean(dim=1)

    curve = []
    for _ in range(steps):
        error = errors()
        curve.append(error.detach())
        optimizer.zero_grad()
        error.sum().backward()  # each network has parameters of its own
        optimizer.step()
    with torch.no_grad():
        curve.append(errors())
    return torch.stack(curve, dim=1)


def draw(curves: dict[float, dict[int, Tensor]], path: Path) -> None:
    """Median and interquartile range of the MSE over steps, a panel for each learning rate."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(curves), figsize=(4.5 * len(curves), 3.4), sharey=True, squeeze=False)
    for panel, (lr, by_dormant) in zip(panels[0], curves.items(), strict=True):
        for dormant, curve in by_dormant.items():
            quartiles = curve.quantile(torch.tensor([0.25, 0.5, 0.75]), dim=0)
            (line,) = panel.plot(quartiles[1], label=f"{dormant} of {HIDDEN} dormant")
            panel.fill_between(
                range(curve.shape[1]), quartiles[0], quartiles[2], color=line.get_color(), alpha=0.15, linewidth=0
            )
        panel.set(title=f"Adam, lr {lr:g}", xlabel="training step", yscale="log")
    panels[0][0].set_ylabel("MSE, median and quartiles of seeds")
    panels[0][-1].legend(fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def main(arguments: list[str] | None = None) -> dict[float, list[float]]:
    """Run the example; returns the final median MSE for 0..3 dormant neurons, by learning rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("toy_dormant_neurons.png"), help="figure to write")
    parser.add_argument("--seeds", type=int, default=20, help="default 20")
    parser.add_argument("--steps", type=int, default=500, help="default 500")
    parser.add_argument("--quick", action="store_true", help="8 seeds, 200 steps")
    options = parser.parse_args(arguments)
    if options.quick:
        options.seeds, options.steps = 8, 200
    curves = {
        lr: {n: losses(n, lr=lr, seeds=options.seeds, steps=options.steps) for n in range(HIDDEN)}
        for lr in (1e-2, 5e-2)
    }
    table = {lr: [curve[:, -1].quantile(0.5).item() for curve in by_n.values()] for lr, by_n in curves.items()}
    print(f"final MSE, median of {options.seeds} seeds, {options.steps} steps")
    print("| lr | " + " | ".join(f"n = {n}" for n in range(HIDDEN)) + " | ordered |")
    print("|---" * (HIDDEN + 2) + "|")
    for lr, row in table.items():
        ordered = "yes" if row == sorted(row) else "no"
        print(f"| {lr:g} | " + " | ".join(f"{value:.1f}" for value in row) + f" | {ordered} |")
    draw(curves, options.out)
    print(f"figure: {options.out}")
    return table


if __name__ == "__main__":
    main()
