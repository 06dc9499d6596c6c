"""Batches of a network's training from rows that are never all in memory."""

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from scipy import stats
from sklearn.metrics import roc_auc_score
from torch.nn.functional import binary_cross_entropy_with_logits

from darksieve.datasets.events import Events, Role, SampleInfo, concatenate
from darksieve.datasets.folds import Purpose, purpose_of
from darksieve.datasets.mapped_columns import keep_on_disk
from darksieve.errors import InputError
from darksieve.training.block_data import BlockDataModule, BlockDataset

FEATURES = ("row", "a", "b")
N_SIGNAL, N_BACKGROUND = 6000, 9000


def of_class(n, role, seed, first):
    rng = np.random.default_rng(seed)
    shift = 1.0 if role is Role.SIGNAL else 0.0
    columns = {name: rng.normal(shift, 1, n).astype(np.float32) for name in FEATURES[1:]}
    return Events(
        columns=columns | {"row": np.arange(first, first + n, dtype=np.float32)},
        samples=(SampleInfo(role.value, role),),
        sample_index=np.zeros(n, dtype=np.int16),
        weight=rng.exponential(size=n),
        mass=np.full(n, np.nan),
        key=rng.integers(0, 2**63, n).astype(np.uint64),
        candidate=np.zeros(n, dtype=np.int32),
    )


PARTS = [
    of_class(N_BACKGROUND, Role.BACKGROUND, 1, 0),  # one class after the other, as samples are read
    of_class(N_SIGNAL, Role.SIGNAL, 2, N_BACKGROUND),
    of_class(500, Role.DATA, 3, N_BACKGROUND + N_SIGNAL),
]
EVENTS = concatenate(PARTS)


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory):
    return keep_on_disk(PARTS, tmp_path_factory.mktemp("columns"))


def rows_of(batches):
    return np.concatenate([X[:, 0].numpy() for X, _, _ in batches])


def module(events, **more):
    return BlockDataModule(events, FEATURES, batch_size=100, buffer_rows=3000, **more)


def test_every_labelled_row_comes_once_per_epoch_with_its_own_label_and_weight(on_disk):
    data = module(on_disk)
    purposes = purpose_of(EVENTS.key)
    for purpose in Purpose:
        batches = list(data.dataset(purpose))
        assert len(batches) == len(data.dataset(purpose))
        rows = rows_of(batches).astype(int)
        wanted = np.flatnonzero((purposes == purpose.value) & ~EVENTS.is_data)
        np.testing.assert_array_equal(np.sort(rows), wanted)
        labels = np.concatenate([y.numpy() for _, y, _ in batches])
        np.testing.assert_array_equal(labels, EVENTS.label[rows])
        a = np.concatenate([X[:, 1].numpy() for X, _, _ in batches])
        np.testing.assert_array_equal(a, EVENTS["a"][rows])
        weights = np.concatenate([w.numpy() for _, _, w in batches])
        assert weights.mean() == pytest.approx(1, rel=1e-4)
        assert weights[labels == 1].sum() == pytest.approx(weights[labels == 0].sum(), rel=1e-4)
        within = weights[labels == 0] / EVENTS.weight[rows[labels == 0]]
        np.testing.assert_allclose(within, within[0], rtol=1e-5)


def test_events_in_memory_and_on_disk_give_the_same_batches(on_disk):
    for ours, theirs in zip(
        module(EVENTS).train_dataloader(), module(on_disk).train_dataloader(), strict=True
    ):
        for a, b in zip(ours, theirs, strict=True):
            assert torch.equal(a, b)


def test_batches_mix_the_classes_although_samples_follow_each_other(on_disk):
    """With segments of 1024 rows drawn from 9000, whole buffers have about the classes' shares."""
    dataset = module(on_disk).dataset(Purpose.TRAINING)
    dataset.segment_rows = 50
    share = N_SIGNAL / (N_SIGNAL + N_BACKGROUND)
    for _, y, _ in dataset:
        # 3000 rows in 60 segments of one class: the buffer's share has the spread of 60 draws
        spread = np.sqrt(share * (1 - share) * (1 / 60 + 1 / len(y)))
        assert abs(float(y.mean()) - share) < stats.norm.isf(1e-6) * spread


def test_the_order_depends_on_seed_and_epoch_only():
    def order(seed, epoch):
        dataset = module(EVENTS, seed=seed).dataset(Purpose.TRAINING)
        dataset.epoch = lambda: epoch
        return rows_of(dataset)

    np.testing.assert_array_equal(order(1, 0), order(1, 0))
    assert (order(1, 0) != order(1, 1)).mean() > 0.9
    assert (order(1, 0) != order(2, 0)).mean() > 0.9


def test_validation_keeps_the_order_of_the_rows():
    rows = rows_of(module(EVENTS).val_dataloader())
    assert (np.diff(rows) > 0).all()


@pytest.mark.parametrize("n", [1, 99, 100, 101, 3000, 3001])
def test_no_row_is_lost_at_the_edges_of_batches_and_buffers(n):
    blocks = module(EVENTS).dataset(Purpose.TRAINING).blocks
    few = type(blocks)(blocks.events, blocks.features, blocks.rows[:n])
    for seed in (None, 1):
        dataset = BlockDataset(
            few, np.zeros(n), np.ones(n), batch_size=100, seed=seed, buffer_rows=250, segment_rows=64
        )
        batches = list(dataset)
        assert [len(X) for X, _, _ in batches] == [100] * (n // 100) + ([n % 100] if n % 100 else [])
        np.testing.assert_array_equal(np.sort(rows_of(batches)), EVENTS["row"][blocks.rows[:n]])


class Linear(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.seen: list[np.ndarray] = []

    def training_step(self, batch, _):
        X, y, weight = batch
        self.seen.append(X[:, 0].numpy().copy())
        return binary_cross_entropy_with_logits(self.layer(X[:, 1:]).squeeze(-1), y, weight)

    def validation_step(self, batch, _):
        pass

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.02)


def trainer(epochs, **more):
    return Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **more,
    )


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_a_lightning_trainer_learns_from_it_with_another_order_in_each_epoch(on_disk):
    torch.manual_seed(1)
    model, data = Linear(), module(on_disk)
    trainer(4).fit(model, datamodule=data)
    epochs = np.split(np.concatenate(model.seen), 4)
    assert all(set(epoch) == set(epochs[0]) for epoch in epochs[1:])
    assert (epochs[0] != epochs[1]).mean() > 0.9
    batches = list(data.test_dataloader())
    score = torch.cat([model.layer(X[:, 1:]).squeeze(-1) for X, _, _ in batches]).detach().numpy()
    label = torch.cat([y for _, y, _ in batches]).numpy()
    # two shifts of one sigma: d = sqrt 2, AUC = Phi(d / sqrt 2) = Phi(1); error of 1200 + 1800 rows 0.007
    assert roc_auc_score(label, score) == pytest.approx(stats.norm.cdf(1), abs=4 * 0.007)


def test_what_cannot_be_divided_is_refused():
    with pytest.raises(InputError, match="unknown values"):
        module(EVENTS, purpose=np.full(len(EVENTS), "train"))
    with pytest.raises(InputError, match="no signal rows"):
        module(PARTS[0])
