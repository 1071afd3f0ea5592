"""A denoiser that looks at similar places wherever they are: graph convolutions on nearest neighbours.

After the graph-convolutional denoiser of Valsesia et al. (2020, IEEE Trans. Image Process. 29, 8226), which
the task-driven line of work puts on CT, with context from neighbouring slices as its third step (local,
non-local, context). Sizes, the search and the weights of neighbours are ours: the publications compare all
pixels of a small patch, which no slice of CT could afford.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowdose.networks.network import DenoisingNetwork

_FAR = 1e3
"""Embedding of what lies outside the image: no neighbour of anything."""
_SLOPE = 0.2


class GraphConvolution(DenoisingNetwork):
    """Local features at three scales, `blocks` of graph convolutions, then the neighbouring slices' word.

    Every pixel is a node. Its neighbours are the `neighbours` most similar ones of a window of `2 window + 1`
    pixels, every second along either axis, without itself and the eight around it. Takes scaled HU
    `(b, 1 + 2 context, y, x)` and gives `(b, 1, y, x)`, the image less the noise it found. The memory is
    linear in the pixels. ValueError if the window holds too few of them.
    """

    def __init__(
        self,
        *,
        width: int = 32,
        blocks: int = 2,
        neighbours: int = 8,
        window: int = 10,
        rank: int = 2,
        context: int = 0,
    ) -> None:
        super().__init__()
        self.context = context
        self.reach = _Local.reach + blocks * (_Neighbours.reach + window + 2 * _GraphLayer.reach) + 1
        self.local = _Local(width)
        self.blocks = nn.ModuleList(_Block(width, neighbours, window, rank) for _ in range(blocks))
        self.between_slices = _BetweenSlices(width) if context else None
        self.noise = nn.Conv2d(width, 1, 3, padding=1)
        nn.init.zeros_(self.noise.weight)
        nn.init.zeros_(self.noise.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        slices = [self.local(image[:, k : k + 1]) for k in range(1 + 2 * self.context)]
        middle = slices.pop(self.context)
        features = middle
        for block in self.blocks:
            features = block(features, middle)
        if self.between_slices is not None:
            features = features + self.between_slices(middle, slices)
        noise: Tensor = self.noise(features)
        return image[:, self.context : self.context + 1] - noise


class _Local(nn.Module):
    """Features of kernels of 3, 5 and 7 pixels, mixed."""

    reach = 3 + 1

    def __init__(self, width: int) -> None:
        super().__init__()
        part = max(1, width // 2)
        self.scales = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(1, part, kernel, padding=kernel // 2),
                nn.LeakyReLU(_SLOPE),
                nn.Conv2d(part, part, 3, padding=1),
                nn.LeakyReLU(_SLOPE),
            )
            for kernel in (3, 5, 7)
        )
        self.mix = nn.Conv2d(3 * part, width, 1)

    def forward(self, image: Tensor) -> Tensor:
        mixed: Tensor = self.mix(torch.cat([scale(image) for scale in self.scales], dim=1))
        return functional.leaky_relu(mixed, _SLOPE)


class _Block(nn.Module):
    """Two graph convolutions on the same neighbours, added to a mixture of features and local features."""

    def __init__(self, width: int, neighbours: int, window: int, rank: int) -> None:
        super().__init__()
        self.neighbours = _Neighbours(width, neighbours, window)
        self.layers = nn.ModuleList(_GraphLayer(width, rank) for _ in range(2))
        self.kept = nn.Parameter(torch.tensor(0.5))
        self.fresh = nn.Parameter(torch.tensor(0.5))

    def forward(self, features: Tensor, local: Tensor) -> Tensor:
        graph = self.neighbours(features)
        mixed = self.kept * features + self.fresh * local
        found = mixed
        for layer in self.layers:
            found = functional.leaky_relu(layer(found, *graph), _SLOPE)
        return mixed + found


class _Neighbours(nn.Module):
    """Where every pixel's most similar pixels are, and how much they count.

    Their weights, exp(-d_k) less that of the first one left out, fall to zero where another takes the place
    of the last: the result has no jumps.
    """

    reach = 1
    """Of the embedding; the window comes on top."""
    rows: Tensor
    columns: Tensor

    def __init__(self, width: int, neighbours: int, window: int, channels: int = 8) -> None:
        super().__init__()
        self.embed = nn.Conv2d(width, channels, 3, padding=1)
        self.n_neighbours, self.window = neighbours, window
        places = range(-(window // 2) * 2, window + 1, 2)
        self.offsets = [(y, x) for y in places for x in places if max(abs(y), abs(x)) > 1]
        if neighbours >= len(self.offsets):
            raise ValueError(
                f"{neighbours} neighbours, but a window of {window} has {len(self.offsets)} pixels to choose "
                "from: widen it"
            )
        self.register_buffer("rows", torch.tensor([y for y, _ in self.offsets]), persistent=False)
        self.register_buffer("columns", torch.tensor([x for _, x in self.offsets]), persistent=False)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Flat indices into `b y x` and weights, `(b y x, neighbours)` each."""
        n_b, _, n_y, n_x = features.shape
        embedded = self.embed(features)
        around = functional.pad(embedded, (self.window,) * 4, value=_FAR)
        with torch.no_grad():  # a gradient through all distances would be zero but for those chosen
            chosen = self._distances(around, n_y, n_x).topk(self.n_neighbours + 1, dim=-1, largest=False)[1]
        nearest = self._chosen_distances(embedded, around, chosen)
        similar = torch.exp(-nearest)
        weights = similar[..., :-1] - similar[..., -1:]
        chosen = chosen[..., :-1]
        there = (_places(features) + self._step(chosen, n_x)).clamp(0, n_b * n_y * n_x - 1)
        return there.reshape(-1, self.n_neighbours), weights.reshape(-1, self.n_neighbours)

    def _chosen_distances(self, embedded: Tensor, around: Tensor, chosen: Tensor) -> Tensor:
        _, n_c, n_y, n_x = around.shape
        here = _places(around)[:, self.window : n_y - self.window, self.window : n_x - self.window]
        there = here + self._step(chosen, n_x)
        others = around.permute(0, 2, 3, 1).reshape(-1, n_c)[there.reshape(-1)].reshape(*chosen.shape, n_c)
        return (others - embedded.permute(0, 2, 3, 1)[..., None, :]).square().mean(dim=-1)

    def _step(self, chosen: Tensor, n_x: int) -> Tensor:
        """From a pixel to those chosen of its window, in flat indices of rows of `n_x`."""
        return self.rows[chosen] * n_x + self.columns[chosen]

    def _distances(self, around: Tensor, n_y: int, n_x: int) -> Tensor:
        """Of every pixel to those of its window: `(b, y, x, offsets)`."""
        w = self.window
        found = {}
        for y, x in self.offsets:
            if (y, x) < (0, 0):
                continue  # the distance to what lies there is that from there to here
            left, right = max(x, 0), max(-x, 0)
            ends = (slice(w - y, w + n_y), slice(w - left, w + n_x + right))
            others = (slice(w, w + n_y + y), slice(w - left + x, w + n_x + right + x))
            between = (around[:, :, *ends] - around[:, :, *others]).square().mean(dim=1)
            found[y, x] = between[:, y:, left : left + n_x]
            found[-y, -x] = between[:, :n_y, right : right + n_x]
        return torch.stack([found[offset] for offset in self.offsets], dim=1).permute(0, 2, 3, 1)


def _places(features: Tensor) -> Tensor:
    """Flat indices of the pixels, `(b, y, x, 1)`."""
    n_b, _, n_y, n_x = features.shape
    return torch.arange(n_b * n_y * n_x, device=features.device).reshape(n_b, n_y, n_x, 1)


class _GraphLayer(nn.Module):
    """A 3 x 3 convolution, and messages of the neighbours through matrices that depend on the difference.

    The matrix of an edge has rank `rank`: sums of outer products of two vectors, which a small network makes
    from the difference of the features at its ends. All but the edge's own few numbers is linear, so it is
    done once a pixel, not once an edge.
    """

    reach = 1

    def __init__(self, width: int, rank: int, hidden: int = 8) -> None:
        super().__init__()
        self.rank = rank
        self.local = nn.Conv2d(width, width, 3, padding=1)
        self.difference = nn.Linear(width, hidden)
        self.left = nn.Linear(hidden, rank * width)
        self.right = nn.Linear(hidden, rank * width)

    def forward(self, features: Tensor, there: Tensor, weights: Tensor) -> Tensor:
        n_b, width, n_y, n_x = features.shape
        nodes = features.permute(0, 2, 3, 1).reshape(-1, width)
        of_edges = self.difference(nodes)  # its bias cancels in a difference, and is added below
        hidden = of_edges.shape[1]
        seen = functional.linear(nodes, self._matrix(self.right).transpose(1, 2).flatten(0, 1) / width)
        told = torch.cat([of_edges, seen], dim=1)
        here = of_edges - self.difference.bias
        messages = torch.zeros_like(seen).reshape(-1, self.rank, hidden + 1)
        for k in range(weights.shape[1]):
            neighbour = told[there[:, k]]
            edge = functional.leaky_relu(neighbour[:, :hidden] - here, _SLOPE)
            edge = functional.pad(edge, (0, 1), value=1.0)[:, None]
            share = (neighbour[:, hidden:].reshape(messages.shape) * edge).sum(dim=-1, keepdim=True)
            messages = messages + weights[:, k, None, None] * share * edge
        message = functional.linear(messages.flatten(1), self._matrix(self.left).transpose(0, 1).flatten(1))
        non_local = (message / weights.shape[1]).reshape(n_b, n_y, n_x, width).permute(0, 3, 1, 2)
        local: Tensor = self.local(features)
        return local + non_local

    def _matrix(self, vectors: nn.Linear) -> Tensor:
        """What makes the vectors of an edge from its numbers and a one: `(rank, width, hidden + 1)`."""
        whole = torch.cat([vectors.weight, vectors.bias[:, None]], dim=1)
        return whole.reshape(self.rank, -1, whole.shape[1])


class _BetweenSlices(nn.Module):
    """What neighbouring slices say of the same pixels, the more the more alike they are there."""

    def __init__(self, width: int, channels: int = 8) -> None:
        super().__init__()
        self.embed = nn.Conv2d(width, channels, 3, padding=1)
        self.told = nn.Conv2d(width, width, 1)

    def forward(self, middle: Tensor, others: list[Tensor]) -> Tensor:
        here = self.embed(middle)
        words = [
            torch.exp(-(self.embed(other) - here).square().mean(dim=1, keepdim=True)) * self.told(other)
            for other in others
        ]
        return torch.stack(words).mean(dim=0)
